"""The inputs of jobs: each is sent once, by one plugin, and no user holds up those of others."""

import resource
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kns.model.errors import KnsError, UnavailableError
from kns.plain import names
from kns.plain.inputs import CLAIM_S
from tests.fakes.plain_cluster import MemoryCluster
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S
from tests.unit.plain.rig import Plugin

ENDED = {"terminated": {"exitCode": 0, "finishedAt": "2026-01-05T14:16:31Z"}}


def until(holds: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.005)


class Unread(MemoryCluster):
    """Processes whose input begins with `?` do not read it until the test is over."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.open = 0
        self.most_open = 0

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        if data.startswith(b"?"):
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            self.over.wait(PATIENCE_S)
            self.open -= 1
        super().send_input(pod, container, data)


@pytest.fixture
def unread() -> Iterator[Unread]:
    cluster = Unread()
    yield cluster
    cluster.over.set()


def test_inputs_that_nobody_reads_hold_up_one_user_alone(tmp_path: Path, unread: Unread) -> None:
    plugin, stop = Plugin(tmp_path, unread), threading.Event()
    thread = threading.Thread(target=plugin.keeper.run, args=(stop,))
    thread.start()
    try:
        for job_id in [plugin.submit("mallory", stdin="?") for _ in range(20)]:
            plugin.run_pod(job_id)
        until(lambda: unread.open > 0)
        read, ended = plugin.submit("ana", stdin="x"), plugin.submit("ana")
        plugin.run_pod(read)
        plugin.put_state(ended, ENDED)
        until(lambda: unread.inputs.get(f"{read}-pod") == b"x")
        until(lambda: names.END in unread.stored("jobs", ended)["metadata"]["annotations"])
        assert unread.most_open == 1
        unread.over.set()
        until(lambda: len(unread.inputs) == 21)
    finally:
        unread.over.set()
        stop.set()
        plugin.keeper.wake()
        thread.join(PATIENCE_S)


class Slow(MemoryCluster):
    """What happens while an input is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        self.sent += 1
        self.meanwhile()
        super().send_input(pod, container, data)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def plugins(slow: Slow, tmp_path: Path) -> tuple[Plugin, Plugin]:
    """Two plugins that share their folder."""
    clock = FakeClock()
    return Plugin(tmp_path, slow, clock), Plugin(tmp_path, slow, clock)


def fail() -> None:
    raise UnavailableError("no connection")


def test_two_plugins_send_an_input_once(slow: Slow, plugins: tuple[Plugin, Plugin]) -> None:
    """Both would attach, and what the process reads would be mixed up."""
    one, other = plugins
    job_id = one.submit(stdin="x")
    one.run_pod(job_id)
    slow.meanwhile = other.look
    one.look()
    assert (slow.sent, slow.inputs) == (1, {f"{job_id}-pod": b"x"})


def test_an_input_is_kept_by_a_plugin_that_does_not_know_its_job_yet(
    slow: Slow, plugins: tuple[Plugin, Plugin], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = plugins
    job_id = one.submit(stdin="x")
    with monkeypatch.context() as behind:
        behind.setattr(slow, "find_job", lambda name: None)
        other.keeper.look(job_id)
    one.run_pod(job_id)
    one.look()
    assert slow.inputs == {f"{job_id}-pod": b"x"}


def test_an_input_that_was_not_sent_is_sent_by_the_next_look(slow: Slow, plugins: tuple[Plugin, Plugin]) -> None:
    one, other = plugins
    job_id = one.submit(stdin="x")
    one.run_pod(job_id)
    slow.meanwhile = fail
    with pytest.raises(UnavailableError):
        one.look()
    slow.meanwhile = lambda: None
    other.look()
    assert slow.inputs == {f"{job_id}-pod": b"x"}


def test_an_input_whose_sender_was_killed_is_sent_later(slow: Slow, plugins: tuple[Plugin, Plugin]) -> None:
    one, other = plugins
    job_id = one.submit(stdin="x")
    one.run_pod(job_id)
    assert one.inputs.claim(job_id) is not None
    other.look()
    assert slow.inputs == {}
    other.clock.advance(CLAIM_S)
    other.look()
    assert slow.inputs == {f"{job_id}-pod": b"x"}


def test_the_input_of_a_job_that_ended_is_removed(slow: Slow, plugins: tuple[Plugin, Plugin], tmp_path: Path) -> None:
    one, other = plugins
    for number, job_id in enumerate([one.submit(stdin="x") for _ in range(2)]):
        if number:
            one.inputs.claim(job_id)
        one.put_state(job_id, ENDED)
    other.look()
    assert list((tmp_path / "stdin").iterdir()) == []


def test_the_input_of_a_job_that_is_gone_is_removed_after_an_hour(slow: Slow, tmp_path: Path) -> None:
    now = datetime.now(UTC)  # the files have the machine's time
    plugin = Plugin(tmp_path, slow, FakeClock(now))
    gone, left = plugin.submit(stdin="x"), plugin.submit(stdin="x")
    slow.delete_job(gone, uid=slow.stored("jobs", gone)["metadata"]["uid"])
    plugin.look()
    assert len(list((tmp_path / "stdin").iterdir())) == 2
    plugin.clock.advance(3700)
    plugin.look()
    assert [path.name.partition("~")[0] for path in (tmp_path / "stdin").iterdir()] == [left]


@pytest.mark.parametrize(
    ("least", "most_of_user", "most", "whose"),
    [(0, 10, 100, "this user"), (0, 100, 13, "all users"), (5, 10, 100, "this user")],
    ids=["of a user", "of all", "many small ones"],
)
def test_inputs_that_wait_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int, most_of_user: int, most: int, whose: str
) -> None:
    """Jobs that fit no node keep theirs on the disk of the Launcher."""
    for name, value in (("_LEAST_BYTES", least), ("MOST_BYTES_OF_USER", most_of_user), ("MOST_BYTES", most)):
        monkeypatch.setattr(f"kns.plain.inputs.{name}", value)
    plugin = Plugin(tmp_path)
    text = "ü" if least else "12345"
    waits, _ = (plugin.submit("mallory", stdin=text) for _ in range(2))
    plugin.submit("ana", stdin="123")
    plugin.inputs.claim(waits)
    with pytest.raises(KnsError, match=f"^stdin: the inputs of {whose}.*cancel some"):
        plugin.submit("mallory", stdin="1")
    assert len(plugin.jobs.list_views()) == len(list((tmp_path / "stdin").iterdir())) == 3
    plugin.submit("mallory")
    plugin.inputs.discard(waits)
    plugin.submit("mallory", stdin="1")


def test_an_input_that_does_not_fit_on_the_disk_leaves_no_part(tmp_path: Path) -> None:
    """It would count for an hour, and each further try would make the disk fuller."""
    plugin = Plugin(tmp_path)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most[1]))
    try:
        with pytest.raises(KnsError, match="check scratch-path"):
            plugin.inputs.store("a-1", "x" * 100_000, user="ana")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert list((tmp_path / "stdin").iterdir()) == []
