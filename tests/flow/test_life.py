"""
A job's life from record to nothing, over a simulated host: every end, and that nothing is left.

Where a test makes one call of the host misbehave it replaces that method of its own host, which mypy has to be told.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from kns.model import names
from kns.model.errors import ForbiddenError, KnsError, RefusedError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, StopReason, Substatus
from kns.ports import Kind, Object
from tests.builders import JobBuilder
from tests.fakes.host import UNSCHEDULABLE
from tests.flow.conftest import Simulation

FAILED_ITEM = {
    "exitCode": 1,
    "message": json.dumps({"reason": "ItemOutOfRetries", "message": "item 1/1 'web' failed after 3 attempts"}),
}


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
    assert sim.outputs.read(sim.record).render() == sim.host.init_log
    assert all(c.is_true for c in status.conditions)


def test_a_serving_job_costs_no_write(sim: Simulation, job: JobBuilder) -> None:
    """Steady state: passes without a change write neither to the host nor to the record."""
    sim.submit(job)
    sim.run(until="serving")
    calls, writes = list(sim.host.calls), list(sim.store.writes)
    for _ in range(3):
        assert sim.step().summary == "serving"
    assert (sim.host.calls, sim.store.writes) == (calls, writes)


def test_shutdown_gives_grace_then_completes_and_leaves_nothing(sim: Simulation, job: JobBuilder) -> None:
    """The tenant's pods are ended with grace before the job is COMPLETED; the record and its output stay."""
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="draining")
    sim.step()
    assert sim.job.status.job_status is JobState.PROCESSING
    assert any(call.startswith("delete_pods kns-job-7") and call.endswith("grace=3") for call in sim.host.calls)
    sim.run(until="retained")

    status = sim.job.status
    assert (status.job_status, status.exit_code) == (JobState.COMPLETED, 0)
    assert status.is_true(ConditionType.REMOVED)
    assert sim.host.left == []
    assert "service/web created" in sim.outputs.read(sim.record).render()


def _stubborn(*, ending: bool) -> dict[str, Any]:
    """A tenant's pod that wants years to end; `ending`: the tenant deleted it already."""
    meta: dict[str, Any] = {"labels": {names.SYNCED_LABEL: "kns-job-7", "k8s-app": "vcluster-kube-dns"}}
    if ending:
        meta |= {"deletionTimestamp": "then", "deletionGracePeriodSeconds": 10**8}
    return {"metadata": meta, "spec": {"terminationGracePeriodSeconds": 10**8}}


@pytest.mark.parametrize("ending", [False, True])
@pytest.mark.parametrize("how", [*StopReason, "namespace deleted"])
def test_no_pod_of_the_tenant_outlives_the_job_by_its_own_grace(
    sim: Simulation, job: JobBuilder, how: StopReason | str, *, ending: bool
) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.host.target_appears = False  # nor the app's own pod, which would make kns act, too
    sim.host.drop(Kind.POD, "kns-job-7", "web-x-default-x-kns-job-7")
    sim.host.put(Kind.POD, "kns-job-7", "stubborn", _stubborn(ending=ending))
    if isinstance(how, StopReason):
        sim.host.rights_go_first = True
        sim.store.request_stop(sim.job, how)
    else:
        sim.host.delete(Kind.NAMESPACE, "", "kns-job-7")
    sim.run(until="retained")
    assert sim.host.left == []
    if isinstance(how, StopReason):
        calls = [call for call in sim.host.calls if "kns-drain" in call or call.startswith("delete_pods")]
        assert calls[0] == "apply ResourceQuota kns-job-7/kns-drain", "controllers inside would replace it"


@pytest.mark.parametrize("error", [ForbiddenError("no RoleBinding"), RefusedError("a webhook says no")], ids=repr)
def test_what_keeps_kns_from_the_pods_does_not_keep_the_namespace(
    sim: Simulation, job: JobBuilder, error: KnsError
) -> None:
    sim.submit(job)
    sim.run(until="serving")
    apply = sim.host.apply

    def refuse(obj: Object) -> Object:
        if obj["kind"] == "ResourceQuota":
            raise error
        return apply(obj)

    sim.host.apply = refuse  # type: ignore[method-assign]
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert sim.host.left == []


def test_the_ingress_goes_before_the_namespace(sim: Simulation, job: JobBuilder) -> None:
    """Removal runs up the ladder: nobody is led to a cluster that is going."""
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    deletions = [call for call in sim.host.calls if call.startswith("delete ")]
    assert deletions == ["delete Ingress kns-job-7/kns-job-7", "delete Namespace /kns-job-7"]


