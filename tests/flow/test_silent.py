"""No job hangs silently: the record has every write error, read error and unexpected error."""

import base64
from collections.abc import Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from kns.model.errors import RefusedError, TransientError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import Job, JobState, StopReason
from kns.model.job.output import JobOutput
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation

SECRET = "s3cr3t"


def _terminate(sim: Simulation) -> None:
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)


def _fail(sim: Simulation) -> None:
    sim.host.init_exit = {"exitCode": 1, "message": ""}


def _pass_the_walltime(sim: Simulation) -> None:
    sim.run(until="serving")
    assert sim.job.walltime_end is not None
    sim.clock.advance((sim.job.walltime_end - sim.clock.now() + timedelta(seconds=1)).total_seconds())


ENDS: dict[str, tuple[Callable[[Simulation], None], JobState, Reason]] = {
    "terminated": (_terminate, JobState.TERMINATED, Reason.TERMINATE),
    "walltime": (_pass_the_walltime, JobState.TERMINATED, Reason.WALLTIME),
    "failed": (_fail, JobState.FAILED, Reason.INIT_FAILED),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_job_ends_also_if_its_last_line_is_refused(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A quota or a webhook in kns's own namespace may always refuse it; the status has the line, too."""
    write = sim.outputs.write

    def refuse(job: Job, output: JobOutput) -> None:
        if output.end:
            raise RefusedError("PATCH secrets/kns-job-7-output: 403, exceeded quota")
        write(job, output)

    monkeypatch.setattr(sim.outputs, "write", refuse)
    act, state, reason = ENDS[end]
    sim.submit(job.with_accepted(walltime_s=3600))
    act(sim)
    with capture_logs() as logs:
        sim.run(until="retained")
    assert (sim.job.status.job_status, sim.job.status.reason) == (state, reason)
    assert sim.job.status.message
    assert "exceeded quota" in next(str(line["error"]) for line in logs if line["event"] == "last_line_refused")
    assert sim.host.left == []


def test_a_last_line_without_an_answer_is_tried_again(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later try may succeed, so the end waits."""
    sim.submit(job)
    _terminate(sim)

    def fail(job: Job, output: JobOutput) -> None:
        raise UnavailableError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(sim.outputs, "write", fail)
        with pytest.raises(TransientError):
            sim.step()
    assert not sim.job.is_ended
    sim.run(until="ended")
    assert sim.outputs.read(sim.record).end == sim.job.status.message


def test_a_fault_of_ours_is_told_in_the_record(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its type, because its text may contain anything. It is raised, so that the log has all of it."""

    def crash(_: str) -> bool:
        raise ZeroDivisionError(SECRET)

    sim.submit(job)
    with monkeypatch.context() as patch:
        patch.setattr(sim.virtual, "is_ready", crash)
        with pytest.raises(ZeroDivisionError):
            sim.run(until="serving")
    status = sim.job.status
    condition = status.condition(ConditionType.VIRTUAL_CLUSTER_READY)
    assert condition is not None
    assert (status.reason, condition.reason) == (Reason.RETRYING, Reason.RETRYING)
    assert status.message == condition.message == "unexpected error, see kns's log: ZeroDivisionError"
    sim.run(until="serving")
    assert sim.job.status.reason is None


@pytest.mark.parametrize(
    "data",
    [
        {".dockerconfigjson": SECRET},
        {".dockerconfigjson": base64.b64encode(SECRET.encode()).decode()},
        {".dockerconfigjson": base64.b64encode(b"[]").decode()},
    ],
    ids=["no base64", "no JSON", "no object"],
)
def test_a_pull_secret_that_is_none_is_named_until_it_is_mended(
    sim: Simulation, job: JobBuilder, data: dict[str, str]
) -> None:
    sim.host.put(Kind.SECRET, "kns-system", "jarvice-docker", {"data": data})
    sim.submit(job)
    result = sim.run(until="wait")
    condition = sim.job.status.condition(ConditionType.NAMESPACE_READY)
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", Reason.PULL_SECRET_UNFIT)
    assert condition.message.startswith(
        "Secret kns-system/jarvice-docker: .dockerconfigjson must be a Docker config.json "
    )
    assert SECRET not in condition.message
    assert (sim.job.status.message, result.requeue_after_s) == (condition.message, 30)
    whole = base64.b64encode(b'{"auths": {}}').decode()
    sim.host.put(Kind.SECRET, "kns-system", "jarvice-docker", {"data": {".dockerconfigjson": whole}})
    sim.run(until="serving")


@pytest.mark.parametrize(
    "data",
    [None, {"password": SECRET}, {".dockerconfigjson": base64.b64encode(b'{"credsStore": "x"}').decode()}],
    ids=["empty", "another key", "programs that have them"],
)
def test_a_pull_secret_without_credentials_holds_up_nothing(
    sim: Simulation, job: JobBuilder, data: dict[str, str] | None
) -> None:
    sim.host.put(Kind.SECRET, "kns-system", "jarvice-docker", {"data": data})
    sim.submit(job)
    sim.run(until="serving")
