"""
A job's life from record to serving over a simulated host, and what ends it that is no part of one stage.

Some tests replace one method of their own host; mypy needs an ignore for each.
"""

import pytest

from kns.model.errors import ForbiddenError, RefusedError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, Substatus
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation
from tests.flow.interruptions import refuse_apply


def test_a_job_comes_to_serve_with_url_and_start_time(sim: Simulation, job: JobBuilder) -> None:
    """Namespace, virtual cluster, templates, Ingress; then the record says where the job is."""
    sim.submit(job)
    sim.run(until="serving")

    status = sim.job.status
    assert status.job_status is JobState.PROCESSING
    assert status.url == "https://kns-job-7.jobs.example.org"
    assert status.address == "kns-job-7.jobs.example.org"
    assert status.start_time is not None
    assert status.substatus is Substatus.NONE
    assert sim.outputs.read(sim.job).render() == sim.host.init_log
    assert all(c.is_true for c in status.conditions)


def test_a_serving_job_costs_no_write(sim: Simulation, job: JobBuilder) -> None:
    """Steady state: a reconcile without a change writes neither to the host nor to the record."""
    sim.submit(job)
    sim.run(until="serving")
    calls, writes = list(sim.host.calls), list(sim.store.writes)
    for _ in range(3):
        assert sim.step().summary == "serving"
    assert (sim.host.calls, sim.store.writes) == (calls, writes)


def test_a_target_that_never_appears_fails_the_job(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(target_limit_s=60)
    sim.host.target_appears = False
    sim.submit(job)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.TARGET_NOT_FOUND
    assert "default/web" in str(sim.job.status.message)


def test_a_job_without_target_serves_without_url(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job.without_target())
    sim.run(until="serving")
    assert sim.job.status.url is None
    assert "Ingress kns-job-7/kns-job-7" not in sim.host.left


def test_a_namespace_removed_by_hand_ends_the_job(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.host.delete(Kind.NAMESPACE, "", "kns-job-7")
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.job.status.reason) == (JobState.FAILED, Reason.NAMESPACE_GONE)
    assert sim.host.left == []


@pytest.mark.proves("objects", "Nothing is removed that is not the job's")
def test_a_foreign_namespace_is_neither_used_nor_removed(sim: Simulation, job: JobBuilder) -> None:
    sim.host.put(Kind.NAMESPACE, "", "kns-job-7", {"metadata": {"labels": {"team": "other"}}})
    sim.submit(job)
    sim.run(until="retained")
    assert sim.job.status.reason == Reason.NAMESPACE_FOREIGN
    assert sim.host.left == ["Namespace /kns-job-7"]


def test_what_the_host_refuses_ends_the_job_with_its_words(sim: Simulation, job: JobBuilder) -> None:
    sim.host.refuse = {Kind.LIMIT_RANGE: "exceeded quota: all-limit-ranges"}
    sim.submit(job)
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.job.status.reason) == (JobState.FAILED, Reason.REFUSED_BY_HOST)
    assert "exceeded quota: all-limit-ranges" in str(sim.job.status.message)
    assert sim.host.left == []


def test_a_job_that_cannot_go_on_says_why(sim: Simulation, job: JobBuilder) -> None:
    """If the host API is unreachable or refuses, the job's condition says so, not only a log."""
    relent = refuse_apply(sim.host, "LimitRange", ForbiddenError("PATCH limitranges: 403, not allowed"))
    sim.submit(job)
    with pytest.raises(ForbiddenError):
        sim.step()
    condition = sim.job.status.condition(ConditionType.NAMESPACE_READY)
    assert condition is not None
    assert (condition.reason, condition.message) == (Reason.RETRYING, "PATCH limitranges: 403, not allowed")
    relent()
    sim.run(until="serving")


@pytest.mark.parametrize("kind", [Kind.NAMESPACE, Kind.DEPLOYMENT])
def test_a_cache_that_lags_ends_no_healthy_job(
    sim: Simulation, job: JobBuilder, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a job fails, kns asks the API server for objects that the watch has not seen."""
    sim.submit(job)
    sim.run(until="serving")
    observe = sim.host.observe
    monkeypatch.setattr(sim.host, "observe", lambda k, *where: None if k is kind else observe(k, *where))
    assert sim.step().summary == "serving"


def test_a_copy_of_a_record_neither_uses_nor_removes_the_originals_namespace(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.store.add_spec(sim.job.spec, record="copy")
    original, sim.record = sim.record, "copy"
    sim.run(until="retained")
    assert sim.job.status.reason == Reason.NAMESPACE_FOREIGN
    sim.record = original
    assert sim.step().summary == "serving"
    assert "Namespace /kns-job-7" in sim.host.left


def test_an_unreadable_record_ends_with_its_reason_and_is_removed(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.store.damage(sim.record, "spec.accepted.nested.templates: List should have at least 1 item")
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.job.status.reason) == (JobState.FAILED, Reason.UNREADABLE)
    assert sim.host.left == []


def test_the_record_says_for_what_it_waits_and_forgets_it_when_it_serves(sim: Simulation, job: JobBuilder) -> None:
    """`kubectl get nj -o wide` shows reason and message while a job waits, not only at its end."""
    sim.host.target_appears = False
    sim.submit(job)
    sim.live(20)
    assert (sim.job.status.reason, sim.job.status.message) == (
        Reason.NO_TARGET,
        "target Service default/web is not in the virtual cluster",
    )
    assert sim.job.status.substatus is Substatus.NONE
    sim.host.target_appears = True
    sim.host.settle()
    sim.run(until="serving")
    assert (sim.job.status.reason, sim.job.status.message) == (None, None)


def test_a_record_whose_accepted_part_the_host_refuses_ends_with_the_reason(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an end it would be tried forever, and nothing in the record would say why it does not start."""
    spec = job.build().spec
    monkeypatch.setattr("tests.flow.conftest._no_intake", lambda _job: spec.accepted)
    sim.store.add_spec(spec.model_copy(update={"accepted": None}), record=sim.record)
    sim.store.faults["accept"] = RefusedError("PATCH nestedjobs: 422, spec.accepted.image is too long")
    sim.run(until="ended")
    assert (sim.job.status.job_status, sim.job.status.reason) == (JobState.FAILED, Reason.REFUSED_BY_HOST)
    assert "422" in (sim.job.status.message or "")
    assert sim.run(until="retained").requeue_after_s == sim.site.retention_s


def test_a_version_that_the_site_dropped_before_the_start_ends_the_job(sim: Simulation, job: JobBuilder) -> None:
    """kns was restarted with other `KNS_KUBERNETES_VERSIONS` while the job was waiting."""
    sim.submit(job.with_nested(kubernetes_version="v1.20"))
    sim.run(until="ended")
    status = sim.job.status
    assert status.reason == Reason.NOT_ACCEPTED
    said = "nested_kubernetes.kubernetes_version: v1.20 is not supported here; supported: v1."
    assert said in (status.message or "")
