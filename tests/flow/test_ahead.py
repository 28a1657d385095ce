"""
What kns makes beside the spawn of a virtual cluster: the Keycloak client, the init job and the Ingress.

Some tests replace one method of their own host; mypy needs an ignore for each.
"""

from typing import NoReturn

import pytest

from kns.model import names
from kns.model.errors import UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, StopReason
from kns.model.site import KeycloakSettings
from kns.ports import Kind, Object
from tests.builders import JobBuilder
from tests.fakes.keycloak import MemoryRealm
from tests.flow.conftest import Simulation

JOB = "kns-job-7"
INIT_JOB, INGRESS = f"Job {JOB}/kns-init", f"Ingress {JOB}/{JOB}"


def _spawn(sim: Simulation, job: JobBuilder, *, reconciles: int = 4) -> None:
    """Reconcile while the control plane starts: it has its certificates and a pod, which is never ready."""
    sim.host.control_plane_down = True
    sim.submit(job)
    for _ in range(reconciles):
        assert sim.step().summary == "wait"
        sim.host.settle()
        sim.clock.advance(1)
    assert sim.job.status.job_status is JobState.SUBMITTED


def test_the_init_job_and_the_ingress_exist_before_the_virtual_cluster_runs(sim: Simulation, job: JobBuilder) -> None:
    """The pod waits inside, and the Ingress leads to no pod: nothing is deployed, and no URL is published."""
    _spawn(sim, job)
    assert {INIT_JOB, INGRESS} <= set(sim.host.left)
    status = sim.job.status
    assert (status.reason, status.url, status.start_time) == (Reason.SPAWNING, None, None)
    assert sim.outputs.read(sim.job).log == ""
    assert [c.type for c in status.conditions] == ["NamespaceReady", "VirtualClusterReady"]
    sim.host.control_plane_down = False
    sim.run(until="serving")
    assert sim.outputs.read(sim.job).log == sim.host.init_log


def test_what_is_made_costs_no_call(sim: Simulation, job: JobBuilder) -> None:
    """A reconcile during a long spawn neither writes nor reads: everything it looks at is watched."""
    _spawn(sim, job)
    calls = list(sim.host.calls)
    for method in ("read", "list_objects", "list_metadata", "pod_log", "apply"):
        setattr(sim.host, method, _fail)
    assert sim.step().summary == "wait"
    assert sim.host.calls == calls


