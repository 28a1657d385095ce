"""The contract of plain jobs' cluster, on the adapter over a real API server, with the minimal Role."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kns.adapters.kube.client import KubeClient
from tests.contract.plain_cluster import ClusterContract, Subject
from tests.policies.api_server import ApiServer
from tests.policies.test_plain_jobs import PODS, Rig, client

__all__ = ["client"]


@pytest.fixture
def subject(api: ApiServer, client: KubeClient, tmp_path: Path) -> Iterator[Subject]:
    rig = Rig(client, tmp_path)
    yield Subject(
        rig.cluster,
        lambda pod: api.call("POST", PODS, pod),
        lambda pod, status: api.call(
            "PATCH", f"{PODS}/{pod}/status", {"status": status}, content_type="application/merge-patch+json"
        ),
    )
    rig.stop.set()


class TestPlainClusterOnTheRealServer(ClusterContract):
    """All promises, where the objects are validated and the rights are those of the Role."""
