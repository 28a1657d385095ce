"""
Two replicas, one service: each of them answers for every job, and a job can be ended at either.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.overlay import NAMESPACE
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.portal import Portal
from tests.e2e.scheduler import await_leader, await_whole, scheduler_pods
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

_WALLTIME_S = 5
_SAME_S = 30.0
_LABEL = "for both replicas"


@pytest.fixture(scope="module")
def replicas(site: Site) -> Iterator[dict[str, Portal]]:
    """Each replica by its own address; the leader is the first."""
    if not site.target.is_testbed:
        pytest.skip("pods of a cluster elsewhere are not reachable from here")
    await_whole(site.kubectl)
    leader = await_leader(site.kubectl).pod
    pods = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in scheduler_pods(site.kubectl)}
    order = sorted(pods, key=lambda name: name != leader)
    portals = {name: Portal(f"http://{pods[name]}:8080", site.user) for name in order}
    yield portals
    for portal in portals.values():
        portal.close()


@pytest.fixture(scope="module")
def short(module_jobs: JobKeeper) -> TrialJob:
    """A job with a walltime; it starts together with the other one."""
    return module_jobs.submit("hello", application={"walltime": f"00:00:{_WALLTIME_S:02d}"})


@pytest.fixture(scope="module")
def live(module_jobs: JobKeeper, short: TrialJob) -> TrialJob:
    job = module_jobs.submit("hello", job_label=_LABEL)
    job.wait_until_serving()
    return job


def _same(replicas: dict[str, Portal], route: str, **params: Any) -> Any:
    """The answer that all replicas give. A change in between reaches each of them by its own watch."""

    def ask() -> Any:
        answers = []
        for portal in replicas.values():
            answer = portal.ask(route, **params)
            text = answer.headers["content-type"] == "text/plain"
            answers.append((answer.status_code, answer.text if text else _timeless(answer.json())))
        if any(answer != answers[0] for answer in answers):
            raise NotYetError(str(answers))
        return answers[0]

    return wait_for(ask, timeout_s=_SAME_S, what=f"the same answer of both replicas to {route}")


def _timeless(data: Any) -> Any:
    """Without what counts seconds: `job_stats`, and in `/ready` the age of each watch."""
    if isinstance(data, dict):
        return {key: _timeless(value) for key, value in data.items() if key not in ("job_stats", "watches")}
    return data


def test_there_are_a_leader_and_a_standby(replicas: dict[str, Portal]) -> None:
    assert len(replicas) == 2


def test_preflight_finds_no_fault_in_either_pod(site: Site, replicas: dict[str, Portal]) -> None:
    """As an operator would run it there."""
    for pod in replicas:
        command = ("exec", pod, f"--namespace={NAMESPACE}", "--", "python", "-m", "kns", "preflight", "--json")
        found = json.loads(site.kubectl.run(*command, timeout_s=60))
        assert [f"{each['check']}: {each['said']}" for each in found if each["verdict"] == "fault"] == []
        assert "ok" in [each["verdict"] for each in found if each["check"] == "catalogue"]


@pytest.mark.proves("settings", "Both replicas answer, one reconciles jobs")
def test_both_answer_every_read_route_of_a_live_job(replicas: dict[str, Portal], live: TrialJob) -> None:
    """The leader stores its work in the record and beside it, so the standby knows as much."""
    number = live.number
    status, data = _same(replicas, "status", number=number)
    assert (status, data[str(number)]["job_status"]) == (200, "PROCESSING STARTING")
    assert _same(replicas, "status", name=live.name) == (status, data)
    assert _same(replicas, "jobs", label=_LABEL)[1][str(number)]["job_number"] == number
    assert _same(replicas, "info", number=number)[1]["url"]
    assert _same(replicas, "connect", number=number)[1]["password"]
    assert "[1/1] web, attempt 1\n" in _same(replicas, "tail", number=number)[1]
    assert _same(replicas, "output", number=number) == (404, {"error": "Job not found"})


def test_both_answer_for_the_catalogue_and_themselves(replicas: dict[str, Portal]) -> None:
    assert "hello" in _same(replicas, "apps")[1]
    assert "commands" in _same(replicas, "appdef", name="hello")[1]
    assert "kns-small" in _same(replicas, "machines")[1]
    assert _same(replicas, "live") == (200, {"status": "OK"})
    assert _same(replicas, "ready")[1]["status"] == "OK"
    for portal in replicas.values():
        assert portal.send("GET", "/live").json() == {"status": "OK"}
        assert portal.send("GET", "/ready").status_code == 200


def test_terminate_at_the_standby_ends_a_job(replicas: dict[str, Portal], live: TrialJob) -> None:
    """The standby stores the wish, the leader acts: TERMINATED, -15. Then both have the output."""
    *_, standby = replicas.values()
    assert standby.get("terminate", number=live.number) == {"status": "terminated"}
    assert live.wait_until_ended() == "TERMINATED"
    entry = live.entry()
    assert (entry["job_exitcode"], entry["job_walltime"] is not None) == (-15, True)
    assert live.output()[-1] == "the job was terminated"
    live.wait_until_removed()
    assert _same(replicas, "output", number=live.number, lines=1) == (200, "the job was terminated\n")
    assert str(live.number) in _same(replicas, "jobs", completed="true", label=_LABEL)[1]
    assert str(live.number) not in _same(replicas, "jobs", label=_LABEL)[1]
    assert _same(replicas, "tail", number=live.number) == (404, {"error": "Running job is not found"})
    assert _same(replicas, "info", number=live.number) == (404, {"error": "Running job is not found"})


def test_the_walltime_terminates_a_job(short: TrialJob) -> None:
    """It counts from the start, not from the submission: TERMINATED, -15, and the reason says why."""
    assert short.wait_until_ended() == "TERMINATED"
    entry = short.entry()
    assert entry["job_exitcode"] == -15
    assert entry["job_end_time"] - entry["job_start_time"] >= _WALLTIME_S - 1  # whole seconds of two moments
    assert entry["job_start_time"] - entry["job_submit_time"] > _WALLTIME_S
    assert short.record()["status"]["reason"] == "Walltime"
    assert short.output()[-1] == "the walltime is over"
    short.wait_until_removed()


def test_terminate_before_the_start_cancels(jobs: JobKeeper) -> None:
    """CANCELED, -9, no start and no walltime; what had been made is removed."""
    job = jobs.submit("hello")
    job.wait_until_status({"SUBMITTED"}, timeout_s=10)
    job.stop("terminate")
    assert job.wait_until_ended() == "CANCELED"
    entry = job.entry()
    assert (entry["job_exitcode"], entry["job_start_time"], entry["job_walltime"]) == (-9, 0, "00:00:00")
    assert job.output() == ["the job was terminated"]
    job.wait_until_removed()


def test_shutdown_before_the_start_is_refused(portal: Portal, jobs: JobKeeper) -> None:
    """Only a running job can be shut down; this one stays as it is."""
    job = jobs.submit("hello", machine="kns-nowhere")
    answer = portal.ask("shutdown", number=job.number)
    assert (answer.status_code, answer.json()) == (404, {"error": "Running job is not found"})
    assert job.status()["job_status"] == "SUBMITTED"
