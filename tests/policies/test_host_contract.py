"""The promises of the host cluster, kept by the adapter over a real API server."""

import itertools

import pytest

from kns.adapters.kube.cluster import KubeCluster
from kns.ports import Object
from tests.contract.host_cluster import HostContract, Subject
from tests.policies.api_server import ApiServer
from tests.policies.test_pool import cluster

__all__ = ["cluster"]

_NUMBERS = itertools.count(301)


@pytest.fixture
def subject(api: ApiServer, cluster: KubeCluster) -> Subject:
    def put_pod(namespace: str, name: str, meta: Object) -> None:
        pods = f"/api/v1/namespaces/{namespace}/pods"
        spec = {"containers": [{"name": "main", "image": "example.org/app:1"}]}
        api.call("POST", pods, {"metadata": {**meta, "name": name}, "spec": spec})
        target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}  # a pod without a node ends at once
        api.call("POST", f"{pods}/{name}/binding", {"metadata": {"name": name}, "target": target})

    return Subject(cluster, next(_NUMBERS), put_pod)


class TestHostOnTheRealServer(HostContract):
    """All promises, with the policies in force."""
