"""
What happens to jobs when a part of the host cluster fails: its API server, its etcd, its kubelet, or a scheduler that
died between two writes.
"""

import contextlib
from collections.abc import Iterator
from functools import partial

import pytest

from demo.snapshot import take_snapshot
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.machine import restart_part, without_part
from tests.e2e.nothing_left import await_nothing_left
from tests.e2e.once import SECONDS, check_ran_once, look
from tests.e2e.portal import Portal
from tests.e2e.scheduler import (
    await_leader,
    await_whole,
    read_leadership,
    renew_replicas,
    scheduler_pods,
    scheduler_stopped,
)
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, hold_for, wait_for

pytestmark = [
    pytest.mark.alone,
    pytest.mark.proves(
        "main",
        "Leader killed at every stage boundary or frozen past its Lease; API server down for a minute; etcd and "
        "kubelet restarted; lost control planes, evictions, removals by hand",
    ),
]

_SHORT_S = 40.0
_SOON_S = 30.0
_ROUTES_S = 180.0  # kube-proxy has had no answer all the while, and asks again only after up to a minute


@pytest.fixture(autouse=True)
def _whole_again(site: Site) -> Iterator[None]:
    if not site.target.is_testbed:
        pytest.skip("no test breaks the machines of a cluster other than the testbed")
    await_whole(site.kubectl)
    yield
    await_whole(site.kubectl)


def _await_second(job: TrialJob, second: int) -> None:
    """Wait until the templates of examples/slow have come that far."""

    def probe() -> None:
        if f"second {second} of {SECONDS}" not in (lines := job.tail()):
            raise NotYetError(f"{lines}")

    job.wait_for(probe, timeout_s=120, what="templates at work")


# The shorter outage is longer than the 30 s after which /ready fails, and than the 10 s after which the leader ends.
# kube-proxy restarts after it, because otherwise it asks the API server again only after up to a minute.
@pytest.mark.proves("faults", "API server down for 60 s while templates run")
@pytest.mark.parametrize("outage_s", [_SHORT_S, pytest.param(60.0, marks=pytest.mark.deep)])
def test_an_outage_of_the_api_server_costs_its_own_time(site: Site, jobs: JobKeeper, outage_s: float) -> None:
    """
    The API server stops while templates run. Meanwhile the standby is alive and answers what it knows; afterwards there
    is a leader again, and the job comes to serve with everything made once.
    """
    # Without the API server, kubelet can restart a container only while it holds what that needs: for some minutes.
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
            hold_for(outage_s, check)
            wait_for(lambda: _require_code(standby, "/ready", 503), timeout_s=_SOON_S, what="a standby not ready")
            for name, portal in portals.items():  # the leader has ended itself and runs again, cluster or not
                wait_for(partial(_require_code, portal, "/live", 200), timeout_s=_SOON_S, what=f"{name} alive")
    if outage_s == _SHORT_S:
        restart_part("kube-proxy")
    await_leader(site.kubectl, after=leader, timeout_s=_ROUTES_S)
    job.wait_until_serving()
    assert made.is_kept_by(look(site, job))
    # The node was silent for long: Kubernetes may hold its pods for not ready once more, and send them no request.
    job.wait_for(lambda: check_ran_once(site, job, "slow"), timeout_s=60, what="its virtual cluster's API")
    job.wait_for(lambda: _check_node_ready(site), timeout_s=60, what="the node")
    job.wait_until_serving()

    job.stop("shutdown")
    assert job.wait_until_ended() == "COMPLETED"
    job.wait_until_removed()
    await_nothing_left(site.kubectl, before, job=job.number)


@pytest.mark.proves("faults", "kubelet of the control plane's node restarted")
@pytest.mark.proves("faults", "etcd restarted while templates run")
@pytest.mark.deep
def test_etcd_and_kubelet_restarted_under_a_job_are_not_noticed_by_it(site: Site, jobs: JobKeeper) -> None:
    """
    etcd restarts while templates run, kubelet while the job serves: no pod is replaced or restarted.

    A kubelet that starts holds its pods for not ready until it has probed them, so the page fails for a moment.
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


def _require_code(portal: Portal, path: str, code: int) -> None:
    if (found := portal.send("GET", path).status_code) != code:
        raise NotYetError(f"{path}: {found}")


def _check_node_ready(site: Site) -> None:
    for node in site.kubectl.get("nodes")["items"]:
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        if ready["status"] != "True":
            raise NotYetError(f"{node['metadata']['name']}: {ready}")


def _check_lives(job: TrialJob) -> None:
    assert job.status()["job_status"] == "PROCESSING STARTING"


@pytest.mark.proves("faults", "control plane half applied: accounts and Service exist, config and Deployment do not")
@pytest.mark.deep
def test_a_control_plane_that_is_half_applied_is_completed(site: Site, jobs: JobKeeper) -> None:
    """
    A scheduler that dies between two applies leaves accounts and Service without config and Deployment. The next one
    makes what is missing and does not touch what exists, and the job comes to serve.
    """
    jobs.await_all_gone()
    before = take_snapshot(site.kubectl)
    # Cordoned, so that no control plane starts before its objects are deleted; uncordoned before kns is back.
    with contextlib.ExitStack() as scheduler, _cordoned(site):
        job = jobs.submit("hello")
        inside = f"--namespace={job.namespace}"
        taken = (f"deployment/{job.namespace}", f"secret/vc-config-{job.namespace}")
        kept = (f"service/{job.namespace}", f"serviceaccount/vc-{job.namespace}")
        job.wait_for(lambda: site.kubectl.get(taken[0], inside), timeout_s=60, what="the control plane's objects")
        scheduler.enter_context(scheduler_stopped(site.kubectl))
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
    """No node takes another pod; kns's own pods already run."""
    nodes = [node["metadata"]["name"] for node in site.kubectl.get("nodes")["items"]]
    site.kubectl.run("cordon", *nodes)
    try:
        yield
    finally:
        site.kubectl.run("uncordon", *nodes)


def _read_uids(site: Site, *arguments: str) -> list[str]:
    return [item["metadata"]["uid"] for item in site.kubectl.get(*arguments)["items"]]
