"""The streams that keep pages current: who hears of what, their bounds, and their end."""

import asyncio
import itertools
import socket
from collections.abc import Callable
from itertools import islice
from threading import Event

import httpx
import pytest

from kns.web import live
from kns.web.site import PREFIX
from tests.builders import JobBuilder, a_job
from tests.web.serving import serving
from tests.web.ui import Browser, Ui

JOB_STREAM, LIST_STREAM = f"{PREFIX}/jobs/7/live", f"{PREFIX}/jobs/live"
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "GATHER_S", 0.01)
    monkeypatch.setattr(live, "OUTPUT_S", 0.01)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        Event().wait(0.01)
    raise AssertionError("it did not happen")


class Listening:
    """A client of a stream. It has been accepted when the constructor returns."""

    def __init__(self, address: str, browser: Browser, path: str) -> None:
        self._client = httpx.Client(base_url=address, cookies=browser.cookies, timeout=PATIENCE_S)
        self._context = self._client.stream("GET", path)
        self.answer = self._context.__enter__()
        self._lines = self.answer.iter_lines()
        if self.answer.status_code == 200:
            retry_ms = int(next(self._lines).removeprefix("retry: "))
            assert live.RETRY_MS <= retry_ms < live.RETRY_MS + live.RETRY_SPREAD_MS
            assert next(self._lines) == ""

    def next_line(self) -> str:
        return next(line for line in self._lines if line)

    def count_lines(self, *, most: int) -> int:
        """Until the end of the stream, or `most`."""
        return sum(1 for _ in islice(self._lines, most))

    def next_event(self) -> str:
        return next(line for line in self._lines if line.startswith("event:"))

    def is_over(self) -> bool:
        return not any(line.startswith("event:") for line in self._lines)

    def close(self) -> None:
        self._context.__exit__(None, None, None)
        self._client.close()


def change(ui: Ui, job: JobBuilder) -> None:
    ui.api.add(job)


@pytest.mark.parametrize("path", [JOB_STREAM, LIST_STREAM])
def test_a_page_is_told_that_its_job_changed(ui: Ui, path: str) -> None:
    ui.api.add(a_job().spawning())
    with serving(ui) as address:
        page = Listening(address, ui.browser("user1"), path)
        assert page.answer.headers["content-type"].startswith("text/event-stream")
        change(ui, a_job().started())
        assert page.next_event() == "event: changed"
        page.close()


def test_a_page_is_not_told_of_other_jobs(ui: Ui) -> None:
    """Neither of other jobs of the user, on a job's page, nor of those of other users, on the list."""
    ui.api.add(a_job().spawning())
    with serving(ui) as address:
        browser = ui.browser("user1")
        page, jobs = Listening(address, browser, JOB_STREAM), Listening(address, browser, LIST_STREAM)
        ui.api.add(a_job().numbered(8).owned_by("user3"))
        ui.api.add(a_job().numbered(9))
        assert jobs.next_event() == "event: changed"
        assert not any(each.changed.is_set() for each in ui.live._by_record["kns-job-7"])
        page.close()
        jobs.close()


def test_the_list_of_a_team_is_told_of_the_jobs_that_it_has(ui: Ui) -> None:
    """And a user who leads no team only of their own, whatever the address of the stream says."""
    team = f"{LIST_STREAM}?of=team"
    with serving(ui) as address:
        lead, member = (Listening(address, ui.browser(user), team) for user in ("lead1", "user2"))
        (listening,) = [each for each in ui.live._lists if each.user == "user2"]
        ui.api.add(a_job().numbered(8).owned_by("user3", payer="user3"))
        ui.api.add(a_job().numbered(9).owned_by("user1"))
        assert lead.next_event() == "event: changed"
        assert not listening.changed.is_set()
        lead.close()
        member.close()


