"""The contract of plain jobs' cluster, on the in-memory fake and on the adapter over the small API server."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kns.adapters.clock import SystemClock
from kns.adapters.kube import namespaced
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.connect import connect_with_token
from kns.adapters.kube.namespaced import NamespacedCluster, WatchLimits, _Warnings
from kns.plain import names
from kns.plain.kept import KEEP
from tests.contract.plain_cluster import CLUSTER, ClusterContract, Subject
from tests.fakes.plain_cluster import MemoryCluster
from tests.launcher.cluster import NAMESPACE, PODS, Cluster


@pytest.fixture(params=["memory", "kube"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "memory":
        memory = MemoryCluster()
        yield Subject(memory, memory.put_pod, memory.set_pod_status)
        return
    server, stop = Cluster(), threading.Event()
    client = connect_with_token(server.url, read_token=lambda: "t", authority_file=None)
    cluster = NamespacedCluster(
        client,
        namespace=NAMESPACE,
        selector=f"{names.LABEL}={CLUSTER}",
        clock=SystemClock(),
        keep=KEEP,
        limits=WatchLimits(page=2),
    )

    def put_pod(pod: dict[str, Any]) -> None:
        server.put(*PODS, {**pod, "metadata": {**pod["metadata"], "namespace": NAMESPACE}})

    def set_status(pod: str, status: dict[str, Any]) -> None:
        found = server.find(*PODS, NAMESPACE, pod)
        assert found is not None
        server.put(*PODS, {**found, "status": status})

    made = Subject(cluster, put_pod, set_status)
    cluster.start(stop)
    made.until(lambda: cluster.is_synced)
    yield made
    stop.set()
    server.close()
    client.close()


class TestPlainCluster(ClusterContract):
    """All promises, on both."""


def test_the_last_warnings_of_few_objects_are_kept(client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The namespace may have objects of other programs, which make Events without end."""
    monkeypatch.setattr(namespaced, "_MOST_EVENTS", 2)
    warnings = _Warnings(client, NAMESPACE, limits=WatchLimits(), on_change=lambda *_: None)
    for name in ("one", "two", "three"):
        event = {"metadata": {}, "involvedObject": {"name": name}, "reason": "Failed", "message": name}
        warnings._take(json.dumps({"type": "ADDED", "object": event}).encode())
    assert [warnings.find([name]) for name in ("one", "two", "three")] == ["", "Failed: two", "Failed: three"]
