"""
The init job over a simulated host: how it fails, and how its log reaches the job's output.

Some tests replace one method of their own host; mypy needs an ignore for each.
"""

import json

import pytest

from kns.model.errors import UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation

FAILED_ITEM = {
    "exitCode": 1,
    "message": json.dumps({"reason": "ItemOutOfRetries", "message": "item 1/1 'web' failed after 3 attempts"}),
}


@pytest.mark.proves("appdef", "An item has no time limit; only the walltime ends a long one")
def test_slow_templates_do_not_trip_the_spawn_delay(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(spawn_delay_s=30)
    sim.host.init_exit = None
    sim.submit(job)
    sim.run(until="wait")
    for _ in range(100):
        sim.host.settle()
        sim.clock.advance(10)
        sim.step()
    assert sim.job.status.job_status is JobState.PROCESSING
    sim.host.init_exit = {"exitCode": 0}
    sim.run(until="serving")


def test_an_item_out_of_retries_fails_the_job(sim: Simulation, job: JobBuilder) -> None:
    """The runner's message is the reason and the last line of the output. Everything is removed."""
    sim.host.init_exit = FAILED_ITEM
    sim.submit(job)
    sim.run(until="retained")
    assert sim.job.status.job_status is JobState.FAILED
    assert sim.job.status.reason == Reason.ITEM_OUT_OF_RETRIES
    assert sim.outputs.read(sim.record).lines()[-1] == "item 1/1 'web' failed after 3 attempts"
    assert sim.host.left == []


def test_an_init_image_that_speaks_another_protocol_is_named(sim: Simulation, job: JobBuilder) -> None:
    sim.host.init_exit = {"exitCode": 127, "reason": "Error", "message": "exec: not found"}
    sim.submit(job)
    sim.run(until="retained")
    assert "container init of the init job ended with exit code 127 (Error): exec: not found" in str(
        sim.job.status.message
    )


def test_an_image_that_cannot_be_pulled_fails_the_job_after_the_limit(sim: Simulation, job: JobBuilder) -> None:
    sim.host.pull_error = "manifest unknown"
    sim.submit(job)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.IMAGE_NOT_PULLABLE
    assert "registry.example.org/apps/hello:1" in str(sim.job.status.message)
    assert "manifest unknown" in str(sim.job.status.message)


def test_a_registry_that_comes_back_in_time_is_no_failure(sim: Simulation, job: JobBuilder) -> None:
    sim.host.pull_error = "connection refused"
    sim.submit(job)
    sim.run(until="wait")
    for _ in range(10):
        sim.host.settle()
        sim.clock.advance(2)
        assert sim.step().summary == "wait"
    sim.host.pull_error = None
    sim.run(until="serving")


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_log_that_was_not_read_at_once_is_not_lost(sim: Simulation, job: JobBuilder, exit_code: int) -> None:
    """Even the last read of the log may fail."""
    read, sim.host.init_exit = sim.host.pod_log, {"exitCode": exit_code}
    errors = [UnavailableError("GET log: 502, dial tcp: timeout")] * 3

    def pod_log(namespace: str, pod: str, container: str) -> str | None:
        text = read(namespace, pod, container)
        if text is not None and errors:
            raise errors.pop()
        return text

    sim.host.pod_log = pod_log  # type: ignore[method-assign]
    sim.submit(job)
    sim.run(until="serving" if exit_code == 0 else "ended")
    assert sim.outputs.read(sim.record).lines()[:2] == ["[1/1] web, attempt 1", "service/web created"]


def test_an_unreadable_log_holds_nothing_up(sim: Simulation, job: JobBuilder) -> None:
    """The host's API server may not reach a kubelet. The job serves, and its output says what is missing."""

    def pod_log(namespace: str, pod: str, container: str) -> str | None:
        raise UnavailableError("GET log: 502, dial tcp: timeout")

    sim.host.pod_log = pod_log  # type: ignore[method-assign]
    sim.submit(job)
    sim.run(until="serving")
    assert sim.outputs.read(sim.record).lines() == [
        "warning: the init job's log cannot be read: GET log: 502, dial tcp: timeout"
    ]


def test_an_init_pod_that_the_host_refuses_is_no_silent_wait(sim: Simulation, job: JobBuilder) -> None:
    sim.host.refused_pod = 'pods "kns-init-x" is forbidden: exceeded quota: site'
    sim.submit(job)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.REFUSED_BY_HOST
    assert "exceeded quota: site" in str(sim.job.status.message)


def test_the_stage_that_failed_says_so_too(sim: Simulation, job: JobBuilder) -> None:
    """Its condition has the reason of the end, not of the last wait."""
    sim.host.init_exit = FAILED_ITEM
    sim.submit(job)
    sim.run(until="ended")
    condition = sim.job.status.condition(ConditionType.DEPLOYED)
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", Reason.ITEM_OUT_OF_RETRIES)
