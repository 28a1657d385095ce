"""
What happens to jobs when the scheduler fails: killed at every stage, frozen and woken, its helm killed, all replicas
killed at once.

tests/simulation is exhaustive, over fakes; here real processes die. test_restart.py has one kill for every
test run.
"""

import signal
from collections.abc import Callable, Iterator

import pytest

from demo.snapshot import take_snapshot
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.nothing_left import await_nothing_left
from tests.e2e.once import Made, check_ran_once, look
from tests.e2e.scheduler import (
    await_leader,
    await_whole,
    count_restarts,
    find_program,
    frozen_leader,
    kill_all,
    kill_leading_pod,
    read_leadership,
    read_log,
)
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

pytestmark = [
    pytest.mark.alone,
    pytest.mark.deep,
    pytest.mark.proves(
        "main",
        "Leader killed at every stage boundary or frozen past its Lease; API server down for a minute; etcd and "
        "kubelet restarted; lost control planes, evictions, removals by hand",
    ),
]

_SOON_S = 0.05  # between looks at what passes quickly
_STAGE_S = 120.0
_VAULT = "data"  # of demo/accounts.py


@pytest.fixture(autouse=True)
def _whole_again(site: Site) -> Iterator[None]:
    """Two replicas before and after, so that there is a standby."""
    if not site.target.is_testbed:
        pytest.skip("the processes of a cluster other than the testbed are out of reach")
    await_whole(site.kubectl)
    yield
    await_whole(site.kubectl)


def _is_true(kind: str) -> Callable[[Site, TrialJob], bool]:
    def look_at(_site: Site, job: TrialJob) -> bool:
        return (job.condition(kind) or {}).get("status") == "True"

    return look_at


def _has(kind: str, name: str = "") -> Callable[[Site, TrialJob], bool]:
    def look_at(site: Site, job: TrialJob) -> bool:
        return site.kubectl.find(kind, name or job.namespace, f"--namespace={job.namespace}") is not None

    return look_at


# Where a stage begins or ends, in the order of a job's life. Each but the last is before the shutdown.
_BOUNDARIES: dict[str, Callable[[Site, TrialJob], bool]] = {
    "the record is stored": lambda _site, _job: True,
    "the namespace is there": _has("namespace"),
    "the control plane is applied": _has("deployment"),
    "the virtual cluster runs": _is_true("VirtualClusterReady"),
    "the cluster is prepared": _is_true("Prepared"),
    "the vault's class is there": _is_true("VaultReady"),
    "the init job is there": _has("job", "kns-init"),
    "the templates are applied": _is_true("Deployed"),
    "the Ingress is there": _has("ingress"),
    "the web shell is there": _has("deployment", "kns-shell"),
}


def _await(site: Site, job: TrialJob, boundary: Callable[[Site, TrialJob], bool], what: str) -> None:
    def probe() -> None:
        if not boundary(site, job):
            raise NotYetError(f"{job.record().get('status')}")

    wait_for(probe, timeout_s=_STAGE_S, what=what, evidence=job.describe, every_s=_SOON_S)


@pytest.mark.proves("faults", "leader killed (SIGKILL, pod and all) at the stage boundaries of one job")
def test_a_leader_killed_at_every_stage_boundary_neither_loses_nor_doubles_the_job(site: Site, jobs: JobKeeper) -> None:
    """
    At each boundary of one job's life, the leader that brought it there is killed together with its pod. (Those of the
    Keycloak client are in test_keycloak.py, where Keycloak runs.)

    The kill comes some tenths of a second after the boundary, which is as near as possible from outside.
    """
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    job = jobs.submit("web-shell", vault={"name": _VAULT})
    made: list[Made] = []
    for name, boundary in _BOUNDARIES.items():
        _await(site, job, boundary, name)
        killed = kill_leading_pod(site.kubectl)
        made.append(look(site, job))
        leader = await_leader(site.kubectl, after=killed, not_in=killed.pod)
        assert leader.transitions > killed.transitions, name
    job.wait_until_serving()
    now = look(site, job)
    assert [then for then in made if not then.is_kept_by(now)] == []
    check_ran_once(site, job, "web-shell")

    job.stop("shutdown")
    _await(site, job, _is_true("Ended"), "the end")
    kill_leading_pod(site.kubectl)
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    assert job.output()[-1] == "the job was shut down"
    await_nothing_left(site.kubectl, before, job=job.number)


