"""The real kubectl forwards a port through kns's real server. The API server of the job's cluster is a small one."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.adapters.certificates import make_certificate
from tests.adapters.relay_server import PORTS, TenantServer
from tests.http.test_cluster_gateway import Site
from tests.patience import PATIENCE_S
from tests.tls_front import tls_front

KUBECTL = os.environ.get("KNS_KUBECTL") or shutil.which("kubectl")
SPDY = b"\x80\x03"  # how a control frame of version 3 begins
PODS = "/api/v1/namespaces/default/pods"
VERBS = ["get", "list", "create"]
OBJECTS = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [{"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": VERBS}],
    },
    f"{PODS}/web": {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Running"},
    },
}


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[tuple[Path, TenantServer]]:
    if KUBECTL is None:
        pytest.skip("NOT TESTED against the real kubectl: there is none on PATH, and KNS_KUBECTL is not set")
    make_certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    tenant = TenantServer(tmp_path / "tls.crt", tmp_path / "tls.key")
    tenant.objects = OBJECTS
    site = Site(tenant)
    with site.serve(), tls_front(tmp_path, "127.0.0.1", site.config.port) as (url, authority):
        cluster = {"server": f"{url}/kns/cluster/7", "certificate-authority": str(authority)}
        config = {
            "clusters": [{"name": "a", "cluster": cluster}],
            "users": [{"name": "a", "user": {"username": "user1", "password": "key-user1"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "current-context": "a",
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        yield tmp_path / "config", tenant
    tenant.close()


def test_kubectl_forwards_a_port(kubeconfig: tuple[Path, TenantServer], tmp_path: Path) -> None:
    """It takes the subprotocol that it asked for, and what it sends through it arrives as it is."""
    config, tenant = kubeconfig
    command = [str(KUBECTL), f"--kubeconfig={config}", "port-forward", "pod/web", ":80", "--address=127.0.0.1"]
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ) as program:
        try:
            assert program.stdout is not None
            line = program.stdout.readline()
            assert line.startswith("Forwarding from 127.0.0.1:"), line
            port = int(line.split(":")[1].split()[0])
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S):
                assert tenant.arrived.wait(PATIENCE_S)
        finally:
            program.terminate()
    (asked,) = [headers for line, headers in tenant.seen if line.startswith(f"GET {PODS}/web/portforward")]
    assert asked["sec-websocket-protocol"] == PORTS
    assert "authorization" not in asked
    assert tenant.messages[0].startswith(SPDY)
