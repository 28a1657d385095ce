"""
Nodes that are set apart: with a taint for nested jobs, and with GPUs. Every pod of a job may run there, and nobody gets
more GPUs than the job's machine has.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.kubectl import Kubectl
from kns.model.names import host_name
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.kubectl import nested_kubectl
from tests.e2e.quota import await_used_up
from tests.e2e.site import Site
from tests.e2e.tenant import await_event, await_running, small_pod
from tests.e2e.waiting import NotYetError, wait_for

_GPU = "nvidia.com/gpu"
_TAINT = "node-role.jarvice.io/jarvice-vcluster"
_TOLERATED = (_TAINT, "node-role.kubernetes.io/jarvice-vcluster", _GPU)
_PROBE = "kns-e2e-taint-probe"
_IN = "--namespace=default"


@pytest.fixture(scope="module")
def _apart(site: Site) -> Iterator[None]:
    """
    Every node carries both taints and advertises two GPUs.

    An extended resource in the node's status is all that Kubernetes asks for; there is no device behind it.
    """
    kubectl = site.kubectl
    names = [node["metadata"]["name"] for node in kubectl.get("nodes")["items"]]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(_tainted(kubectl, name, _TAINT))
            stack.enter_context(_tainted(kubectl, name, _GPU))
            stack.callback(_advertise, kubectl, name, None)
            _advertise(kubectl, name, "2")
        yield


@contextlib.contextmanager
def _tainted(kubectl: Kubectl, node: str, key: str) -> Iterator[None]:
    """A node that already has the taint keeps it."""
    taints = kubectl.get("node", node)["spec"].get("taints", [])
    if any(taint["key"] == key for taint in taints):
        yield
        return
    kubectl.run("taint", "node", node, f"{key}=true:NoSchedule")
    try:
        yield
    finally:
        kubectl.run("taint", "node", node, f"{key}:NoSchedule-")


def _advertise(kubectl: Kubectl, node: str, count: str | None) -> None:
    """Set the number of GPUs in the node's status; None removes it."""
    amount = {_GPU: count}
    patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
    kubectl.run("patch", "node", node, "--subresource=status", "--type=merge", f"--patch={patch}")


@pytest.fixture(scope="module")
def plain(module_jobs: JobKeeper, _apart: None) -> TrialJob:
    """A job on a machine without GPUs."""
    return module_jobs.submit("hello")


@pytest.fixture(scope="module")
def accelerated(module_jobs: JobKeeper, plain: TrialJob) -> TrialJob:
    """A job on a machine with one GPU. Both jobs spawn at the same time."""
    job = module_jobs.submit("hello", machine="kns-gpu")
    for either in (plain, job):
        either.wait_until_serving()
    return job


def test_a_job_serves_on_tainted_nodes_because_all_its_pods_tolerate_the_taints(
    site: Site, plain: TrialJob, accelerated: TrialJob
) -> None:
    """
    An ordinary pod stays Pending there. Control plane, CoreDNS, init pod and the app's own pods carry all three
    tolerations.
    """
    _check_that_the_taint_works(site.kubectl)
    wanted = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in _TOLERATED]
    for job in (plain, accelerated):
        pods = job.pods()
        for pod in pods:
            missing = [toleration for toleration in wanted if toleration not in pod["spec"]["tolerations"]]
            assert not missing, pod["metadata"]["name"]
        assert {_kind(pod["metadata"]["labels"]) for pod in pods} == {"control plane", "init", "CoreDNS", "app"}


def test_a_gpu_machine_gives_its_gpu_and_no_more(site: Site, accelerated: TrialJob) -> None:
    """The node has two GPUs, the machine one: the first pod runs, the job's quota refuses the second."""
    job = accelerated
    quota = site.kubectl.get("resourcequota", "kns-quota", f"--namespace={job.namespace}")
    assert quota["spec"]["hard"][f"requests.{_GPU}"] == "1"
    with nested_kubectl(site.target, job.number) as inside:
        assert inside.get("configmap", "kns-job", _IN)["data"]["KNS_GPUS"] == "1"
        _apply(inside, _a_pod("first"))
        await_running(job, inside, "first")
        await_used_up(site, job, f"requests.{_GPU}")
        _apply(inside, _a_pod("second"))
        _await_refused(job, inside, "second")
    copy = site.kubectl.get("pod", host_name("first", "default", job.namespace), f"--namespace={job.namespace}")
    assert copy["spec"]["containers"][0]["resources"]["limits"][_GPU] == "1"
    second = host_name("second", "default", job.namespace)
    assert site.kubectl.find("pod", second, f"--namespace={job.namespace}") is None


def test_a_machine_without_gpus_gives_none(site: Site, plain: TrialJob, accelerated: TrialJob) -> None:
    with nested_kubectl(site.target, plain.number) as inside:
        _apply(inside, _a_pod("greedy"))
        await_event(plain, inside, "greedy", f"the machine of this job does not provide {_GPU}")


def _a_pod(name: str) -> dict[str, Any]:
    """A pod that asks for one GPU."""
    return small_pod(name, resources={_GPU: "1"})


def _apply(inside: Kubectl, manifest: dict[str, Any]) -> None:
    inside.run("apply", "--filename=-", stdin=json.dumps(manifest))


def _await_refused(job: TrialJob, inside: Kubectl, name: str) -> None:
    await_event(job, inside, name, "exceeded quota: kns-quota", f"requests.{_GPU}=1")


def _kind(labels: dict[str, str]) -> str:
    if labels.get("app") == "vcluster":
        return "control plane"
    if labels.get("batch.kubernetes.io/job-name") == "kns-init":
        return "init"
    return "CoreDNS" if labels.get("k8s-app") == "vcluster-kube-dns" else "app"


def _check_that_the_taint_works(kubectl: Kubectl) -> None:
    """An ordinary pod of the host, which tolerates nothing, is not scheduled."""
    container = {"name": "main", "image": "docker.io/library/busybox:1.35", "command": ["true"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _PROBE, "namespace": "default"},
        "spec": {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False},
    }

    def unscheduled() -> None:
        status = kubectl.get("pod", _PROBE, _IN)["status"]
        messages = [c.get("message", "") for c in status.get("conditions", []) if c["type"] == "PodScheduled"]
        if not any("untolerated taint" in message for message in messages):
            raise NotYetError(str(status))

    _apply(kubectl, pod)
    try:
        wait_for(unscheduled, timeout_s=20, what="an ordinary pod that is not scheduled")
    finally:
        kubectl.run("delete", "pod", _PROBE, _IN, "--grace-period=0", "--force")