@pytest.mark.parametrize(
    ("when", "state", "code"),
    [("wait", JobState.CANCELED, -9), ("serving", JobState.TERMINATED, -15)],
    ids=["before the start it is canceled", "after the start it is terminated"],
)
def test_terminate(sim: Simulation, job: JobBuilder, when: str, state: JobState, code: int) -> None:
    sim.submit(job)
    sim.run(until=when)
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.job.status.exit_code) == (state, code)
    assert sim.host.left == []


def test_walltime_counts_from_the_start(sim: Simulation, job: JobBuilder) -> None:
    """A serving pass asks to be woken exactly at the end of the walltime; then the job is terminated."""
    sim.submit(job.with_accepted(walltime_s=600).without_target())  # a target is looked at each minute
    result = sim.run(until="serving")
    assert sim.job.walltime_end is not None
    assert result.requeue_after_s == (sim.job.walltime_end - sim.clock.now()).total_seconds()
    sim.clock.advance(600)
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.job.status.exit_code) == (JobState.TERMINATED, -15)
    assert sim.job.status.reason == Reason.WALLTIME


def test_spawn_delay_ends_the_job_with_the_pods_own_words(sim: Simulation, job: JobBuilder) -> None:
    """An unschedulable control plane: failed at the delay, with the scheduler's message as the last line."""
    sim.configure(spawn_delay_s=8)
    sim.host.schedulable = False
    sim.submit(job)
    sim.run(until="retained")

    status = sim.job.status
    assert (status.job_status, status.exit_code) == (JobState.FAILED, 1)
    assert status.end_time is not None
    assert status.spawn_start_time is not None
    assert (status.end_time - status.spawn_start_time).total_seconds() == 8
    assert UNSCHEDULABLE in sim.outputs.read(sim.record).lines()[-1]
    assert sim.host.left == []


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
    """The runner's own message is the reason; it is the last line of the output; all is removed."""
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


def test_keep_vclusters_keeps_everything_and_deleting_the_record_removes_it(sim: Simulation, job: JobBuilder) -> None:
    """The status is final, the world stays; `kubectl delete nj` takes it away whatever the setting says."""
    sim.configure(keep_vclusters=True)
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="kept")
    assert sim.job.status.job_status is JobState.COMPLETED
    removed = sim.job.status.condition(ConditionType.REMOVED)
    assert removed is not None
    assert "kubectl delete nj kns-job-7 -n kns-system" in removed.message
    assert "Namespace /kns-job-7" in sim.host.left

    sim.store.delete(sim.job)
    sim.run(until="released")
    assert sim.host.left == []
    assert sim.store.get(sim.record) is None


def test_a_record_deleted_while_it_spawns_takes_everything_along(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="wait")
    sim.store.delete(sim.job)
    sim.run(until="released")
    assert sim.host.left == []


def test_a_lost_control_plane_ends_the_job(sim: Simulation, job: JobBuilder) -> None:
    """Another control-plane pod means an empty cluster; it must not pass for the old one."""
    sim.submit(job)
    sim.run(until="serving")
    sim.host.drop(Kind.POD, "kns-job-7", "kns-job-7-0")
    sim.host.settle()
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.CONTROL_PLANE_LOST


def test_a_namespace_removed_by_hand_ends_the_job(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.host.delete(Kind.NAMESPACE, "", "kns-job-7")
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.job.status.reason) == (JobState.FAILED, Reason.NAMESPACE_GONE)
    assert sim.host.left == []


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


def test_a_namespace_that_does_not_go_is_reported_and_changes_no_status(sim: Simulation, job: JobBuilder) -> None:
    sim.host.namespace_stuck = "Some content has finalizers remaining: example.org/hold in 1 resource instances"
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="removing")
    for _ in range(5):
        sim.host.settle()
        assert sim.step().summary == "removing"
    removed = sim.job.status.condition(ConditionType.REMOVED)
    assert removed is not None
    assert "example.org/hold" in removed.message
    assert sim.job.status.job_status is JobState.COMPLETED
    sim.host.namespace_stuck = None
    sim.run(until="retained")
    assert sim.host.left == []


def test_an_ended_record_goes_after_its_retention(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(retention_s=3600)
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="retained")
    sim.clock.advance(3600)
    sim.run(until="released")
    assert sim.store.get(sim.record) is None


