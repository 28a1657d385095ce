"""The control plane of a virtual cluster over a simulated host: it is late, lost or replaced."""

from collections import Counter
from dataclasses import replace
from typing import NoReturn

import pytest

from kns.model.errors import ForbiddenError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState
from kns.ports import Kind, Object
from tests.builders import JobBuilder
from tests.fakes.host import UNSCHEDULABLE
from tests.flow.conftest import Simulation
from tests.flow.interruptions import Crash


def test_spawn_delay_ends_the_job_with_the_pods_own_words(sim: Simulation, job: JobBuilder) -> None:
    """
    The control plane is unschedulable: the job fails after the delay, and the last line is the scheduler's message.
    """
    sim.configure(spawn_delay_s=8)
    sim.host.schedulable = False
    sim.submit(job)
    sim.run(until="retained")

    status = sim.job.status
    assert (status.job_status, status.exit_code) == (JobState.FAILED, 1)
    assert status.end_time is not None
    assert status.spawn_start_time is not None
    assert (status.end_time - status.spawn_start_time).total_seconds() == 8
    assert UNSCHEDULABLE in str(sim.job.status.message)
    assert sim.host.left == []


def test_a_control_plane_that_came_up_without_a_leader_starts_the_job(sim: Simulation, job: JobBuilder) -> None:
    """The host's controllers work on while kns is away for longer than the spawn delay."""
    sim.submit(job)
    sim.run(until="wait")
    for _ in range(10):
        sim.host.settle()
    sim.clock.advance(sim.site.spawn_delay_s + 1)
    sim.run(until="serving")


def test_a_look_at_a_cluster_that_does_not_listen_yet_reads_nothing(
    sim: Simulation, job: JobBuilder, requests: Counter[str]
) -> None:
    """A start looks at it some ten times. Secret and Service at each look were a third of the reads of a start."""
    sim.virtual.listening = False
    sim.submit(job)
    sim.run(until="wait")
    for _ in range(10):
        sim.host.settle()
    sim.step()
    requests.clear()
    for _ in range(5):
        sim.clock.advance(1)
        assert sim.step().summary == "wait"
    assert +requests == {"virtual.listens": 5}
    assert sim.virtual.asked == []

    sim.virtual.listening = True
    sim.run(until="serving")


@pytest.mark.parametrize("answers", [True, False])
def test_a_new_leader_looks_more_than_once_at_a_late_control_plane(
    sim: Simulation, job: JobBuilder, answers: bool
) -> None:
    """After an outage of the whole host a call into a virtual cluster takes longer than a reconcile waits for it."""
    sim.submit(job)
    sim.run(until="wait")
    for _ in range(10):
        sim.host.settle()
    sim.clock.advance(sim.site.spawn_delay_s + 1)
    sim.leading_since, sim.virtual.ready = sim.clock.now(), False
    assert sim.step().summary == "wait"
    sim.virtual.ready = answers
    sim.clock.advance(31)
    assert (sim.step().summary == "ended") is not answers