def test_a_stream_without_changes_has_comment_lines(ui: Ui, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies close a connection that is silent."""
    monkeypatch.setattr(live, "PING_S", 0.01)
    with serving(ui) as address:
        page = Listening(address, ui.browser("user1"), LIST_STREAM)
        assert page.next_line().startswith(":")
        page.close()


def test_a_stream_ends_after_its_time(ui: Ui, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the browser connects again and is authenticated again, so a session that has ended gets no more events."""
    monkeypatch.setattr(live, "PING_S", 0.01)
    monkeypatch.setattr(live, "STREAM_S", 0.05)
    with serving(ui) as address:
        page = Listening(address, ui.browser("user1"), LIST_STREAM)
        assert page.count_lines(most=400) < 400
        wait_until(lambda: len(ui.live) == 0)
        page.close()


def test_the_pages_of_a_replica_that_ended_come_back_one_after_another(ui: Ui) -> None:
    """Each would be rendered as soon as it is back."""
    with serving(ui) as address:
        browser, delays = ui.browser("user1"), set()
        for _ in range(5):
            with httpx.stream("GET", f"{address}{LIST_STREAM}", cookies=browser.cookies, timeout=PATIENCE_S) as answer:
                delays.add(next(answer.iter_lines()))
        assert len(delays) > 1


def test_output_that_grows_is_announced_while_the_job_deploys(ui: Ui) -> None:
    job = ui.api.add(a_job().started(), output="one\n")
    with serving(ui) as address:
        page = Listening(address, ui.browser("user1"), JOB_STREAM)
        wait_until(lambda: ui.live._marks.get(job.record) is not None)
        ui.api.add(a_job().started(), output="one\ntwo\n")
        assert page.next_event() == "event: changed"
        page.close()


def test_few_outputs_are_read_in_a_turn_and_each_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many jobs that start at the same time do not burden the host's API."""
    monkeypatch.setattr(live, "OUTPUTS_PER_TURN", 2)
    read: list[str] = []
    jobs = {job.record: job for job in (a_job().numbered(number).started().build() for number in range(1, 6))}
    pages = live.LivePages(read_job=jobs.get, read_mark=lambda job: read.append(job.record))
    sleep, turns = asyncio.sleep, list[int]()

    async def begin_turn(_: float) -> None:
        turns.append(len(read))
        if len(turns) == 4:
            pages.close()  # effective after this turn
        await sleep(0)

    async def follow() -> None:
        for job in jobs.values():
            pages.listen("user1", job=job)
        assert pages._outputs is not None
        await pages._outputs

    monkeypatch.setattr(asyncio, "sleep", begin_turn)
    asyncio.run(follow())
    assert turns == [0, 2, 4, 6]
    assert read == [f"kns-job-{number}" for number in (1, 2, 3, 4, 5, 1, 2, 3)]


def test_the_output_of_a_serving_job_is_not_read_for_its_pages(ui: Ui) -> None:
    from kns.model.job.conditions import ConditionType

    ui.api.add(a_job().exposed().condition(ConditionType.DEPLOYED), output="one\n")
    with serving(ui) as address:
        page = Listening(address, ui.browser("user1"), JOB_STREAM)
        assert ui.live._marks == {}
        assert ui.live._outputs is None
        page.close()


@pytest.mark.proves("security", "open thousands of live pages, or not read their streams")
def test_too_many_pages_of_a_user_are_refused_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.web.live.MAX_STREAMS_OF_USER", 2)
    ui = Ui()
    ui.api.add(a_job().spawning())
    with serving(ui) as address:
        browser = ui.browser("user1")
        pages = [Listening(address, browser, JOB_STREAM) for _ in range(2)]
        refused = Listening(address, browser, LIST_STREAM)
        assert refused.answer.status_code == 429
        other = Listening(address, ui.browser("user2"), LIST_STREAM)
        assert other.answer.status_code == 200
        pages[0].close()
        wait_until(lambda: len(ui.live) == 2)
        assert Listening(address, browser, JOB_STREAM).answer.status_code == 200


@pytest.mark.parametrize(
    ("users", "most"), [(["user1"], live.MAX_STREAMS_OF_USER), ([str(n) for n in range(5000)], live.MAX_STREAMS)]
)
def test_the_pages_of_a_user_and_of_all_users_are_bounded(users: list[str], most: int) -> None:
    pages = live.LivePages(read_job=lambda _: None, read_mark=lambda _: None)

    async def listen() -> None:
        for _, user in zip(range(5000), itertools.cycle(users), strict=False):
            pages.listen(user)

    with pytest.raises(live.TooManyPagesError):
        asyncio.run(listen())
    assert len(pages) == most


def test_a_browser_that_vanishes_frees_its_place(ui: Ui) -> None:
    """It resets the connection and does not close it."""
    ui.api.add(a_job().spawning())
    with serving(ui) as address:
        browser, url = ui.browser("user1"), httpx.URL(address)
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_S) as connection:
            connection.sendall(f"GET {JOB_STREAM} HTTP/1.1\r\nHost: kns\r\nCookie: {cookie}\r\n\r\n".encode())
            wait_until(lambda: len(ui.live) == 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        wait_until(lambda: len(ui.live) == 0)


def test_a_stream_without_a_session_is_refused(ui: Ui) -> None:
    ui.api.add(a_job())
    for path in (JOB_STREAM, LIST_STREAM):
        assert ui.browser().get(path).status_code == 303
    assert ui.browser("user3").get(JOB_STREAM).status_code == 404
    assert len(ui.live) == 0


def test_streams_end_when_the_server_stops(ui: Ui) -> None:
    """`serving` checks that the server's thread ends in time."""
    ui.api.add(a_job().spawning())
    with serving(ui) as address:
        page = Listening(address, ui.browser("user1"), JOB_STREAM)
        ui.live.close()
        assert page.is_over()
        page.close()


def test_a_stream_outlives_the_limit_of_requests(ui: Ui) -> None:
    """The limit is for clients that keep the server waiting, and here the client waits."""
    ui.api.add(a_job().spawning())
    with serving(ui, request_limit_s=1) as address:  # within which the request arrives on a busy machine as well
        page = Listening(address, ui.browser("user1"), JOB_STREAM)
        Event().wait(1.5)
        change(ui, a_job().started())
        assert page.next_event() == "event: changed"
        page.close()


@pytest.mark.proves("security", "open thousands of live pages, or not read their streams")
def test_a_stream_that_is_not_read_is_closed() -> None:
    """Small events fill the buffers of both sides only after hours, so the test gives the server a small one."""
    ui = Ui()
    ui.api.add(a_job().spawning())
    with serving(ui, request_limit_s=1) as address:
        browser, url = ui.browser("user1"), httpx.URL(address)
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.settimeout(PATIENCE_S)
            connection.connect((url.host, url.port or 80))
            connection.sendall(f"GET {JOB_STREAM} HTTP/1.1\r\nHost: kns\r\nCookie: {cookie}\r\n\r\n".encode())
            wait_until(lambda: len(ui.live) == 1)
            live_before = live._CHANGED
            live._CHANGED = b": " + b"x" * 4_000_000 + live_before
            try:
                ui.api.add(a_job().started())
                wait_until(lambda: len(ui.live) == 0)
            finally:
                live._CHANGED = live_before
