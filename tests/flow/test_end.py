"""
Every way to stop a job, and its removal: nothing is left on the simulated host.

Some tests replace one method of their own host; mypy needs an ignore for each.
"""

from collections import Counter
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from kns.model import names
from kns.model.errors import ForbiddenError, KnsError, RefusedError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, StopReason
from kns.model.site import KeycloakSettings
from kns.ports import MOST_SURPLUS, Kind, Object
from tests.builders import JobBuilder, a_job
from tests.fakes.keycloak import MemoryRealm
from tests.flow.conftest import Simulation


@pytest.mark.proves(
    "statuses",
    "A shutdown gives the app's pods their grace, then completes the job, then removes everything "
    "([shutdown](decisions/0003-shutdown.md))",
)
def test_shutdown_gives_grace_then_completes_and_leaves_nothing(sim: Simulation, job: JobBuilder) -> None:
    """The tenant's pods get their grace period before the job is COMPLETED. The record and its output stay."""
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
    assert "service/web created" in sim.outputs.read(sim.job).render()


def test_the_control_plane_lives_on_until_its_namespace_is_terminating(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The deletion met a conflict. In a namespace that stays, the host would make the pod again. The tenant's pods have a
    quota against that.
    """
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="ended")
    with monkeypatch.context() as conflict:
        conflict.setattr(sim.host, "delete", lambda *_, **__: None)
        for _ in range(3):
            sim.step()
            sim.host.settle()
    pods = [obj["metadata"]["name"] for obj in sim.host.dump() if obj["kind"] == "Pod"]
    assert sorted(pods) == ["kns-init-0", "kns-job-7-0"]
    sim.run(until="retained")
    assert sim.host.left == []


@pytest.mark.parametrize("reason", [StopReason.TERMINATE, StopReason.WALLTIME])
def test_all_pods_end_with_the_sites_grace_and_the_tenants_before_their_namespace(
    sim: Simulation, job: JobBuilder, reason: StopReason
) -> None:
    """
    The first request to end a pod decides how long its kubelet waits. Kubernetes removes a namespace in one go only if
    its pods are gone by then. In a terminating namespace no controller replaces those of kns. It takes four writes.
    """
    sim.submit(job)
    sim.run(until="serving")
    dns = {names.SYNCED_LABEL: "kns-job-7", "k8s-app": "vcluster-kube-dns"}
    sim.host.put(Kind.POD, "kns-job-7", "dns", {"metadata": {"labels": dns}})
    sim.store.request_stop(sim.job, reason)
    sim.run(until="ended")
    sim.host.calls.clear()
    assert sim.step().summary == "removing"
    pods = {obj["metadata"]["name"]: obj["metadata"] for obj in sim.host.dump() if obj["kind"] == "Pod"}
    expected = dict.fromkeys(("dns", "kns-init-0", "kns-job-7-0", "web-x-default-x-kns-job-7"), sim.site.grace_s)
    assert {name: meta["deletionGracePeriodSeconds"] for name, meta in pods.items()} == expected
    assert sim.host.calls == [
        "apply ResourceQuota kns-job-7/kns-drain",
        "delete_pods kns-job-7 vcluster.loft.sh/managed-by=kns-job-7 grace=3",
        "delete Namespace /kns-job-7",
        "delete_pods kns-job-7  grace=3",
    ]
    sim.run(until="retained")
    assert sim.host.left == []


def _put_stubborn_pod(sim: Simulation, *, is_ending: bool = False) -> None:
    """A tenant's pod with the longest grace period that the policy admits. `is_ending`: the tenant deleted it."""
    meta: dict[str, Any] = {"labels": {names.SYNCED_LABEL: "kns-job-7", "k8s-app": "vcluster-kube-dns"}}
    if is_ending:
        meta |= {"deletionTimestamp": "then", "deletionGracePeriodSeconds": 3600}
    pod = {"metadata": meta, "spec": {"terminationGracePeriodSeconds": 3600}}
    sim.host.put(Kind.POD, "kns-job-7", "stubborn", pod)


def _end_with_a_stubborn_pod(sim: Simulation, job: JobBuilder, *, is_ending: bool = False) -> None:
    """The job has ended, and its removal has not begun."""
    sim.submit(job)
    sim.run(until="serving")
    _put_stubborn_pod(sim, is_ending=is_ending)
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="ended")


