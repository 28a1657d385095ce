"""
The optional right to list nodes, on a real API server: with it kns counts what is free, without it says nothing, and
the role allows nothing else of nodes.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.connect import connect_with_token
from kns.adapters.kube.kinds import NODES
from kns.adapters.kube.nodes import AGE_S, KubeFreeRoom
from kns.model.catalog.free import count_fitting
from kns.model.catalog.machine import Machine
from tests.fakes.room import a_node
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S
from tests.policies.api_server import ApiServer, RefusedError
from tests.policies.conftest import MANIFESTS

RBAC = MANIFESTS.parent / "overlays" / "free-machines" / "rbac.yaml"
ACCOUNT = "system:serviceaccount:kns-system:kns-sa"
GROUP = "/apis/rbac.authorization.k8s.io/v1"
NODE = "free-machines-"
SMALL = Machine(mc_name="small", mc_cores=2, mc_ram=4, mc_properties="appkind=kns,free-machines=here")
SELECTOR = frozenset(SMALL.node_selector.items())


@pytest.fixture(scope="module")
def nodes(api: ApiServer) -> Iterator[None]:
    """More than one page of nodes, as a kubelet reports them. One takes no new pods."""
    names = [f"{NODE}{number:03}" for number in range(NODES.page + 2)]
    for name in names:
        node = a_node(name, **{"free-machines": "here"})
        stored = api.call("POST", "/api/v1/nodes", {**node, "spec": {"unschedulable": name == names[0]}})
        status = {"allocatable": node["status"]["allocatable"], "capacity": node["status"]["allocatable"]}
        path = f"/api/v1/nodes/{stored['metadata']['name']}/status"
        api.call("PATCH", path, {"status": status}, content_type="application/merge-patch+json")
        # The API server taints new nodes until a controller, which does not run here, finds them ready.
        patch = {"spec": {"taints": None}}
        api.call("PATCH", f"/api/v1/nodes/{name}", patch, content_type="application/merge-patch+json")
    yield
    for name in names:
        api.call("DELETE", f"/api/v1/nodes/{name}")


def refusal(api: ApiServer, method: str, path: str, body: Any = None) -> str:
    """Why kns may not do that; "" if it may."""
    try:
        api.call(method, path, body, user=ACCOUNT)
    except RefusedError as error:
        return str(error)
    return ""


@contextmanager
def granted(api: ApiServer) -> Iterator[None]:
    """The authoriser follows within a moment."""
    objects = list(yaml.safe_load_all(RBAC.read_text()))
    for obj in objects:
        api.apply(f"{GROUP}/{obj['kind'].lower()}s/{obj['metadata']['name']}", obj)
    until(lambda: not refusal(api, "GET", "/api/v1/nodes?limit=1"))
    yield
    for obj in objects:
        api.call("DELETE", f"{GROUP}/{obj['kind'].lower()}s/{obj['metadata']['name']}")
    until(lambda: bool(refusal(api, "GET", "/api/v1/nodes?limit=1")))


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def client(api: ApiServer, tmp_path: Path) -> Iterator[KubeClient]:
    """With a token of kns's account."""
    meta = {"name": "kns-system"}
    api.apply("/api/v1/namespaces/kns-system", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    accounts = "/api/v1/namespaces/kns-system/serviceaccounts"
    meta = {"name": "kns-sa", "namespace": "kns-system"}
    api.apply(f"{accounts}/kns-sa", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = api.call("POST", f"{accounts}/kns-sa/token", request)["status"]["token"]
    cluster = json.loads(api.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = tmp_path / "ca.crt"
    authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    client = connect_with_token(cluster["server"], read_token=lambda: str(token), authority_file=authority)
    yield client
    client.close()


@pytest.mark.proves("settings", "The right to list nodes is optional, and what is free needs no other")
def test_what_is_free_is_known_with_the_right_and_not_without(api: ApiServer, nodes: None, client: KubeClient) -> None:
    clock = FakeClock()
    room = KubeFreeRoom(client, list_selectors=lambda: {SELECTOR}, sum_requests=dict, clock=clock, wait_s=PATIENCE_S)
    assert "nodes" in refusal(api, "GET", "/api/v1/nodes?limit=1")
    assert room.read() is None
    clock.advance(AGE_S)
    with granted(api):
        found = room.read()
    assert found is not None
    assert count_fitting(found, SMALL) == 8 * (NODES.page + 1) * 100 // 216  # 2.16 cores each, kns's own pods included


def test_the_role_allows_nothing_else(api: ApiServer, nodes: None) -> None:
    node = f"{NODE}001"
    with granted(api):
        assert refusal(api, "GET", f"/api/v1/nodes/{node}")
        assert refusal(api, "GET", f"/api/v1/nodes/{node}/proxy/metrics")
        assert refusal(api, "PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": {"a": "b"}}})
        assert refusal(api, "DELETE", f"/api/v1/nodes/{node}")
        assert refusal(api, "GET", "/api/v1/secrets?limit=1")
