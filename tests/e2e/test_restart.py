"""The scheduler is killed while jobs are made: another one goes on, and everything happens once."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.jobs import SPAWN_S, JobKeeper, TrialJob
from tests.e2e.once import check_ran_once, look
from tests.e2e.scheduler import Leadership, await_leader, await_whole, count_restarts, kill_leader, kill_leading_pod
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

pytestmark = [
    pytest.mark.alone,
    pytest.mark.proves(
        "main",
        "Leader killed at every stage boundary or frozen past its Lease; API server down for a minute; etcd and "
        "kubelet restarted; lost control planes, evictions, removals by hand",
    ),
]

_SOON_S = 0.05  # between looks at what passes quickly


@pytest.fixture(autouse=True)
def _whole_again(site: Site) -> Iterator[None]:
    """Two replicas before and after, so that there is a standby."""
    await_whole(site.kubectl)
    yield
    await_whole(site.kubectl)


def _is_spawning(job: TrialJob) -> None:
    record = job.record()
    if record.get("status", {}).get("substatusText") != "starting virtual cluster" or not job.pods():
        raise NotYetError(f"{record.get('status')}")


def _runs_templates(job: TrialJob) -> None:
    if "second 3 of 25" not in (lines := job.tail()):
        raise NotYetError(f"{lines}")


def _kill_process(site: Site) -> Leadership:
    """The pod stays: its container restarts, and either that one or the standby leads."""
    killed = kill_leader(site.kubectl)
    leader = await_leader(site.kubectl, after=killed)
    if site.target.is_testbed:
        assert count_restarts(site.kubectl, killed.pod) == killed.restarts + 1
    return leader


def _kill_pod(site: Site) -> Leadership:
    """The pod goes with its process: only the standby can take over, when the Lease has expired."""
    killed = kill_leading_pod(site.kubectl)
    leader = await_leader(site.kubectl, after=killed, not_in=killed.pod)
    assert leader.transitions > killed.transitions
    return leader


@pytest.mark.proves("faults", "leader killed (SIGKILL, pod and all) at the stage boundaries of one job")
@pytest.mark.parametrize(
    "kill", [pytest.param(_kill_process, marks=pytest.mark.deep), _kill_pod], ids=["process", "pod"]
)
def test_a_killed_leader_changes_nothing_but_who_leads(
    site: Site, jobs: JobKeeper, kill: Callable[[Site], Leadership]
) -> None:
    """
    SIGKILL while one job runs templates and another spawns: both come to serve and end as if nothing had happened, and
    nothing was made, run or logged twice.
    """
    slow = jobs.submit("slow")
    slow.wait_for(lambda: _runs_templates(slow), timeout_s=SPAWN_S, what="templates at work")
    hello = jobs.submit("hello")
    wait_for(
        lambda: _is_spawning(hello),
        timeout_s=SPAWN_S,
        what="its control plane",
        evidence=hello.describe,
        every_s=_SOON_S,
    )
    running = {"slow": slow, "hello": hello}
    before = {app: look(site, job) for app, job in running.items()}
    kill(site)
    for app, job in running.items():
        job.wait_until_serving()
        assert before[app].is_kept_by(look(site, job)), app
        check_ran_once(site, job, app)
        job.stop("shutdown")
    for job in running.values():
        assert job.wait_until_ended() == "COMPLETED"
        assert job.output()[-1] == "the job was shut down"
        job.wait_until_removed()