@pytest.mark.proves("faults", "leader frozen (SIGSTOP) past its Lease while it makes a job, then woken")
def test_a_frozen_leader_that_wakes_after_its_lease_writes_no_more(site: Site, jobs: JobKeeper) -> None:
    """
    SIGSTOP while the leader makes a job: the standby takes over and leads the job to its end, so that nothing of it is
    left. Woken, the old leader logs that it lost the Lease, and ends. Nothing comes back. The record, to which every
    reconcile would write, still has the same version.
    """
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    job = jobs.submit("hello")
    _await(site, job, _has("namespace"), "the namespace")
    with frozen_leader(site.kubectl) as frozen:
        leader = await_leader(site.kubectl, after=frozen, not_in=frozen.pod)
        assert leader.transitions == frozen.transitions + 1
        job.wait_until_serving()
        check_ran_once(site, job, "hello")
        job.stop("shutdown")
        assert job.wait_until_ended() == "COMPLETED"
        job.wait_until_removed()
        asleep = len(read_log(site.kubectl, frozen.pod))
        assert count_restarts(site.kubectl, frozen.pod) == frozen.restarts, "kubelet must not have ended it before us"
        before_waking = job.record()

    def ended() -> None:
        if (restarts := count_restarts(site.kubectl, frozen.pod)) == frozen.restarts:
            raise NotYetError(f"{restarts} restarts of {frozen.pod}")

    wait_for(ended, timeout_s=_STAGE_S, what="the end of the process that was frozen")
    said = read_log(site.kubectl, frozen.pod, previous=True)[asleep:]
    assert "lease_lost" in [line["event"] for line in said]
    assert job.record() == before_waking
    now = read_leadership(site.kubectl)
    assert (now.pod, now.transitions) == (leader.pod, leader.transitions)
    await_nothing_left(site.kubectl, before, job=job.number)


@pytest.mark.proves("faults", "both replicas killed at once during a removal")
@pytest.mark.proves("faults", "helm killed (SIGKILL) while it renders")
def test_a_helm_killed_half_way_is_run_again(site: Site, jobs: JobKeeper) -> None:
    """
    SIGKILL to the real helm while it renders, in a scheduler that has rendered nothing yet: the job says why it waits,
    then goes on. Later both replicas are killed at once during the removal, which goes on as well.
    """
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    killed = kill_leading_pod(site.kubectl)
    leader = await_leader(site.kubectl, after=killed, not_in=killed.pod)
    helm = find_program(site.kubectl, leader.pod, "template")
    job = jobs.submit("hello")

    def kill() -> None:
        if not helm.signal(signal.SIGKILL):
            raise NotYetError("no helm was seen")

    wait_for(kill, timeout_s=10, what="helm at work", evidence=job.describe, every_s=0.001)
    job.wait_until_serving()
    told = [line for line in read_log(site.kubectl, leader.pod) if "killed by signal 9" in line.get("detail", "")]
    assert [(line["outcome"], line["job"]) for line in told] == [("transient", job.record_name)]
    check_ran_once(site, job, "hello")

    job.stop("shutdown")
    _await(site, job, _is_true("Ended"), "the end")
    pods = kill_all(site.kubectl)
    assert not job.is_gone(), "the removal was over before the kill: nothing was shown"
    job.wait_until_removed()
    assert all(count_restarts(site.kubectl, pod) for pod in pods)
    assert job.entry()["job_status"] == "COMPLETED"
    await_nothing_left(site.kubectl, before, job=job.number)
