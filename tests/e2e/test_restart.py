"""The scheduler dies without a word, in the middle of a job: another one goes on, and everything happened once."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.once import check_ran_once, look
from tests.e2e.scheduler import Leadership, await_leader, await_whole, count_restarts, kill_leader, kill_leading_pod
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError


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
    """The pod stays: its container is started again, and either that one or the standby leads."""
    killed = kill_leader(site.kubectl)
    leader = await_leader(site.kubectl, after=killed)
    if site.target.is_testbed:
        assert count_restarts(site.kubectl, killed.pod) == killed.restarts + 1
    return leader


def _kill_pod(site: Site) -> Leadership:
    """The pod goes with its process: only the standby can take over, once the Lease has run out."""
    killed = kill_leading_pod(site.kubectl)
    leader = await_leader(site.kubectl, after=killed, not_in=killed.pod)
    assert leader.transitions > killed.transitions
    return leader


@pytest.mark.parametrize("kill", [_kill_process, _kill_pod], ids=["process", "pod"])
@pytest.mark.parametrize(
    ("is_time", "app"),
    [(_is_spawning, "hello"), (_runs_templates, "slow")],
    ids=["while it spawns", "while templates run"],
)
def test_a_killed_leader_changes_nothing_but_who_leads(
    site: Site,
    jobs: JobKeeper,
    is_time: Callable[[TrialJob], None],
    app: str,
    kill: Callable[[Site], Leadership],
) -> None:
    """SIGKILL: the job comes to serve and ends as if nothing had been; nothing was made, run or logged twice."""
    job = jobs.submit(app)
    job.wait_for(lambda: is_time(job), timeout_s=120, what="the moment to kill")
    before = look(site, job)
    kill(site)
    job.wait_until_serving()

    assert before.is_kept_by(look(site, job))
    check_ran_once(site, job, app)
    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    assert job.output()[-1] == "the job was shut down"
    job.wait_until_removed()
