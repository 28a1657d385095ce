"""No job hangs silently: the record has every write error, read error and unexpected error."""

import base64

import pytest

from kns.model.job.conditions import ConditionType, Reason
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation

SECRET = "s3cr3t"


def test_a_fault_of_ours_is_told_in_the_record(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its type, because its text may contain anything. It is raised, so that the log has all of it."""

    def crash(*_: str) -> bool:
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
