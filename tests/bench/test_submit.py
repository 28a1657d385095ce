"""
The measurement of submit, against scripted answers: every job it makes it takes away, and its figures are true.
"""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import submit
from bench.accounts import read_accounts, read_url
from bench.command import report
from bench.errors import BenchError
from bench.figures import Figures
from bench.submit import Bench, Load, Result, Submitted
from kns.client import ApiKey
from tests.bench.server import Reply, Script, run_against

ACCOUNTS = [ApiKey("user1", "key-1"), ApiKey("user2", "key-2")]
ENVIRON = {"KNS_URL": "http://kns/", "KNS_USERNAME": "user1", "KNS_APIKEY": "key-1"}


class _FakeKns:
    """Takes jobs, and removes a terminated one while it is asked about for the second time."""

    def __init__(self, *, refuse_after: int = 1000, lose_answers: bool = False, removes: bool = True) -> None:
        self.jobs: dict[int, dict[str, Any]] = {}
        self._refuse_after = refuse_after
        self._lose_answers = lose_answers
        self._removes = removes

    def __call__(self, route: str, given: dict[str, Any]) -> Reply:
        return getattr(self, f"_{route}")(given)  # type: ignore[no-any-return]  # every method below answers

    def _ready(self, _: dict[str, Any]) -> Reply:
        return Reply(body={"status": "OK"})

    def _submit(self, body: dict[str, Any]) -> Reply:
        if len(self.jobs) >= self._refuse_after:
            return Reply(429, {"error": "Too many requests"})
        number = len(self.jobs) + 1
        self.jobs[number] = {"job_status": "SUBMITTED", "job_substatus": 1002, **body}
        return Reply(body={"name": "n", "number": number}, lost=self._lose_answers)

    def _jobs(self, given: dict[str, str]) -> Reply:
        assert given["exactmatch"] == "true"
        answer = {}
        for number, job in self.jobs.items():
            mine = job["user"]["username"] == given["username"] and job["job_label"] == given["label"]
            if mine and (job["job_status"] == "SUBMITTED" or given["all"] == "true"):
                answer[str(number)] = {key: job[key] for key in ("job_status", "job_substatus")}
            if mine and job["job_status"] == "CANCELED" and self._removes:
                job["job_substatus"] = 0
        return Reply(body=answer)

    def _terminate(self, given: dict[str, str]) -> Reply:
        job = self.jobs[int(given["number"])]
        assert job["user"]["username"] == given["username"]
        job.update(job_status="CANCELED", job_substatus=1005)
        return Reply(body={"status": "terminated"})


def _load(**changes: Any) -> Load:
    good = {"jobs": 5, "rate": 1e6, "app": "hello", "machine": "kns-nowhere", "removal_s": 60.0, "label": "bench-1"}
    return Load(**{**good, **changes})


def _run(script: Script, load: Load) -> Result:
    return asyncio.run(run_against(script, lambda url: Bench(url, ACCOUNTS, load, poll_s=0).run()))


def test_every_job_is_made_in_turns_and_taken_away() -> None:
    kns = _FakeKns()
    result = _run(kns, _load())
    assert result.is_whole
    assert result.statuses == {"200": 5}
    assert sorted(answer.number or 0 for answer in result.answers) == [1, 2, 3, 4, 5]
    assert [job["user"]["username"] for job in kns.jobs.values()] == ["user1", "user2", "user1", "user2", "user1"]
    assert {job["machine"]["type"] for job in kns.jobs.values()} == {"kns-nowhere"}
    assert {(job["job_status"], job["job_substatus"]) for job in kns.jobs.values()} == {("CANCELED", 0)}


def test_refusals_are_counted_and_are_no_answer_times() -> None:
    result = _run(_FakeKns(refuse_after=3), _load())
    assert result.statuses == {"200": 3, "429": 2}
    assert not result.is_whole
    assert len(submit.to_json(result)["times_ms"]) == 3


def test_a_job_whose_answer_was_lost_is_terminated_too() -> None:
    kns = _FakeKns(lose_answers=True)
    result = _run(kns, _load())
    assert result.statuses == {"ServerDisconnectedError": 5}
    assert submit.to_json(result)["figures"] is None
    assert {job["job_status"] for job in kns.jobs.values()} == {"CANCELED"}


def test_jobs_that_do_not_go_end_the_wait_with_their_label() -> None:
    with pytest.raises(BenchError, match=r"5 jobs are not removed after 0 s.*label bench-1"):
        _run(_FakeKns(removes=False), _load(removal_s=0.0))


def test_a_kns_that_is_not_ready_gets_no_job() -> None:
    asked: list[str] = []

    def answer(route: str, _: dict[str, Any]) -> Reply:
        asked.append(route)
        return Reply(503, {"error": "not ready"})

    with pytest.raises(BenchError, match="kns is not ready: 503"):
        _run(answer, _load())
    assert asked == ["ready"]