def _fail(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a call to the host")


def test_the_client_is_made_beside_the_spawn_and_then_left_alone(sim: Simulation, job: JobBuilder) -> None:
    realm = MemoryRealm()
    sim.identity = realm
    sim.configure(keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", 60))
    _spawn(sim, job.with_nested(keycloak={"namespace": "lab"}))
    assert list(realm.clients) == [JOB]
    assert INIT_JOB in sim.host.left
    realm.find_client = _fail  # type: ignore[method-assign]
    sim.step()
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    del realm.find_client
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.host.left, list(realm.clients)) == (JobState.CANCELED, [], [])


def test_an_error_of_the_host_beside_the_spawn_takes_no_time_from_keycloak(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spawn may wait for a node much longer than a job waits for Keycloak, whose time begins with its own error."""
    realm = MemoryRealm()
    sim.identity = realm
    sim.configure(keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", 60))
    sim.host.control_plane_down = True
    sim.submit(job.with_nested(keycloak={"namespace": "lab"}))
    apply = sim.host.apply

    def fail(obj: Object) -> Object:
        if obj["kind"] == Kind.SECRET and obj["metadata"]["name"] == names.KEYCLOAK_INFO:
            raise UnavailableError("the host does not answer")
        return apply(obj)

    monkeypatch.setattr(sim.host, "apply", fail)
    with pytest.raises(UnavailableError):
        sim.step()
    monkeypatch.undo()
    noted = sim.job.status.condition(ConditionType.KEYCLOAK_READY)
    assert noted is not None
    assert noted.reason == Reason.RETRYING
    sim.clock.advance(100)
    realm.fault = UnavailableError("connection refused")
    sim.host.control_plane_down = False
    sim.live_until(lambda: sim.job.status.reason == Reason.KEYCLOAK_UNREACHABLE)
    assert sim.job.status.job_status is JobState.PROCESSING
    realm.fault = None
    sim.run(until="serving")


def test_an_unreachable_keycloak_neither_stops_the_spawn_nor_starts_the_init_pod(
    sim: Simulation, job: JobBuilder
) -> None:
    """The init pod's environment has the client's secret. The time that Keycloak has begins with its stage."""
    realm = MemoryRealm()
    sim.identity = realm
    realm.find_client = _unavailable  # type: ignore[assignment, method-assign]
    sim.configure(keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", 60))
    _spawn(sim, job.with_nested(keycloak={"namespace": "lab"}))
    assert sim.job.status.reason == Reason.SPAWNING
    assert sim.job.status.condition(ConditionType.KEYCLOAK_READY) is None
    assert INIT_JOB not in sim.host.left
    del realm.find_client
    sim.host.control_plane_down = False
    sim.run(until="serving")


def _unavailable(*_: object) -> NoReturn:
    raise UnavailableError("GET clients: connection refused")


@pytest.mark.parametrize("kind", [Kind.JOB, Kind.INGRESS])
def test_what_the_host_refuses_ahead_ends_the_job_with_its_words(sim: Simulation, job: JobBuilder, kind: Kind) -> None:
    sim.host.refuse = {kind: "denied by policy x"}
    sim.host.control_plane_down = True
    sim.submit(job)
    sim.step()
    sim.host.settle()
    sim.run(until="retained")
    status = sim.job.status
    assert (status.job_status, status.reason, status.start_time) == (JobState.FAILED, Reason.REFUSED_BY_HOST, None)
    assert "denied by policy x" in str(status.message)
    assert sim.host.left == []


def test_a_host_that_does_not_answer_is_reported_and_asked_again(sim: Simulation, job: JobBuilder) -> None:
    """The record keeps its place in the spawn."""
    sim.host.control_plane_down = True
    sim.submit(job)
    apply = sim.host.apply
    sim.host.apply = lambda obj: _unavailable() if obj["kind"] == "Job" else apply(obj)  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        sim.step()
    status = sim.job.status
    assert status.reason == Reason.SPAWNING
    condition = status.condition(ConditionType.DEPLOYED)
    assert condition is not None
    assert (condition.reason, condition.message) == (Reason.RETRYING, "GET clients: connection refused")
    sim.host.apply = apply  # type: ignore[method-assign]
    sim.host.control_plane_down = False
    sim.run(until="serving")
    assert all(each.is_true for each in sim.job.status.conditions)


def test_a_long_spawn_takes_no_time_from_the_init_pod(sim: Simulation, job: JobBuilder) -> None:
    """Its image cannot be pulled all the while; the limit counts from the moment when the job waits for it."""
    sim.configure(spawn_delay_s=600, init_stuck_limit_s=60)
    sim.host.pull_error = "manifest unknown"
    _spawn(sim, job, reconciles=300)
    assert INIT_JOB in sim.host.left
    sim.host.control_plane_down = False
    sim.live_until(lambda: sim.job.status.is_true(ConditionType.PREPARED))
    since = sim.clock.now()
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.IMAGE_NOT_PULLABLE
    assert (sim.clock.now() - since).total_seconds() >= 60


def test_a_job_that_an_earlier_release_prepared_gets_the_mark(sim: Simulation, job: JobBuilder) -> None:
    """It has no mark for the init pod, which would wait in vain."""
    sim.submit(job)
    sim.run(until="wait")
    sim.live_until(lambda: sim.job.status.is_true(ConditionType.PREPARED))
    sim.virtual.marks.clear()
    if INIT_JOB in sim.host.left:
        sim.host.drop(Kind.JOB, JOB, "kns-init")
    sim.run(until="serving")