def test_an_error_of_each_look_does_not_outlast_the_spawn_delay(
    sim: Simulation, job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.submit(job)
    sim.run(until="wait")
    for _ in range(10):
        sim.host.settle()

    def refuse(*_: object) -> NoReturn:
        raise ForbiddenError("secrets is forbidden")

    monkeypatch.setattr("kns.stages.vcluster.answers", refuse)
    with pytest.raises(ForbiddenError):
        sim.step()
    sim.clock.advance(sim.site.spawn_delay_s + 1)
    assert sim.step().summary == "ended"
    assert sim.job.status.reason == Reason.SPAWN_DELAY_PASSED
    assert "forbidden" in str(sim.job.status.message)


def test_nothing_is_made_for_a_control_plane_that_is_too_late(sim: Simulation, job: JobBuilder) -> None:
    """The job ends for the delay, although the host lost its control plane meanwhile."""
    sim.submit(job)
    sim.run(until="wait")
    sim.host.drop(Kind.DEPLOYMENT, "kns-job-7", "kns-job-7")
    made = [call for call in sim.host.calls if "Deployment" in call]
    sim.clock.advance(sim.site.spawn_delay_s + 1)
    assert sim.step().summary == "ended"
    assert sim.job.status.reason == Reason.SPAWN_DELAY_PASSED
    assert [call for call in sim.host.calls if "Deployment" in call] == made


def test_a_lost_control_plane_ends_the_job(sim: Simulation, job: JobBuilder) -> None:
    """Another control-plane pod means an empty cluster, which must not be taken for the old one."""
    sim.submit(job)
    sim.run(until="serving")
    sim.host.drop(Kind.POD, "kns-job-7", "kns-job-7-0")
    sim.host.settle()
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.CONTROL_PLANE_LOST


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
    """The setting at the job's start decides whether it has a volume, and so what the loss of its pod means."""
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
    """The evicted pod stays as an object; the newer pod with the empty cluster serves."""
    sim.submit(job)
    sim.run(until="serving")
    sim.clock.advance(60)
    old = sim.host.read(Kind.POD, "kns-job-7", "kns-job-7-0")
    assert old is not None
    sim.host.put(Kind.POD, "kns-job-7", "kns-job-7-1", {"metadata": {"labels": old["metadata"]["labels"]}})
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.CONTROL_PLANE_LOST


def _certificates(sim: Simulation) -> dict[str, str]:
    secret = sim.host.read(Kind.SECRET, "kns-job-7", "kns-job-7-certs")
    assert secret is not None
    return dict(secret["data"])


def test_the_certificates_exist_before_the_control_plane(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    order = [name for call in sim.host.calls for name in ("vc-config", "-certs", "Deployment") if name in call]
    assert order == ["vc-config", "-certs", "Deployment"]
    service = sim.host.read(Kind.SERVICE, "kns-job-7", "kns-job-7")
    secret = sim.host.read(Kind.SECRET, "kns-job-7", "kns-job-7-certs")
    assert service is not None
    assert secret is not None
    (owner,) = secret["metadata"]["ownerReferences"]
    assert owner["uid"] == service["metadata"]["uid"]


@pytest.mark.parametrize("before", [True, False], ids=["before it is stored", "after it is stored"])
def test_a_restart_while_the_control_plane_is_applied_keeps_the_certificates(
    sim: Simulation, job: JobBuilder, before: bool
) -> None:
    """A second authority would lock kns out of a control plane that runs with the first."""
    apply, died = sim.host.apply, False

    def dies_once(obj: Object) -> Object:
        nonlocal died
        dies = obj["kind"] == "Deployment" and not died
        died = died or dies
        if dies and before:
            raise Crash
        stored = apply(obj)
        if dies:
            raise Crash
        return stored

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(sim.host, "apply", dies_once)
        sim.submit(job)
        with pytest.raises(Crash):
            sim.run(until="serving")
        first = _certificates(sim)
        sim.run(until="serving")
    assert _certificates(sim) == first


def test_a_job_whose_limits_of_pods_do_not_admit_the_containers_gets_the_chart_s_pod(
    sim: Simulation, job: JobBuilder
) -> None:
    sim.submit(job.with_nested(limit_range={"type": "Pod", "max": {"cpu": 4}}))
    sim.run(until="serving")
    assert not [call for call in sim.host.calls if "-certs" in call]


def test_without_the_fast_start_the_syncer_makes_the_certificates(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(virtual=replace(sim.site.virtual, fast_start=False))
    sim.submit(job)
    sim.run(until="serving")
    assert not [call for call in sim.host.calls if "-certs" in call]
    deployment = sim.host.read(Kind.DEPLOYMENT, "kns-job-7", "kns-job-7")
    assert deployment is not None
    assert [each["name"] for each in deployment["spec"]["template"]["spec"]["containers"]] == ["syncer"]


def _is_ready(sim: Simulation) -> tuple[str, str]:
    condition = sim.job.status.condition(ConditionType.VIRTUAL_CLUSTER_READY)
    assert condition is not None
    return condition.status, condition.reason


def test_a_control_plane_that_crashes_is_shown_and_ends_the_job_at_the_limit(sim: Simulation, job: JobBuilder) -> None:
    """Its pod keeps its uid. The app's pods run, so the job serves until the limit."""
    sim.submit(job)
    sim.run(until="serving")
    sim.host.control_plane_down = True
    sim.host.settle()
    result = sim.step()
    assert result.summary == "serving"
    assert result.requeue_after_s is not None
    assert result.requeue_after_s <= sim.site.control_plane_limit_s
    assert _is_ready(sim) == ("False", Reason.CONTROL_PLANE_UNAVAILABLE)
    assert sim.wait_for_end(sim.site.control_plane_limit_s, step_s=10) == "serving"
    assert sim.wait_for_end(20, step_s=10) == "ended"
    assert sim.job.status.reason == Reason.CONTROL_PLANE_UNAVAILABLE
    assert "CrashLoopBackOff" in str(sim.job.status.message)


def test_a_job_starts_before_the_kubelets_probes_pass(sim: Simulation, job: JobBuilder) -> None:
    """kns asks the API itself. The probes have some seconds to say the same."""
    sim.host.probes_late = True
    sim.submit(job)
    sim.run(until="serving")
    assert _is_ready(sim) == ("True", Reason.OK)
    assert sim.wait_for_end(20, step_s=10) == "serving"
    assert _is_ready(sim) == ("True", Reason.OK)
    sim.host.probes_late = False
    assert sim.wait_for_end(600, step_s=10) == "serving"
    assert _is_ready(sim) == ("True", Reason.OK)


def test_probes_that_never_pass_are_an_outage(sim: Simulation, job: JobBuilder) -> None:
    sim.host.probes_late = True
    sim.submit(job)
    sim.run(until="serving")
    assert sim.wait_for_end(60, step_s=10) == "serving"
    assert _is_ready(sim) == ("False", Reason.CONTROL_PLANE_UNAVAILABLE)
    assert sim.wait_for_end(sim.site.control_plane_limit_s + 60, step_s=10) == "ended"
    assert sim.job.status.reason == Reason.CONTROL_PLANE_UNAVAILABLE


def test_a_slow_api_is_asked_ever_less_often(sim: Simulation, job: JobBuilder) -> None:
    sim.configure(spawn_delay_s=600)
    sim.host.probes_late, sim.virtual.ready = True, False
    sim.submit(job)
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.SPAWN_DELAY_PASSED
    assert 50 < len(sim.virtual.asked) < 150  # every 0.2 s in the first four seconds, every 30 s in the end


def test_an_outage_is_over_when_the_control_plane_stays(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    for _ in range(3):
        sim.host.control_plane_down = True
        assert sim.wait_for_end(sim.site.control_plane_limit_s - 100, step_s=10) == "serving"
        sim.host.control_plane_down = False
        assert sim.wait_for_end(90, step_s=10) == "serving"
        assert _is_ready(sim) == ("True", Reason.OK)


def test_the_short_lives_of_a_crash_loop_do_not_end_the_outage(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    for _ in range(sim.site.control_plane_limit_s // 100 + 1):
        sim.host.control_plane_down = True
        if sim.wait_for_end(60, step_s=10) == "ended":
            break
        sim.host.control_plane_down = False
        if sim.wait_for_end(40, step_s=10) == "ended":
            break
    assert sim.job.status.reason == Reason.CONTROL_PLANE_UNAVAILABLE


def test_preparation_has_an_end(sim: Simulation, job: JobBuilder) -> None:
    """The API answers the first check and then no more. Tries become rare, and the limit is kept exactly."""
    sim.virtual.fault = UnavailableError("PATCH: timeout")
    sim.submit(job)
    sim.run(until="ended")
    status = sim.job.status
    assert (status.reason, status.stuck is not None) == (Reason.CONTROL_PLANE_UNAVAILABLE, True)
    assert "PATCH: timeout" in str(status.message)
    assert status.end_time is not None
    assert status.stuck is not None
    assert (status.end_time - status.stuck.since).total_seconds() == sim.site.control_plane_limit_s


def test_preparation_goes_on_when_the_api_comes_back(sim: Simulation, job: JobBuilder) -> None:
    sim.virtual.fault = UnavailableError("PATCH: timeout")
    sim.submit(job)
    assert sim.wait_for_end(sim.site.control_plane_limit_s - 100, step_s=10) == "wait"
    assert sim.job.status.reason == Reason.PREPARING
    sim.virtual.fault = None
    sim.run(until="serving")
    assert sim.job.status.stuck is None


def test_a_wrong_clock_ends_no_job_whose_control_plane_is_away_for_a_moment(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="serving")
    sim.host.control_plane_down = True
    sim.host.settle()
    assert sim.step().summary == "serving"
    sim.clock_trusted = False
    sim.clock.advance(3600)
    assert sim.step().summary == "serving"
    sim.clock_trusted = True
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.CONTROL_PLANE_UNAVAILABLE


def test_a_wrong_clock_ends_no_spawning_job(sim: Simulation, job: JobBuilder) -> None:
    sim.submit(job)
    sim.run(until="wait")
    sim.clock_trusted = False
    sim.clock.advance(365 * 86400)
    sim.step()
    assert not sim.job.is_ended, sim.job.status.reason


def test_time_without_a_leader_does_not_count_as_an_outage(sim: Simulation, job: JobBuilder) -> None:
    """The whole cluster loses power; kns is back before the pods of control planes are ready."""
    sim.submit(job)
    sim.run(until="serving")
    sim.host.control_plane_down = True
    sim.host.settle()
    assert sim.step().summary == "serving"
    sim.clock.advance(sim.site.control_plane_limit_s + 1)
    sim.leading_since = sim.clock.now()
    assert sim.step().summary == "serving"
    sim.clock.advance(sim.site.control_plane_limit_s)
    assert sim.step().summary == "ended"