def test_where_nobody_listens_it_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BenchError, match=f"http://127.0.0.1:{port}/jarvice/ready.*is kns running"):
        asyncio.run(Bench(f"http://127.0.0.1:{port}", ACCOUNTS, _load()).run())


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([5.0], (5.0, 5.0, 5.0, 5.0)),
        ([4.0, 1.0, 3.0, 2.0], (2.0, 4.0, 4.0, 4.0)),
        ([float(n) for n in range(1000, 0, -1)], (500.0, 900.0, 990.0, 1000.0)),
    ],
    ids=["one", "four", "a thousand"],
)
def test_figures(times: list[float], expected: tuple[float, ...]) -> None:
    assert Figures.of(times) == Figures(*expected)


@pytest.mark.parametrize(
    ("jobs", "rate", "accounts", "limit", "fits"),
    [
        (100, 10.0, 4, 60, True),
        (100, 10.0, 1, 60, False),
        (60, 100.0, 1, 60, True),
        (61, 100.0, 1, 60, False),
        (2000, 1.0, 1, 60, True),  # for long, but slowly
        (2000, 10.0, 4, 60, False),
        (2000, 10.0, 4, 150, True),
    ],
)
def test_a_load_above_the_sites_limit_is_refused(jobs: int, rate: float, accounts: int, limit: int, fits: bool) -> None:
    load = _load(jobs=jobs, rate=rate)
    if fits:
        submit.check_limit(load, accounts, limit)
        return
    with pytest.raises(BenchError, match="KNS_SUBMITS_PER_MINUTE"):
        submit.check_limit(load, accounts, limit)


def test_the_table_shows_what_the_page_wants(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [Submitted(ACCOUNTS[0], "200", float(n), 0.5, n) for n in range(1, 101)]
    result = Result(_load(jobs=101, rate=10.0), ["user1"], answers, sending_s=10.04, removal_s=42.0)
    result.answers.append(Submitted(ACCOUNTS[0], "429", 900.0, 0.5, None))
    submit.show(result, Console(width=100))
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if len(row) == 2] == [
        ["median", "50.0 ms"],
        ["p90", "90.0 ms"],
        ["p99", "99.0 ms"],
        ["max", "100.0 ms"],
        ["latest sent", "0.5 ms after it was due"],
        ["responses: 200", "100"],
        ["responses: 429", "1"],
        ["sent and answered in", "10.0 s"],
        ["removed after", "42.0 s"],
    ]


@pytest.mark.parametrize(("late_ms", "warned"), [(20.0, False), (20.1, True)])
def test_a_machine_that_was_too_busy_is_reported_of(
    capsys: pytest.CaptureFixture[str], late_ms: float, warned: bool
) -> None:
    answers = [Submitted(ACCOUNTS[0], "200", 5.0, 0.5, 1), Submitted(ACCOUNTS[0], "200", 5.0, late_ms, 2)]
    submit.show(Result(_load(jobs=2), ["user1"], answers), Console(width=200))
    assert ("warning: a request was sent 20.1 ms late" in capsys.readouterr().out) is warned


def test_no_key_is_written(tmp_path: Path) -> None:
    result = _run(_FakeKns(), _load())
    file = tmp_path / "figures.json"
    report(result, show=lambda _: None, to_json=submit.to_json, file=str(file), is_whole=True)
    assert json.loads(file.read_text())["accounts"] == ["user1", "user2"]
    assert "key-" not in file.read_text() + repr(result)


def test_accounts_come_from_the_environment() -> None:
    more = {"KNS_OTHER_USERNAME": "user2", "KNS_OTHER_APIKEY": "key-2", "KNS_PAYER_USERNAME": "payer1"}
    assert read_accounts({**ENVIRON, **more}) == ACCOUNTS
    assert read_url(ENVIRON) == "http://kns"


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        ([], {}, "KNS_USERNAME and KNS_APIKEY are not set"),
        ([], {**ENVIRON, "KNS_URL": ""}, "KNS_URL is not set"),
        (["--jobs", "61", "--rate", "60"], ENVIRON, "each of 1 accounts would submit 61 times a minute"),
    ],
)
def test_without_what_it_needs_it_says_so_and_does_nothing(
    capsys: pytest.CaptureFixture[str], arguments: list[str], environ: dict[str, str], message: str
) -> None:
    if not environ.get("KNS_URL"):
        arguments = [*arguments, "--jobs", "1"]
    assert submit.main(arguments, environ) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--jobs", "0"], ["--rate", "1000"], ["--jobs", "many"], ["--removal", "nan"]])
def test_bounds_are_kept(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        submit.main(arguments, ENVIRON)
    assert "is not a number from" in capsys.readouterr().err
