"""
The warm pool on the real cluster: members are ready before their jobs, a job gets one and finds in it what a cold one
finds, no two jobs get the same, and neither a drain, nor a killed leader, nor the end of the pool leaves one behind.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from demo.overlay import NAMESPACE
from tests.e2e.contents import describe_difference, read_contents
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.nothing_left import await_no_leftovers
from tests.e2e.portal import Portal
from tests.e2e.scheduler import Settings, await_leader, await_whole, kill_leader
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

pytestmark = pytest.mark.alone

_MADE_S = 240.0  # a spawn, after the restart of the scheduler
_GONE_S = 120.0
_SETTLED_S = 120.0  # for controllers inside, after the page serves; listing a whole cluster takes seconds
_SEEN = 100  # objects; an API server without any job has 180
_AT_ONCE = 3  # submissions; two more than there are members
_READY = "kns.io/pool-ready"
_MEASURED = {"wanted": "1.0", "ready": "1.0", "making": "0.0"}  # of a full pool


def list_members(site: Site) -> dict[str, dict[str, Any]]:
    """The annotations of the namespaces of all members, by name."""
    found = json.loads(site.kubectl.run("get", "namespaces", "--selector=kns.io/pool", "--output=json"))["items"]
    return {obj["metadata"]["name"]: obj["metadata"].get("annotations") or {} for obj in found}


def await_members(site: Site, count: int, *, without: frozenset[str] = frozenset()) -> frozenset[str]:
    """Wait until so many members are ready, and no other exists. None of `without` may be among them."""

    def probe() -> frozenset[str]:
        members = list_members(site)
        ready = frozenset(name for name, annotations in members.items() if _READY in annotations)
        if len(members) != count or len(ready) != count or ready & without:
            raise NotYetError(f"members: {members}")
        return ready

    return wait_for(probe, timeout_s=_MADE_S if count else _GONE_S, what=f"{count} members")


def await_begun(site: Site, *, without: str) -> str:
    """Wait until a member other than `without` is being made."""

    def probe() -> str:
        begun = [name for name, annotations in list_members(site).items() if _READY not in annotations]
        if without in begun or not begun:
            raise NotYetError(f"members: {list_members(site)}")
        return begun[0]

    return wait_for(probe, timeout_s=_MADE_S, what="a new member", every_s=0.1)


@pytest.fixture(scope="module", autouse=True)
def _pool(site: Site, settings: Settings) -> Iterator[None]:
    settings.use(KNS_POOL="any=1")
    yield
    settings.use(KNS_POOL="any=0")
    await_members(site, 0)


def find_adopted(job: TrialJob) -> str | None:
    """The namespace that a job took over."""
    adopted: dict[str, str] = job.record()["spec"]["accepted"].get("adopted") or {}
    return adopted.get("name")


def test_a_job_starts_in_a_member_and_has_what_a_cold_one_has(site: Site, jobs: JobKeeper) -> None:
    """Every object of every kind inside, whole: only names, times, keys and addresses of the two jobs differ."""
    (member,) = await_members(site, 1)
    warm = jobs.submit("hello")
    assert warm.namespace == member == find_adopted(warm)
    cold = jobs.submit("hello")  # the pool is empty now
    assert find_adopted(cold) is None
    for job in (warm, cold):
        job.wait_until_serving()

    def compare() -> int:
        contents = [read_contents(site, job) for job in (warm, cold)]
        if lines := describe_difference(*contents):
            raise NotYetError("\n".join(lines))
        return len(contents[0])

    assert wait_for(compare, timeout_s=_SETTLED_S, what="two equal clusters") > _SEEN
    refilled = await_members(site, 1, without=frozenset({member}))
    warm.stop("terminate")
    warm.wait_until_removed()
    await_no_leftovers(site, warm)
    assert refilled <= set(list_members(site))


@pytest.mark.proves("security", "get a virtual cluster of the warm pool that another job has or had")
def test_of_jobs_at_the_same_moment_one_gets_the_member(site: Site, portal: Portal, jobs: JobKeeper) -> None:
    """Submissions come to both replicas, which decide by the member's namespace."""
    (member,) = await_members(site, 1)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda _: portal.submit("hello", machine="kns-small"), range(_AT_ONCE)))
    submitted = [jobs.adopt(number, name) for number, name in answers]
    assert len({job.number for job in submitted}) == _AT_ONCE
    assert sorted(filter(None, map(find_adopted, submitted))) == [member]
    for job in submitted:
        job.stop("terminate")
    for job in submitted:
        job.wait_until_removed()
        await_no_leftovers(site, job)
    await_members(site, 1, without=frozenset(job.namespace for job in submitted))


@pytest.mark.deep
def test_a_leader_killed_while_it_makes_a_member_leaves_none_behind(site: Site, jobs: JobKeeper) -> None:
    """The next leader goes on with the member that it finds, or discards it; the job that took the last one lives."""
    await_whole(site.kubectl)
    (member,) = await_members(site, 1)
    job = jobs.submit("hello")
    assert find_adopted(job) == member
    await_begun(site, without=member)
    killed = kill_leader(site.kubectl)
    await_leader(site.kubectl, after=killed)
    await_members(site, 1)
    job.wait_until_serving()
    await_whole(site.kubectl)


def test_a_new_leader_keeps_the_members(site: Site, jobs: JobKeeper) -> None:
    await_whole(site.kubectl)
    (member,) = await_members(site, 1)
    killed = kill_leader(site.kubectl)
    await_leader(site.kubectl, after=killed)
    await_whole(site.kubectl)
    assert find_adopted(jobs.submit("hello")) == member
    await_members(site, 1, without=frozenset({member}))


def test_a_member_whose_pod_was_evicted_is_replaced(site: Site) -> None:
    """As by a drain. Nobody gets the empty cluster that its Deployment starts again."""
    (member,) = await_members(site, 1)
    selector = f"app=vcluster,release={member}"
    (pod,) = site.kubectl.run("get", "pods", f"--namespace={member}", f"--selector={selector}", "--output=name").split()
    name = pod.partition("/")[2]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": member}}
    path = f"/api/v1/namespaces/{member}/pods/{name}/eviction"
    site.kubectl.run("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
    await_members(site, 1, without=frozenset({member}))


def test_the_leader_measures_the_pool(site: Site) -> None:
    await_members(site, 1)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{await_leader(site.kubectl).pod}:9090/proxy/metrics"

    def probe() -> None:
        lines = site.kubectl.run("get", "--raw", path).splitlines()
        pool = {line for line in lines if line.startswith("kns_pool_") and '{pool="any"}' in line}
        if not {f'kns_pool_{name}{{pool="any"}} {value}' for name, value in _MEASURED.items()} <= pool:
            raise NotYetError(f"{pool}")

    wait_for(probe, timeout_s=_SETTLED_S, what="the metrics of a full pool")