def test_a_job_that_cannot_go_on_says_why(sim: Simulation, job: JobBuilder) -> None:
    """An unreachable or unwilling host API shows in the job's condition, not only in a log."""
    original = sim.host.apply

    def apply(obj: Object) -> Object:
        if obj["kind"] == "LimitRange":
            raise ForbiddenError("PATCH limitranges: 403, not allowed")
        return original(obj)

    sim.host.apply = apply  # type: ignore[method-assign]
    sim.submit(job)
    with pytest.raises(ForbiddenError):
        sim.step()
    condition = sim.job.status.condition(ConditionType.NAMESPACE_READY)
    assert condition is not None
    assert (condition.reason, condition.message) == (Reason.RETRYING, "PATCH limitranges: 403, not allowed")
    sim.host.apply = original  # type: ignore[method-assign]
    sim.run(until="serving")


def _with_volumes(sim: Simulation, storage_class: str) -> None:
    sim.configure(virtual=replace(sim.site.virtual, storage_class=storage_class))


def test_with_a_volume_another_control_plane_pod_is_the_same_cluster(sim: Simulation, job: JobBuilder) -> None:
    _with_volumes(sim, "fast")
    sim.submit(job)
    sim.run(until="serving")
    sim.host.drop(Kind.POD, "kns-job-7", "kns-job-7-0")
    sim.host.settle()
    assert sim.step().summary == "serving"


@pytest.mark.parametrize(("then", "now"), [("", "fast"), ("fast", "")], ids=["switched on", "switched off"])
def test_a_running_job_outlives_the_setting_of_its_volume(
    sim: Simulation, job: JobBuilder, then: str, now: str
) -> None:
    """Whether it has one was decided when it was made, and so is what the loss of its pod means."""
    _with_volumes(sim, then)
    sim.submit(job)
    sim.run(until="serving")
    _with_volumes(sim, now)
    assert sim.step().summary == "serving"
    sim.host.drop(Kind.POD, "kns-job-7", "kns-job-7-0")
    sim.host.settle()
    sim.run(until="serving" if then else "ended")
    assert sim.job.status.reason == (None if then else Reason.CONTROL_PLANE_LOST)


def test_an_evicted_control_plane_is_noticed_beside_its_replacement(sim: Simulation, job: JobBuilder) -> None:
    """The evicted pod stays as an object; the newer, empty one is what serves."""
    sim.submit(job)
    sim.run(until="serving")
    sim.clock.advance(60)
    old = sim.host.read(Kind.POD, "kns-job-7", "kns-job-7-0")
    assert old is not None
    sim.host.put(Kind.POD, "kns-job-7", "kns-job-7-1", {"metadata": {"labels": old["metadata"]["labels"]}})
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.CONTROL_PLANE_LOST


@pytest.mark.parametrize("kind", [Kind.NAMESPACE, Kind.DEPLOYMENT])
def test_a_cache_that_lags_ends_no_healthy_job(sim: Simulation, job: JobBuilder, kind: Kind) -> None:
    """What the watch has not seen (yet) is asked for before a job is given up."""
    sim.submit(job)
    sim.run(until="serving")
    observe = sim.host.observe
    sim.host.observe = lambda k, namespace, name: None if k is kind else observe(k, namespace, name)  # type: ignore[method-assign]
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


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_log_that_was_not_read_at_once_is_not_lost(sim: Simulation, job: JobBuilder, exit_code: int) -> None:
    """The very last look at it may be the one that gets no answer."""
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
    """The host API may not reach a kubelet; the job serves, and its output says what is missing."""

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


def test_the_grace_ends_even_if_the_host_does_not_answer(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")

    def list_objects(kind: Kind, namespace: str, selector: str = "") -> list[Object]:
        raise UnavailableError("GET pods: no answer")

    sim.host.list_objects = list_objects  # type: ignore[method-assign]
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="ended")
    assert sim.job.status.job_status is JobState.COMPLETED


def test_keep_vclusters_keeps_the_apps_pods_too(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(keep_vclusters=True)
    sim.submit(job)
    sim.run(until="serving")
    before = sim.host.left
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="kept")
    assert sim.host.left == before


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
    for _ in range(20):
        sim.step()
        sim.host.settle()
        sim.clock.advance(1)
    assert (sim.job.status.reason, sim.job.status.message) == (
        Reason.NO_TARGET,
        "target Service default/web is not in the virtual cluster",
    )
    assert sim.job.status.substatus is Substatus.NONE
    sim.host.target_appears = True
    sim.host.settle()
    sim.run(until="serving")
    assert (sim.job.status.reason, sim.job.status.message) == (None, None)


def test_the_stage_that_failed_says_so_too(sim: Simulation, job: JobBuilder) -> None:
    """Its condition tells the end, not what it was busy with before."""
    sim.host.init_exit = FAILED_ITEM
    sim.submit(job)
    sim.run(until="ended")
    condition = sim.job.status.condition(ConditionType.DEPLOYED)
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", Reason.ITEM_OUT_OF_RETRIES)