@pytest.mark.proves("security", "outlive the job: a pod with a grace period of years that ignores every signal")
@pytest.mark.parametrize("reason", StopReason)
def test_no_pod_of_the_tenant_outlives_the_job_by_its_own_grace(
    sim: Simulation, job: JobBuilder, reason: StopReason
) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.host.target_appears = False  # nor the app's own pod, which would make kns act as well
    sim.host.drop(Kind.POD, "kns-job-7", "web-x-default-x-kns-job-7")
    _put_stubborn_pod(sim)
    sim.store.request_stop(sim.job, reason)
    sim.run(until="retained")
    assert sim.host.left == []


def test_kns_ends_the_pods_of_a_namespace_that_somebody_deleted(sim: Simulation, job: JobBuilder) -> None:
    """Kubernetes does so after five seconds, and with each pod's own grace period."""
    sim.submit(job)
    sim.run(until="serving")
    sim.host.delete(Kind.NAMESPACE, "", "kns-job-7")
    sim.host.namespace_stuck = "the namespace controller has not begun"
    for _ in range(3):
        sim.step()
    assert "delete_pods kns-job-7  grace=3" in sim.host.calls
    sim.host.namespace_stuck = ""
    sim.run(until="retained")
    assert sim.host.left == []


@pytest.mark.proves("security", "outlive the job: a pod with a grace period of years that ignores every signal")
@pytest.mark.parametrize("call", ["apply", "delete_pods", "delete"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_in_the_removal_leaves_no_pod_to_its_own_grace(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    """kns is killed at the first call of this kind, and for some time nobody leads: Kubernetes goes on."""
    _end_with_a_stubborn_pod(sim, job)
    done = getattr(sim.host, call)

    def die(*args: Any, **more: Any) -> NoReturn:
        if when == "after":
            done(*args, **more)
        raise KilledError

    with monkeypatch.context() as crash:
        crash.setattr(sim.host, call, die)
        with pytest.raises(KilledError):
            sim.step()
    for _ in range(3):
        sim.host.settle()
    sim.run(until="retained")
    assert sim.host.left == []


class KilledError(BaseException):
    """Nothing catches it, as nothing catches a signal."""


def test_the_pod_that_keeps_the_namespace_is_named(sim: Simulation, job: JobBuilder) -> None:
    """The tenant ended it before the job ended, so that its kubelet waits for as long as they said."""
    _end_with_a_stubborn_pod(sim, job, is_ending=True)
    for _ in range(20):
        sim.step()
        sim.clock.advance(5)
    removed = sim.job.status.condition(ConditionType.REMOVED)
    assert removed is not None
    assert removed.message.startswith("namespace kns-job-7 is terminating: pods still ending: ")
    assert "stubborn" in removed.message
    sim.host.drop(Kind.POD, "kns-job-7", "stubborn")
    sim.run(until="retained")
    assert sim.host.left == []


def test_the_finalizer_of_the_namespace_itself_is_named(sim: Simulation, job: JobBuilder) -> None:
    """As management software gives to every namespace. Kubernetes then says of its content only, and it has none."""
    sim.submit(job)
    sim.run(until="serving")
    meta = {"finalizers": ["example.org/namespace-auth"]}
    sim.host.change(Kind.NAMESPACE, "", "kns-job-7", lambda obj: obj["metadata"].update(meta))
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="removing")
    sim.go_on(60)
    assert sim.host.left == ["Namespace /kns-job-7"]
    removed = sim.job.status.condition(ConditionType.REMOVED)
    assert removed is not None
    assert removed.message == (
        "namespace kns-job-7 is terminating: it has finalizers of other controllers: example.org/namespace-auth"
    )
    sim.host.change(Kind.NAMESPACE, "", "kns-job-7", lambda obj: obj["metadata"].pop("finalizers"))
    sim.run(until="retained")
    assert sim.host.left == []


def test_a_removal_that_cannot_finish_is_looked_at_ever_less_often(
    sim: Simulation, job: JobBuilder, requests: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host and Keycloak get a request a minute for it, however long it lasts. The watch reports its end."""
    realm = MemoryRealm()
    sim.identity = realm
    sim.configure(keycloak=KeycloakSettings("https://kc.example.org/auth", "jarvice", 60))
    sim.submit(job.with_nested(keycloak={"namespace": "default"}))
    sim.run(until="serving")
    sim.host.namespace_stuck = "a finalizer holds it"
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="removing")
    asked: list[str] = []
    monkeypatch.setattr(realm, "find_client", asked.append)
    requests.clear()
    sim.go_on(3600)
    assert 60 <= len(asked) <= 75
    assert +requests == {"host.list_metadata": len(asked)}
    sim.host.namespace_stuck = None
    sim.run(until="retained")
    assert sim.host.left == []


@pytest.mark.parametrize("error", [ForbiddenError("no RoleBinding"), RefusedError("a webhook says no")], ids=repr)
@pytest.mark.parametrize("call", ["apply", "delete_pods"])
def test_what_keeps_kns_from_the_pods_does_not_keep_the_namespace(
    sim: Simulation, job: JobBuilder, error: KnsError, call: str
) -> None:
    sim.submit(job)
    sim.run(until="serving")

    def refuse(*_args: object, **_more: object) -> NoReturn:
        raise error

    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="ended")
    setattr(sim.host, call, refuse)
    sim.run(until="retained")
    assert sim.host.left == []


def test_a_refused_quota_does_not_keep_kns_from_the_pods(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_more: object) -> NoReturn:
        raise RefusedError("a webhook admits no quota")

    _end_with_a_stubborn_pod(sim, job)
    monkeypatch.setattr(sim.host, "apply", refuse)
    sim.run(until="retained")
    assert sim.host.left == []


@pytest.mark.parametrize("call", ["list_metadata", "apply", "delete_pods", "delete"])
def test_an_error_that_passes_leaves_no_pod_to_its_own_grace(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The host is slow for one reconcile, and Kubernetes goes on with what it was asked for."""

    def time_out(*_args: object, **_more: object) -> NoReturn:
        raise UnavailableError("no answer")

    _end_with_a_stubborn_pod(sim, job)
    with monkeypatch.context() as slow:
        slow.setattr(sim.host, call, time_out)
        sim.step()
    for _ in range(3):
        sim.host.settle()
    sim.run(until="retained")
    assert sim.host.left == []


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


@pytest.mark.proves(
    "statuses",
    "A failed start is `COMPLETED WITH ERROR` and 1; an exceeded walltime is `TERMINATED` and -15",
)
def test_walltime_counts_from_the_start(sim: Simulation, job: JobBuilder) -> None:
    """A serving job is requeued for exactly the end of the walltime, and then terminated."""
    sim.submit(job.with_accepted(walltime_s=600))
    sim.run(until="serving")
    assert sim.job.walltime_end is not None
    sim.clock.advance((sim.job.walltime_end - sim.clock.now()).total_seconds() - 7)
    assert sim.step().requeue_after_s == 7
    sim.clock.advance(7)
    sim.run(until="retained")
    assert (sim.job.status.job_status, sim.job.status.exit_code) == (JobState.TERMINATED, -15)
    assert sim.job.status.reason == Reason.WALLTIME


def test_an_extended_walltime_ends_the_job_later(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job.with_accepted(walltime_s=600).without_target())
    sim.run(until="serving")
    sim.store.extend_walltime(sim.job, 900)
    sim.clock.advance(600)
    sim.run(until="serving")
    assert sim.job.walltime_end is not None
    sim.clock.advance((sim.job.walltime_end - sim.clock.now()).total_seconds() - 7)
    assert sim.step().requeue_after_s == 7
    sim.clock.advance(7)
    sim.run(until="retained")
    assert sim.job.status.reason == Reason.WALLTIME


@pytest.mark.proves(
    "objects",
    "`JARVICE_KNS_KEEP_VCLUSTERS` keeps everything of a job; its final status is unchanged",
)
def test_keep_vclusters_keeps_everything_and_deleting_the_record_removes_it(sim: Simulation, job: JobBuilder) -> None:
    """The status is final and all objects stay. `kubectl delete nj` removes them whatever the setting says."""
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


@pytest.mark.parametrize("label", [None, "8"])
def test_a_namespace_that_was_labelled_anew_goes_with_its_job(
    sim: Simulation, job: JobBuilder, label: str | None
) -> None:
    """Otherwise it would run on with its pods, while the record says that everything was removed."""
    sim.submit(job)
    sim.run(until="serving")

    def relabel(namespace: Object) -> None:
        namespace["metadata"]["labels"].pop(names.JOB_LABEL)
        namespace["metadata"]["labels"] |= {names.JOB_LABEL: label} if label else {}

    sim.host.change(Kind.NAMESPACE, "", "kns-job-7", relabel)
    assert sim.step().summary == "serving"
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert sim.host.left == []


@pytest.mark.proves(
    "statuses",
    "The final status is written before anything is removed, and a stuck removal does not change it",
)
def test_a_namespace_that_does_not_go_is_reported_and_changes_no_status(sim: Simulation, job: JobBuilder) -> None:
    sim.host.namespace_stuck = "Some content has finalizers remaining: example.org/hold in 1 resource instances"
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="removing")
    assert sim.job.status.condition(ConditionType.REMOVED) is None, "a write that says nothing new"
    for _ in range(12):
        sim.host.settle()
        sim.clock.advance(2)
        assert sim.step().summary == "removing"
    removed = sim.job.status.condition(ConditionType.REMOVED)
    assert removed is not None
    assert "example.org/hold" in removed.message
    assert sim.job.status.job_status is JobState.COMPLETED
    sim.host.namespace_stuck = None
    sim.run(until="retained")
    assert sim.host.left == []


@pytest.mark.proves("security", "flood the scheduler with submits")
def test_the_oldest_records_of_a_user_go_when_another_job_ends(sim: Simulation, job: JobBuilder) -> None:
    """Each replica keeps all records in memory, so one user must not have any number of them."""
    sim.configure(retained_jobs=2)
    for number in (1, 2, 3):
        sim.store.add(a_job().numbered(number).ended().removed().build())
    sim.store.add(a_job().numbered(4).owned_by("user2").ended().removed().build())
    sim.submit(job)
    sim.run(until="serving")
    assert not [write for write in sim.store.writes if write.startswith("delete ")]
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert [write for write in sim.store.writes if write.startswith("delete ")] == [
        "delete kns-job-1",
        "delete kns-job-2",
    ]


def test_a_large_surplus_goes_in_small_parts_and_each_record_once(sim: Simulation, job: JobBuilder) -> None:
    """Many reconciles see the same surplus, for example after the limit was lowered. Deletions take their time."""
    sim.configure(retained_jobs=1)
    surplus = 2 * MOST_SURPLUS + 1
    for number in range(101, 101 + surplus):
        sim.store.add(a_job().numbered(number).ended().removed().build())
    sim.submit(job.numbered(200))
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    result, parts = sim.run(until="retained"), []
    for _ in range(surplus):
        deleted = [write for write in sim.store.writes if write.startswith("delete ")]
        parts.append(len(deleted))
        assert result.requeue_after_s is not None
        if result.requeue_after_s > 1:
            break
        sim.clock.advance(result.requeue_after_s)
        result = sim.step()
    assert parts == [MOST_SURPLUS, 2 * MOST_SURPLUS, surplus]
    assert deleted == [f"delete kns-job-{number}" for number in range(101, 101 + surplus)]


@pytest.mark.parametrize("most", [0, 4])
def test_no_record_goes_early_within_the_limit_or_without_one(sim: Simulation, job: JobBuilder, most: int) -> None:
    sim.configure(retained_jobs=most)
    for number in (1, 2, 3):
        sim.store.add(a_job().numbered(number).ended().removed().build())
    sim.submit(job)
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    assert not [write for write in sim.store.writes if write.startswith("delete ")]


def test_a_record_that_waits_for_the_end_of_its_retention_is_not_parsed(sim: Simulation, job: JobBuilder) -> None:
    """A new leader looks at all records, and most of them wait."""
    sim.submit(job)
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    end = sim.job.status.end_time
    assert end is not None
    sim.store.faults["get"] = AssertionError("the record is parsed")
    sim.clock.advance(60)
    result = sim.step()
    waited_s = (sim.clock.now() - end).total_seconds()
    assert (result.summary, result.requeue_after_s) == ("retained", sim.site.retention_s - waited_s)


@pytest.mark.proves("output", "Records and their output stay for 30 days")
def test_an_ended_record_goes_after_its_retention(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(retention_s=3600)
    sim.submit(job)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="retained")
    assert sim.job.status.end_time is not None
    sim.clock.advance(3599 - (sim.clock.now() - sim.job.status.end_time).total_seconds())
    assert sim.step().summary == "retained"
    assert sim.outputs.read(sim.job).lines()
    sim.clock.advance(1)
    sim.run(until="released")
    assert sim.store.get(sim.record) is None


def test_the_grace_ends_even_if_the_host_does_not_answer(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")

    def list_objects(kind: Kind, namespace: str, selector: str = "") -> list[Object]:
        raise UnavailableError("GET pods: no answer")

    sim.host.list_objects = list_objects  # type: ignore[method-assign]
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="ended")
    assert sim.job.status.job_status is JobState.COMPLETED


@pytest.mark.proves(
    "objects",
    "`JARVICE_KNS_KEEP_VCLUSTERS` keeps everything of a job; its final status is unchanged",
)
def test_keep_vclusters_keeps_the_apps_pods_too(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(keep_vclusters=True)
    sim.submit(job)
    sim.run(until="serving")
    before = sim.host.left
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="kept")
    assert sim.host.left == before


def test_a_job_that_is_kept_while_it_drains_gets_its_pods_back(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    before = {obj["metadata"]["name"] for obj in sim.host.dump() if obj["kind"] == "Pod"}
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="draining")
    sim.step()
    sim.store.set_keep(sim.job, keep=True)
    sim.run(until="kept")
    sim.host.settle()
    assert {obj["metadata"]["name"] for obj in sim.host.dump() if obj["kind"] == "Pod"} == before


def test_a_clock_that_is_not_trusted_ends_no_job_and_deletes_no_record(sim: Simulation, job: JobBuilder) -> None:
    """The leader's machine believes that it is next year. Nothing happens until it is corrected."""
    sim.submit(job.with_accepted(walltime_s=3600))
    sim.run(until="serving")
    sim.clock_trusted = False
    sim.clock.advance(365 * 86400)
    result = sim.step()
    assert result.summary == "serving"
    assert result.requeue_after_s == 60
    assert not sim.job.is_ended
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="retained")
    sim.clock.advance(365 * 86400)
    assert sim.step().requeue_after_s == 60
    assert sim.job.is_ended
    sim.clock_trusted = True
    assert sim.step().summary == "expired"


def test_a_clock_that_is_wrong_counts_no_usage(sim: Simulation, job: JobBuilder) -> None:
    """It is a year ahead for ten seconds. Afterwards these ten seconds count, and the usage goes on."""
    sim.submit(job)
    sim.run(until="serving")
    start = sim.job.status.start_time
    assert start is not None
    sim.clock_trusted = False
    sim.clock.advance(365 * 86400)
    sim.live(10)
    sim.clock.advance(-365 * 86400)
    sim.clock_trusted = True
    sim.clock.advance(sim.site.report_interval_s)
    sim.live(1)
    report = sim.job.status.usage_reports[-1]
    assert report.seconds == (report.time - start).total_seconds()
    assert report.seconds < sim.site.report_interval_s + 100


def test_a_job_that_ends_by_a_clock_that_is_wrong_is_not_charged_for_it(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.clock_trusted = False
    sim.clock.advance(365 * 86400)
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="ended")
    assert sim.job.status.usage_reports[-1].seconds < 100


def test_a_job_that_starts_while_the_clock_is_behind_lives_on_when_it_is_right(
    sim: Simulation, job: JobBuilder
) -> None:
    """A machine that begins at a time long ago leads, and gets the right time while the job runs."""
    sim.submit(job.with_accepted(walltime_s=3600))
    created = sim.job.created
    sim.clock_trusted = False
    sim.clock.advance(-40 * 86400)
    sim.run(until="serving")
    sim.clock.advance((created - sim.clock.now()).total_seconds())
    sim.clock_trusted = True
    assert sim.step().summary == "serving"
    status = sim.job.status
    assert status.usage is not None
    assert status.usage.at(sim.clock.now()).seconds < 60
    sim.clock.advance(3600)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.WALLTIME


def test_time_goes_on_by_the_host_s_clock_while_the_own_one_is_behind(sim: Simulation, job: JobBuilder) -> None:
    """Otherwise a young job would stay at the moment of its submission until the clock is right."""
    sim.submit(job)
    created, behind = sim.job.created, timedelta(days=40)
    sim.clock_trusted, sim.skew = False, -behind
    sim.clock.advance(-behind.total_seconds())
    sim.run(until="serving")
    sim.clock.advance(100)
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="removed")
    assert sim.job.status.end_time is not None
    assert timedelta(seconds=100) <= sim.job.status.end_time - created < timedelta(hours=1)


