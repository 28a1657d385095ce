"""Nodes that are set apart for nested jobs: every pod of a job may go there."""

import contextlib
import json
from collections.abc import Iterator

from demo.kubectl import Kubectl
from tests.e2e.jobs import JobKeeper
from tests.e2e.site import Site
from tests.e2e.waiting import NotYetError, wait_for

_TAINT = "node-role.jarvice.io/jarvice-vcluster"
_TOLERATED = (_TAINT, "node-role.kubernetes.io/jarvice-vcluster", "nvidia.com/gpu")
_PROBE = "kns-e2e-taint-probe"


@contextlib.contextmanager
def _tainted_nodes(kubectl: Kubectl) -> Iterator[None]:
    """All nodes carry the taint; those that did not before lose it again."""
    nodes = kubectl.get("nodes")["items"]
    bare = [
        node["metadata"]["name"]
        for node in nodes
        if not any(taint["key"] == _TAINT for taint in node["spec"].get("taints", []))
    ]
    try:
        for name in bare:
            kubectl.run("taint", "node", name, f"{_TAINT}=true:NoSchedule", "--overwrite")
        yield
    finally:
        for name in bare:
            kubectl.run("taint", "node", name, f"{_TAINT}:NoSchedule-")


def test_a_job_serves_on_tainted_nodes_and_all_its_pods_say_why(site: Site, jobs: JobKeeper) -> None:
    """
    With the taint on every node an ordinary pod stays Pending and a job comes to serve: control plane, CoreDNS, init
    and the app's own pods carry all three tolerations.
    """
    with _tainted_nodes(site.kubectl):
        _check_that_the_taint_works(site.kubectl)
        job = jobs.submit("hello")
        job.wait_until_serving()
        pods = job.pods()

    wanted = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in _TOLERATED]
    kinds = set()
    for pod in pods:
        labels = pod["metadata"]["labels"]
        kinds.add(_kind(labels))
        missing = [toleration for toleration in wanted if toleration not in pod["spec"]["tolerations"]]
        assert not missing, pod["metadata"]["name"]
    assert kinds == {"control plane", "init", "CoreDNS", "the app's"}


def _kind(labels: dict[str, str]) -> str:
    if labels.get("app") == "vcluster":
        return "control plane"
    if labels.get("batch.kubernetes.io/job-name") == "kns-init":
        return "init"
    return "CoreDNS" if labels.get("k8s-app") == "vcluster-kube-dns" else "the app's"


def _check_that_the_taint_works(kubectl: Kubectl) -> None:
    """An ordinary pod beside the job, which tolerates nothing."""
    container = {"name": "main", "image": "docker.io/library/busybox:1.35", "command": ["true"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _PROBE, "namespace": "default"},
        "spec": {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False},
    }

    def unscheduled() -> None:
        status = kubectl.get("pod", _PROBE, "--namespace=default")["status"]
        messages = [c.get("message", "") for c in status.get("conditions", []) if c["type"] == "PodScheduled"]
        if not any("untolerated taint" in message for message in messages):
            raise NotYetError(str(status))

    kubectl.run("apply", "--filename=-", stdin=json.dumps(pod))
    try:
        wait_for(unscheduled, timeout_s=20, what="an ordinary pod that is kept off")
    finally:
        kubectl.run("delete", "pod", _PROBE, "--namespace=default", "--grace-period=0", "--force")
