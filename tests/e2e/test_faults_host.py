"""What befalls the host cluster under a job: its API server, its etcd, its kubelet, and what is done to it by hand."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from demo.overlay import NAMESPACE
from demo.snapshot import take_snapshot
from tests.e2e.jobs import END_S, JobKeeper, TrialJob
from tests.e2e.machine import restart_part, without_part
from tests.e2e.nothing_left import await_nothing_left
from tests.e2e.once import SECONDS, check_ran_once, look
from tests.e2e.portal import Portal
from tests.e2e.scheduler import (
    await_leader,
    await_whole,
    no_scheduler,
    read_leadership,
    renew_replicas,
    scheduler_pods,
)
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, hold_for

_OUTAGE_S = 60.0
_ROUTES_S = 180.0  # kube-proxy has had no answer for a minute, and asks again only after up to a minute
_MINE = "example.org/hold"


@pytest.fixture(autouse=True)
def _whole_again(site: Site) -> Iterator[None]:
    if not site.target.is_testbed:
        pytest.skip("the machines of a cluster elsewhere are not ours to break")
    await_whole(site.kubectl)
    yield
    await_whole(site.kubectl)


def _await_second(job: TrialJob, second: int) -> None:
    """Until the templates of examples/slow have come that far."""

    def probe() -> None:
        if f"second {second} of {SECONDS}" not in (lines := job.tail()):
            raise NotYetError(f"{lines}")

    job.wait_for(probe, timeout_s=120, what="templates at work")


def test_a_minute_without_the_api_server_costs_a_minute(site: Site, jobs: JobKeeper) -> None:
    """
    Stopped while templates run. Meanwhile the standby is alive and answers what it knows; afterwards there is a leader
    again, and the job comes to serve with everything made once.
    """
    # A container can be started again without the API server only while kubelet holds what it needs: for some minutes.
    renew_replicas(site.kubectl)
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    job = jobs.submit("slow")
    _await_second(job, 3)
    made = look(site, job)
    leader = read_leadership(site.kubectl)
    addresses = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in scheduler_pods(site.kubectl)}
    portals = {name: Portal(f"http://{address}:8080", site.user) for name, address in addresses.items()}
    standby = next(portal for name, portal in portals.items() if name != leader.pod)

    def check() -> None:
        live = standby.send("GET", "/live")
        assert (live.status_code, live.json()) == (200, {"status": "OK"})
        answer = standby.ask("status", number=job.number)
        assert (answer.status_code, answer.json()[str(job.number)]["job_status"]) == (200, "PROCESSING STARTING")

    with contextlib.ExitStack() as stack:
        for portal in portals.values():
            stack.callback(portal.close)
        with without_part("kube-apiserver"):
            hold_for(_OUTAGE_S, check)
            assert standby.send("GET", "/ready").status_code == 503
            for name, portal in portals.items():  # the leader has ended itself and is back, cluster or not
                assert portal.send("GET", "/live").status_code == 200, name
    await_leader(site.kubectl, after=leader, timeout_s=_ROUTES_S)
    job.wait_until_serving()
    assert made.is_kept_by(look(site, job))
    # The node was silent for a minute: Kubernetes may hold its pods for not ready once more, and send them nobody.
    job.wait_for(lambda: check_ran_once(site, job, "slow"), timeout_s=60, what="its virtual cluster's API")
    job.wait_for(lambda: _check_node_ready(site), timeout_s=60, what="the node")
    job.wait_until_serving()

    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    await_nothing_left(site.kubectl, before, job=job.number)


def test_etcd_and_kubelet_restarted_under_a_job_are_not_noticed_by_it(site: Site, jobs: JobKeeper) -> None:
    """
    etcd while templates run, kubelet while the job serves: no pod is replaced or restarted.

    A kubelet that starts holds its pods for not ready until it has probed them, so the page is away for a moment.
    """
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    job = jobs.submit("slow")
    _await_second(job, 3)
    made = look(site, job)
    restart_part("etcd")
    job.wait_until_serving()
    assert made.is_kept_by(look(site, job))
    check_ran_once(site, job, "slow")

    pods = sorted(pod["metadata"]["uid"] for pod in job.pods())
    restart_part("kubelet")
    job.wait_for(lambda: _check_node_ready(site), timeout_s=60, what="the node")
    hold_for(15, lambda: _check_lives(job))  # longer than kubelet takes to look at all its pods
    job.wait_until_serving()
    assert sorted(pod["metadata"]["uid"] for pod in job.pods()) == pods
    check_ran_once(site, job, "slow")

    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    await_nothing_left(site.kubectl, before, job=job.number)


def _check_node_ready(site: Site) -> None:
    for node in site.kubectl.get("nodes")["items"]:
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        if ready["status"] != "True":
            raise NotYetError(f"{node['metadata']['name']}: {ready}")


def _check_lives(job: TrialJob) -> None:
    assert job.status()["job_status"] == "PROCESSING STARTING"


def test_a_control_plane_that_is_half_applied_is_completed(site: Site, jobs: JobKeeper) -> None:
    """
    What a scheduler leaves that dies between two applies: accounts and Service are there, config and Deployment are
    not. The one that comes next makes what is missing, leaves alone what is there, and the job comes to serve.
    """
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    # Cordoned, so that no control plane starts before its objects are taken away; uncordoned before kns is back.
    with contextlib.ExitStack() as scheduler, _cordoned(site):
        job = jobs.submit("hello")
        inside = f"--namespace={job.namespace}"
        taken = (f"deployment/{job.namespace}", f"secret/vc-config-{job.namespace}")
        kept = (f"service/{job.namespace}", f"serviceaccount/vc-{job.namespace}")
        job.wait_for(lambda: site.kubectl.get(taken[0], inside), timeout_s=60, what="the control plane's objects")
        scheduler.enter_context(no_scheduler(site.kubectl))
        site.kubectl.run("delete", *taken, inside)
        uids = _read_uids(site, inside, *kept)
        assert all(site.kubectl.find(name, inside) is None for name in taken)
    job.wait_until_serving()
    assert _read_uids(site, inside, *kept) == uids
    assert len(_read_uids(site, inside, *taken)) == len(taken)
    check_ran_once(site, job, "hello")

    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    await_nothing_left(site.kubectl, before, job=job.number)


@contextlib.contextmanager
def _cordoned(site: Site) -> Iterator[None]:
    """No node takes a pod that does not tolerate it; kns's own pods are on theirs already."""
    nodes = [node["metadata"]["name"] for node in site.kubectl.get("nodes")["items"]]
    site.kubectl.run("cordon", *nodes)
    try:
        yield
    finally:
        site.kubectl.run("uncordon", *nodes)