def test_a_record_that_ends_while_the_clock_is_behind_is_retained_when_it_is_right(
    sim: Simulation, job: JobBuilder
) -> None:
    sim.submit(job)
    created = sim.job.created
    sim.clock_trusted = False
    sim.clock.advance(-sim.site.retention_s - 86400)
    sim.run(until="serving")
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="removed")
    sim.clock.advance((created - sim.clock.now()).total_seconds())
    sim.clock_trusted = True
    assert sim.step().summary == "retained"


def test_with_a_trusted_clock_the_walltime_ends_the_job(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job.with_accepted(walltime_s=3600))
    sim.run(until="serving")
    sim.clock_trusted = False
    sim.clock.advance(3600)
    assert sim.step().summary == "serving"
    sim.clock_trusted = True
    assert sim.step().summary == "ended"
    assert sim.job.status.reason == Reason.WALLTIME


def test_an_administrator_keeps_one_job_until_they_change_their_mind(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.store.set_keep(sim.job, keep=True)
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    sim.run(until="kept")
    assert sim.job.is_ended
    condition = sim.job.status.condition(ConditionType.REMOVED)
    assert condition is not None
    assert (condition.is_true, condition.reason) == (False, Reason.KEPT)
    assert "kns keep 7 --undo" in condition.message
    assert "Namespace /kns-job-7" in sim.host.left
    sim.store.set_keep(sim.job, keep=False)
    sim.run(until="removed")
    assert sim.job.status.is_true(ConditionType.REMOVED)
    assert sim.host.left == []
