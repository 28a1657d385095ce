"""What kns answers at the address of a job that is asleep, and who wakes it."""

import asyncio
import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from kns.model.errors import RefusedError, UnavailableError
from kns.model.job.conditions import APP_STARTS, CLUSTER_STARTS, Reason
from kns.model.job.job import Job
from kns.web.wake_page import MOST_ASKING, MOST_SEGMENTS, RETRY_S, Visits, WakePages, list_prefixes
from tests.builders import JobBuilder, a_job
from tests.fakes.stores import FakeClock, MemoryJobStore

HOST = "kns-job-7.jobs.example.org"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "user-agent": "Mozilla/5.0"}


def _resting(reason: Reason, message: str = "", *, number: int = 7, sleep: bool = True) -> JobBuilder:
    return a_job().numbered(number).resting(reason, message, sleep=sleep)


class Front:
    """The wake page before an app that answers `the app of kns` to everything."""

    def __init__(self, *builders: JobBuilder) -> None:
        self.clock = FakeClock()
        self.store = MemoryJobStore(self.clock)
        for builder in builders or (_resting(Reason.ASLEEP),):
            self.store.add(builder.build())
        self.routes = {(f"kns-job-{job.number}.jobs.example.org", "/"): job.number for job in self.store.list_jobs()}
        self.woken: list[int | None] = []
        self.fault: Exception | None = None
        self.cache_fault: Exception | None = None
        visits = Visits(find_job=self._find, is_jobs_host=self._is_jobs_host, wake=self._wake)
        self.pages = WakePages(PlainTextResponse("the app of kns"), visits, clock=self.clock)

    def _find(self, host: str, path: str) -> Job | None:
        if self.cache_fault is not None:
            raise self.cache_fault
        number = self.routes.get((host, path))
        return None if number is None else self.store.find(number)

    @staticmethod
    def _is_jobs_host(host: str) -> bool:
        return re.fullmatch(r"kns-job-\d+\.jobs\.example\.org", host) is not None

    def _wake(self, job: Job) -> None:
        self.woken.append(job.number)
        if self.fault is not None:
            raise self.fault
        self.store.set_sleep(job, asleep=False)

    def request(
        self, method: str = "GET", path: str = "/", *, host: str = HOST, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        async def call() -> httpx.Response:
            transport: Any = httpx.ASGITransport(app=self.pages)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.request(method, path, headers=headers or {})

        return asyncio.run(call())


def test_a_browser_gets_a_page_that_reloads_itself_and_the_job_is_woken() -> None:
    front = Front()
    answer = front.request(headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("2", "no-store")
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in answer.text
    assert front.woken == [7]


def test_the_page_needs_nothing_else_and_may_use_only_its_own_style_and_script() -> None:
    text = (answer := Front().request(headers=BROWSER)).text
    assert not re.search(r"(src|href)=", text)
    policy = answer.headers["content-security-policy"].split("; ")
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, flags=re.DOTALL)
        assert f"{rule} 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'" in policy
    assert [rule for rule in policy if "unsafe" in rule or "*" in rule] == []
    assert "connect-src 'self'" in policy


@pytest.mark.proves(
    "security",
    "learn from the waiting page who runs what, or use kns's own page and API under a job's name",
)
def test_the_page_names_neither_job_nor_user_nor_app() -> None:
    front = Front(_resting(Reason.WAKING, "node db-3 is full", sleep=False))
    text = front.request(headers=BROWSER).text
    assert not re.search(r"kns-job|user1|hello|Hello|db-3", text)


@pytest.mark.parametrize(
    ("builder", "step"),
    [
        (_resting(Reason.ASLEEP), "The job was asked to wake up"),
        (_resting(Reason.WAKING, CLUSTER_STARTS, sleep=False), "Its cluster is starting"),
        (_resting(Reason.WAKING, APP_STARTS, sleep=False), "The app is starting"),
        (_resting(Reason.OK, sleep=False), "The app is starting"),
    ],
)
def test_the_page_says_which_step_it_is_at(builder: JobBuilder, step: str) -> None:
    (now,) = re.findall(r'aria-current="step">(.*?)</li>', Front(builder).request(headers=BROWSER).text)
    assert now == step


def test_what_the_pages_script_asks_wakes_nobody() -> None:
    """The visit did. If that failed, the script sees an answer that is no page, and visits again."""
    front = Front()
    answer = front.request(headers={"accept": "text/html", "sec-fetch-mode": "cors"})
    assert (answer.headers["x-kns-waiting"], answer.headers["content-type"]) == ("1", "text/plain; charset=utf-8")
    assert front.woken == []


def test_a_program_gets_a_sentence() -> None:
    front = Front()
    answer = front.request("POST", "/api/run?token=x", headers={"accept": "*/*"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.text == "the job is waking up; try again in 2 s\n"
    assert front.woken == [7]


@pytest.mark.proves("security", "open the pages of sleeping jobs again and again, or of jobs that do not exist")
def test_a_job_is_written_once_however_often_its_page_is_opened() -> None:
    front = Front()
    for _ in range(50):
        assert front.request(headers=BROWSER).status_code == 503
    assert front.woken == [7]
    assert front.store.writes.count("set_sleep kns-job-7") == 1


def test_a_write_that_failed_is_repeated_after_a_while() -> None:
    front = Front()
    front.fault = UnavailableError("injected")
    for _ in range(5):
        assert front.request(headers=BROWSER).status_code == 503
    assert front.woken == [7]
    front.fault = None
    front.clock.advance(RETRY_S)
    front.request(headers=BROWSER)
    assert front.woken == [7, 7]
    job = front.store.find(7)
    assert job is not None
    assert job.spec.sleep is False


def test_a_job_that_the_host_refuses_to_wake_does_not_break_the_page() -> None:
    front = Front()
    front.fault = RefusedError("403")
    assert front.request(headers=BROWSER).status_code == 503


def test_many_jobs_at_once_do_not_take_all_threads() -> None:
    front = Front(*(_resting(Reason.ASLEEP, number=number) for number in range(1, MOST_ASKING + 3)))
    front.pages._asking |= {f"uid-{number}" for number in range(MOST_ASKING)}
    assert front.request(host="kns-job-1.jobs.example.org", headers=BROWSER).status_code == 503
    assert front.woken == []


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", {}),
        ("OPTIONS", {"origin": "https://x", "access-control-request-method": "POST"}),
        ("TRACE", {}),
        ("GET", {"user-agent": "kube-probe/1.36"}),
        ("GET", {"user-agent": "GoogleHC/1.0"}),
        ("GET", {"user-agent": "ELB-HealthChecker/2.0"}),
        ("GET", {"user-agent": "Prometheus/3.1"}),
        ("GET", {"sec-purpose": "prefetch;prerender", **BROWSER}),
        ("GET", {"sec-fetch-mode": "cors", **BROWSER}),
        ("GET", {"sec-fetch-mode": "websocket", "upgrade": "websocket", "connection": "upgrade"}),
        ("GET", {"upgrade": "websocket", "connection": "upgrade"}),
    ],
)
def test_what_is_no_use_of_the_job_does_not_wake_it(method: str, headers: dict[str, str]) -> None:
    front = Front()
    answer = front.request(method, "/", headers=headers)
    assert answer.status_code == 503
    assert front.woken == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_what_is_a_use_of_the_job_wakes_it(method: str) -> None:
    front = Front()
    front.request(method, "/any/path", headers={"sec-fetch-mode": "navigate"})
    assert front.woken == [7]


def test_a_job_below_a_path_is_found_by_it_and_only_there() -> None:
    front = Front()
    front.routes = {("jobs.example.org", "/lab/7"): 7, ("jobs.example.org", "/lab/7/gotty-shell"): 7}
    assert front.request(host="jobs.example.org", path="/lab/77").text == "the app of kns"
    assert front.request(host="jobs.example.org", path="/lab").text == "the app of kns"
    assert front.woken == []
    assert front.request(host="jobs.example.org", path="/lab/7/tree?x=1").status_code == 503
    assert front.woken == [7]


@pytest.mark.proves(
    "security",
    "learn from the waiting page who runs what, or use kns's own page and API under a job's name",
)
@pytest.mark.parametrize("path", ["/ui/jobs", "/jarvice/jobs", "/ready", "/x" * 5000])
def test_at_a_jobs_address_kns_shows_nothing_of_its_own(path: str) -> None:
    assert "the app of kns" not in Front().request(path=path).text


def test_few_parts_of_a_path_are_compared() -> None:
    """Each is looked up, and anybody may send a path of hundreds."""
    assert len(list(list_prefixes("/a" * 500))) == MOST_SEGMENTS + 1


@pytest.mark.parametrize("host", [HOST.upper(), f"{HOST}:8443", f"{HOST}."])
def test_a_host_is_written_in_many_ways(host: str) -> None:
    front = Front()
    front.request(headers={"host": host})
    assert front.woken == [7]


@pytest.mark.proves("security", "open the pages of sleeping jobs again and again, or of jobs that do not exist")
def test_an_address_of_no_job_is_not_found() -> None:
    front = Front()
    answer = front.request(host="kns-job-8.jobs.example.org", headers=BROWSER)
    assert (answer.status_code, front.woken) == (404, [])


@pytest.mark.parametrize("host", ["jarvice-kns-scheduler:8080", "kns.example.org", "10.0.0.1", "[::1]:8080", "a@b"])
def test_other_hosts_are_those_of_kns(host: str) -> None:
    front = Front()
    assert front.request(headers={"host": host}).text == "the app of kns"


@pytest.mark.parametrize(
    "builder",
    [_resting(Reason.OK, sleep=False), _resting(Reason.ASLEEP).stopping(), _resting(Reason.ASLEEP).ended()],
    ids=["awake", "ending", "ended"],
)
def test_a_job_that_is_awake_or_ends_is_not_written(builder: JobBuilder) -> None:
    front = Front(builder)
    assert front.request(headers=BROWSER).status_code == 503
    assert front.woken == []


def test_while_the_caches_fill_a_jobs_address_answers_later() -> None:
    front = Front()
    front.cache_fault = UnavailableError("not filled")
    assert front.request().status_code == 503
    assert front.request(host="kns.example.org").text == "the app of kns"
