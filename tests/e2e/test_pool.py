"""
The warm pool on the real cluster: members are ready before their jobs, a job gets one and finds in it what a cold one
finds, a drain and the end of the pool leave none.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.nested import nested_kubectl
from demo.overlay import NAMESPACE
from tests.e2e.jobs import JobKeeper
from tests.e2e.nothing_left import await_no_leftovers
from tests.e2e.scheduler import Settings, kill_leader
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

pytestmark = pytest.mark.alone

_MADE_S = 240.0  # a spawn, after the restart of the scheduler
_GONE_S = 120.0
_READY = "kns.io/pool-ready"
# What the API of any virtual cluster has. Events and Leases of its parts come and go.
_KINDS = (
    "namespaces,services,deployments,configmaps,serviceaccounts,clusterroles,clusterrolebindings,roles,rolebindings,"
    "storageclasses,priorityclasses,apiservices"
)


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


@pytest.fixture(scope="module", autouse=True)
def _pool(site: Site, settings: Settings) -> Iterator[None]:
    settings.use(KNS_POOL="any=1")
    yield
    settings.use(KNS_POOL="any=0")
    await_members(site, 0)


def list_inside(site: Site, job: int) -> set[str]:
    """The names of what is in a job's virtual cluster, without what differs between any two."""
    with nested_kubectl(site.target, job) as kubectl:
        text = kubectl.run("get", _KINDS, "--all-namespaces", "--output=json")
    return {
        f"{obj['kind']} {obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"
        for obj in json.loads(text)["items"]
    }


def test_a_job_starts_in_a_member_and_has_what_a_cold_one_has(site: Site, jobs: JobKeeper) -> None:
    (member,) = await_members(site, 1)
    warm = jobs.submit("hello")
    assert warm.namespace == member
    cold = jobs.submit("hello")  # the pool is empty now
    assert warm.record()["spec"]["accepted"]["adopted"]["name"] == member
    assert "adopted" not in cold.record()["spec"]["accepted"]
    for job in (warm, cold):
        job.wait_until_serving()
    assert list_inside(site, warm.number) == list_inside(site, cold.number)
    refilled = await_members(site, 1, without=frozenset({member}))
    warm.stop("terminate")
    warm.wait_until_removed()
    await_no_leftovers(site, warm)
    assert refilled <= set(list_members(site))


def test_a_new_leader_keeps_the_members(site: Site) -> None:
    before = await_members(site, 1)
    kill_leader(site.kubectl)
    assert await_members(site, 1) == before


def test_a_member_whose_pod_was_evicted_is_replaced(site: Site) -> None:
    (member,) = await_members(site, 1)
    selector = f"app=vcluster,release={member}"
    (pod,) = site.kubectl.run("get", "pods", f"--namespace={member}", f"--selector={selector}", "--output=name").split()
    name = pod.partition("/")[2]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": member}}
    path = f"/api/v1/namespaces/{member}/pods/{name}/eviction"
    site.kubectl.run("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
    await_members(site, 1, without=frozenset({member}))


def test_kns_reports_the_pool(site: Site) -> None:
    await_members(site, 1)
    log = site.kubectl.run(
        "logs", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/name=kns-scheduler", "--tail=-1"
    )
    assert "member_ready" in log or "member_claimed" in log
