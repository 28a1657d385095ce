"""Waking the syncer for pods that wait, on a real API server: what it lists, and that each patch is a change."""

from typing import Any

from kns.adapters.kube.client import Bounds
from kns.adapters.kube.virtual import KubeVirtualClusters
from kns.model.names import RETRIED_ANNOTATION
from tests.policies.api_server import ApiServer

NAMESPACE = "waiting"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def read_kubeconfig(api: ApiServer) -> str:
    """As kns has it of a virtual cluster: with the certificate inside."""
    return api.kubeconfig.read_text()


def create(api: ApiServer, name: str, *, node: str = "", phase: str = "") -> None:
    container = {"name": "c", "image": "example.org/app:1"}
    spec: dict[str, Any] = {"containers": [container], **({"nodeName": node} if node else {})}
    stored = api.call("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    if phase:
        api.call("PUT", f"{PODS}/{name}/status", {**stored, "status": {"phase": phase}})


def test_pods_without_a_node_get_the_mark_and_each_mark_is_a_change(api: ApiServer) -> None:
    meta = {"name": NAMESPACE}
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    create(api, "refused")
    create(api, "placed", node="node-1")
    create(api, "ended", phase="Failed")
    kubeconfig, port = read_kubeconfig(api), KubeVirtualClusters(Bounds(max_bytes=512 * 1024, total_s=120.0))
    versions = set()
    for mark in ("first", "second"):
        page = port.retry_pods("kns-job-7", kubeconfig, mark, "")
        while page:
            page = port.retry_pods("kns-job-7", kubeconfig, mark, page)
        found = api.call("GET", f"{PODS}/refused")["metadata"]
        assert found["annotations"][RETRIED_ANNOTATION] == mark
        versions.add(found["resourceVersion"])
    assert len(versions) == 2
    for name in ("placed", "ended"):
        assert "annotations" not in api.call("GET", f"{PODS}/{name}")["metadata"]
