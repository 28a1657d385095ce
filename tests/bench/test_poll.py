"""The measurement of polling, against scripted answers: whom it polls, what it counts, and that no job stays."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import poll
from bench.errors import BenchError
from bench.poll import Bench, Load, Result
from bench.scheduler import Replica
from kns.client import ApiKey
from tests.bench.server import Reply, run_against
from tests.bench.test_scheduler import a_replica

ACCOUNTS = [ApiKey("user1", "key-1"), ApiKey("user2", "key-2")]


class _FakeKns:
    """
    Jobs serve when `info` is asked for the second time, and are removed as soon as they are shut down.

    Of 1 and 2, which stand, 3 and 4, which are timed, the last serves only after both that stand have been tailed, so
    that no test depends on who is quicker.
    """

    def __init__(self, *, tail_status: int = 200, serves: bool = True) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.polled: list[tuple[str, str, str]] = []  # route, user, number
        self._tail_status = tail_status
        self._serves = serves

    def __call__(self, route: str, given: dict[str, Any]) -> Reply:
        if route == "ready":
            return Reply()
        if route == "submit":
            return self._submit(given)
        if route == "jobs":
            mine = {n: job for n, job in self.jobs.items() if job["user"] == given["username"]}
            wanted = {n: job for n, job in mine.items() if given["all"] == "true" or job["job_status"] == "RUNS"}
            return Reply(body=wanted)
        job = self.jobs[given["number"]]
        assert job["user"] == given["username"]
        if route == "info":
            job["asked"] += 1
            tailed = {number for route, _, number in self.polled if route == "tail"}
            serves = self._serves and job["asked"] > 1 and (given["number"] != "4" or len(tailed) == 2)
            return Reply(200 if serves else 400)
        if route in ("shutdown", "terminate"):
            job.update(job_status="COMPLETED", job_substatus=0)
            return Reply()
        self.polled.append((route, given["username"], given["number"]))
        if route == "tail":
            return Reply(self._tail_status, "line")
        return Reply(body={given["number"]: job})

    def _submit(self, body: dict[str, Any]) -> Reply:
        number = str(len(self.jobs) + 1)
        job = {"job_status": "RUNS", "job_substatus": 0, "user": body["user"]["username"], "asked": 0}
        self.jobs[number] = job
        return Reply(body={"number": int(number)})


def _load(**changes: Any) -> Load:
    good = {
        **{"clients": 4, "every_s": 0.001, "standing": 2, "run_s": 0.0, "app": "hello", "machine": "kns-small"},
        **{"serving_s": 60.0, "removal_s": 60.0, "label": "bench-1"},
    }
    return Load(**{**good, **changes})


def _run(kns: _FakeKns, load: Load | None = None) -> Result:
    async def run(url: str) -> Result:
        return await Bench(url, ACCOUNTS, load or _load(), _read, interval_s=0.01, poll_s=0).run()

    return asyncio.run(run_against(kns, run))


def _read() -> list[Replica]:
    return [a_replica()]


def test_one_run_without_and_one_with_clients() -> None:
    kns = _FakeKns()
    result = _run(kns)
    assert [run.clients for run in result.runs] == [0, 4]
    assert [len(run.serving_s) for run in result.runs] == [1, 1]
    without, with_clients = result.runs
    assert without.polls.answers == {}
    assert with_clients.polls.answers.keys() == {"status 200", "tail 200"}
    assert result.is_whole
    assert {job["job_status"] for job in kns.jobs.values()} == {"COMPLETED"}


def test_clients_poll_the_standing_jobs_as_their_owners() -> None:
    """The timed jobs are asked about by the measurement itself, before they serve."""
    kns = _FakeKns()
    _run(kns)
    assert {call for call in kns.polled if call[0] == "tail"} == {("tail", "user1", "1"), ("tail", "user2", "2")}


def test_a_refused_poll_is_counted_and_is_no_success() -> None:
    result = _run(_FakeKns(tail_status=429))
    polls = result.runs[1].polls
    assert polls.answers["tail 429"] > 0
    assert polls.times_ms["tail"] == []
    assert not result.is_whole


def test_a_job_that_does_not_serve_ends_it_and_is_taken_away() -> None:
    kns = _FakeKns(serves=False)
    with pytest.raises(BenchError, match="job 1 was not reachable within 0 s"):
        _run(kns, _load(serving_s=0.0))
    assert {job["job_status"] for job in kns.jobs.values()} == {"COMPLETED"}


def test_what_is_shown_has_both_runs_side_by_side() -> None:
    result = _run(_FakeKns())
    console = Console(width=120, record=True, quiet=True)
    poll.show(result, console)
    figures = poll.to_json(result)
    assert [run["clients"] for run in figures["runs"]] == [0, 4]
    assert figures["runs"][1]["latencies"].keys() == {"status", "tail"}
    assert json.loads(json.dumps(figures)) == figures


def test_without_an_address_nothing_is_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert poll.main([], {}) == 2
    assert "KNS_URL is not set" in capsys.readouterr().err