def _read_uids(site: Site, *arguments: str) -> list[str]:
    return [item["metadata"]["uid"] for item in site.kubectl.get(*arguments)["items"]]


def test_a_namespace_removed_by_hand_ends_its_job(site: Site, jobs: JobKeeper) -> None:
    """The job says so, as an error; the record stays, and nothing else."""
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    job = jobs.submit("hello")
    job.wait_until_serving()
    site.kubectl.run("delete", "namespace", job.namespace, "--wait=false")
    assert job.wait_until_ended() == "COMPLETED WITH ERROR"
    status = job.record()["status"]
    said = f"namespace {job.namespace} was removed by somebody else"
    assert (status["reason"], status["message"]) == ("NamespaceGone", said)
    assert job.output()[-1] == said
    job.wait_until_removed()
    await_nothing_left(site.kubectl, before, job=job.number)


def test_a_record_deleted_while_its_job_spawns_takes_everything_along(site: Site, jobs: JobKeeper) -> None:
    """Not even the record is left."""
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    job = jobs.submit("hello")

    def spawning() -> None:
        if not job.pods():
            raise NotYetError("no pod yet")

    job.wait_for(spawning, timeout_s=60, what="a control-plane pod")
    site.kubectl.run("delete", "nj", job.record_name, f"--namespace={NAMESPACE}", timeout_s=END_S)
    assert job.is_gone()
    await_nothing_left(site.kubectl, before, job=job.number, record=False)


def test_an_evicted_init_pod_is_replaced_and_goes_on_where_it_was(site: Site, jobs: JobKeeper) -> None:
    """By the Eviction API, as a drain does it, in the third of three items: the two that are done are not repeated."""
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    job = jobs.submit("three-kinds")
    inside = f"--namespace={job.namespace}"
    third = "[3/3] third try, attempt 1"

    def find_pod() -> str:
        for pod in job.pods(selector="batch.kubernetes.io/job-name=kns-init"):
            name = str(pod["metadata"]["name"])
            if third in site.kubectl.run("logs", name, inside, "--container=init", check=False).splitlines():
                return name
        raise NotYetError("the third item has not begun")

    pod = job.wait_for(find_pod, timeout_s=120, what="the third item")
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
    await_nothing_left(site.kubectl, before, job=job.number)


def test_a_finalizer_of_somebody_else_is_reported_and_never_stripped(site: Site, jobs: JobKeeper) -> None:
    """The job is COMPLETED at once; what holds its namespace is told in the API server's words until it is mended."""
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
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

    hold_for(15, held_still)  # several looks of kns
    site.kubectl.run("patch", "configmap", "held", inside, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
    job.wait_until_removed()
    await_nothing_left(site.kubectl, before, job=job.number)
