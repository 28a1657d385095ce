"""
What happens to one job when something of it is removed, held or lost. Other jobs are not concerned, so these tests
share the cluster. docs/reliability.md has the table of faults.
"""

import json

import pytest

from demo.overlay import NAMESPACE
from tests.e2e.jobs import END_S, SPAWN_S, JobKeeper
from tests.e2e.nothing_left import await_no_leftovers
from tests.e2e.once import delete_control_plane
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, hold_for, wait_for

pytestmark = pytest.mark.proves(
    "main",
    "Leader killed at every stage boundary or frozen past its Lease; API server down for a minute; etcd and "
    "kubelet restarted; lost control planes, evictions, removals by hand",
)

_MINE = "example.org/hold"
_SOON_S = 0.05  # between looks at what passes quickly


@pytest.mark.proves("faults", "control-plane pod of a virtual cluster deleted, no volume")
def test_without_a_volume_a_lost_control_plane_ends_its_job(site: Site, jobs: JobKeeper) -> None:
    """Everything inside is lost with it, and the empty cluster that replaces it must not pass for the job's."""
    job = jobs.submit("hello")
    job.wait_until_serving()
    delete_control_plane(site, job)
    assert job.wait_until_ended() == "COMPLETED WITH ERROR"
    said = "the control-plane pod was replaced; without a volume everything inside the virtual cluster is lost"
    status = job.record()["status"]
    assert (status["reason"], status["message"]) == ("ControlPlaneLost", said)
    assert job.output()[-1] == said
    job.wait_until_removed()
    await_no_leftovers(site, job)


@pytest.mark.proves("faults", "namespace of a running job removed by hand")
@pytest.mark.deep
def test_a_namespace_removed_by_hand_ends_its_job(site: Site, jobs: JobKeeper) -> None:
    """The job ends with an error that says so; only its record stays."""
    job = jobs.submit("hello")
    job.wait_until_serving()
    site.kubectl.run("delete", "namespace", job.namespace, "--wait=false")
    assert job.wait_until_ended() == "COMPLETED WITH ERROR"
    status = job.record()["status"]
    said = f"namespace {job.namespace} was removed by somebody else"
    assert (status["reason"], status["message"]) == ("NamespaceGone", said)
    assert job.output()[-1] == said
    job.wait_until_removed()
    await_no_leftovers(site, job)


@pytest.mark.proves("faults", "record deleted while its job spawns")
@pytest.mark.deep
def test_a_record_deleted_while_its_job_spawns_takes_everything_along(site: Site, jobs: JobKeeper) -> None:
    """Not even the record is left."""
    job = jobs.submit("hello")

    def spawning() -> None:
        if not job.pods():
            raise NotYetError("no pod yet")

    job.wait_for(spawning, timeout_s=60, what="a control-plane pod")
    site.kubectl.run("delete", "nj", job.record_name, f"--namespace={NAMESPACE}", timeout_s=END_S)
    assert job.is_gone()
    await_no_leftovers(site, job, record=False)


@pytest.mark.proves("faults", "init pod evicted (Eviction API, like a drain) in the middle of its items")
@pytest.mark.deep
def test_an_evicted_init_pod_is_replaced_and_goes_on_where_it_was(site: Site, jobs: JobKeeper) -> None:
    """The Eviction API, as a drain uses it, in the third of three items: the two that are done are not repeated."""
    job = jobs.submit("three-kinds")
    inside = f"--namespace={job.namespace}"
    third = "[3/3] third try, attempt 1"

    def find_pod() -> str:
        for pod in job.pods(selector="batch.kubernetes.io/job-name=kns-init"):
            name = str(pod["metadata"]["name"])
            if third in site.kubectl.run("logs", name, inside, "--container=init", check=False).splitlines():
                return name
        raise NotYetError("the third item has not begun")

    # It takes three seconds, so the look at it is a quick one.
    pod = wait_for(find_pod, timeout_s=SPAWN_S, what="the third item", evidence=job.describe, every_s=_SOON_S)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": job.namespace},
    }
    path = f"/api/v1/namespaces/{job.namespace}/pods/{pod}/eviction"
    site.kubectl.run("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
    job.wait_until_serving()
    lines = job.tail()
    assert "[1/3] page, already done" in lines
    assert "[2/3] server, already done" in lines
    assert lines.index("[2/3] server, already done") < lines.index(third, lines.index("[2/3] server, already done"))
    (init,) = job.pods(selector="batch.kubernetes.io/job-name=kns-init")
    assert init["metadata"]["name"] != pod

    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    await_no_leftovers(site, job)


@pytest.mark.proves("faults", "a foreign finalizer holds the namespace")
@pytest.mark.deep
def test_a_finalizer_of_somebody_else_is_reported_and_never_stripped(site: Site, jobs: JobKeeper) -> None:
    """The job is COMPLETED at once; its condition has the API server's words until somebody removes the finalizer."""
    job = jobs.submit("hello")
    job.wait_until_serving()
    inside = f"--namespace={job.namespace}"
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": job.namespace, "finalizers": [_MINE]},
    }
    site.kubectl.run("create", "--filename=-", stdin=json.dumps(held))
    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"

    def told() -> None:
        removed = job.condition("Removed")
        if removed is None or _MINE not in removed["message"]:
            raise NotYetError(f"condition Removed: {removed}")
        assert (removed["status"], removed["reason"]) == ("False", "Removing")

    job.wait_for(told, timeout_s=END_S, what="what holds the namespace")

    def held_still() -> None:
        told()
        assert site.kubectl.get("configmap", "held", inside)["metadata"]["finalizers"] == [_MINE]
        assert job.entry()["job_status"] == "COMPLETED"

    hold_for(15, held_still)  # kns reconciles several times
    site.kubectl.run("patch", "configmap", "held", inside, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
    job.wait_until_removed()
    await_no_leftovers(site, job)
