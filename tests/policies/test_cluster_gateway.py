"""The real kubectl through kns to a real API server: discovery, apply, watch, impersonation, and errors in words."""

import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kns.model.job.conditions import ConditionType
from tests.builders import a_job
from tests.http.test_cluster_gateway import Site
from tests.patience import PATIENCE_S
from tests.policies.api_server import ApiServer
from tests.tls_front import tls_front

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: mine, namespace: default}
data: {key: one}
"""


class Inside:
    """The cluster of the job: the real API server, with its administrator's credentials."""

    def __init__(self, path: Path) -> None:
        self._config = yaml.safe_load(path.read_text())

    def kubeconfig(self) -> dict[str, Any]:
        cluster = dict(self._config["clusters"][0]["cluster"])
        if "certificate-authority" in cluster:
            authority = Path(cluster.pop("certificate-authority")).read_bytes()
            cluster["certificate-authority-data"] = b64encode(authority).decode()
        return {"clusters": [{"cluster": cluster}], "users": self._config["users"]}


class Kubectl:
    def __init__(self, program: str, folder: Path, url: str, authority: Path) -> None:
        self._program, self._folder, self._url, self._authority = program, folder, url, authority
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*"}
        self.write()

    def write(self, *, number: int = 7, apikey: str = "key-user1") -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": f"{self._url}/kns/cluster/{number}",
                        "certificate-authority": str(self._authority),
                    },
                }
            ],
            "users": [{"name": "u", "user": {"username": "user1", "password": apikey}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        (self._folder / "config").write_text(yaml.safe_dump(config))

    def command(self, *args: str) -> list[str]:
        return [self._program, f"--kubeconfig={self._folder / 'config'}", *args]

    def run(self, *args: str, stdin: str = "", status: int = 0) -> str:
        done = subprocess.run(
            self.command(*args),
            input=stdin,
            capture_output=True,
            text=True,
            env=self._environ,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    def follow(self, *args: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, text=True, env=self._environ)


@pytest.fixture
def site(api: ApiServer) -> Iterator[Site]:
    site = Site(Inside(api.kubeconfig))
    with site.serve():
        yield site


@pytest.fixture
def kubectl(site: Site, tmp_path: Path) -> Iterator[Kubectl]:
    program = shutil.which(os.environ.get("KNS_KUBECTL") or "kubectl")
    if program is None:
        pytest.skip("NOT TESTED with the real kubectl: set KNS_KUBECTL")
    with tls_front(tmp_path, "127.0.0.1", site.config.port) as (url, authority):
        yield Kubectl(program, tmp_path, url, authority)


def test_a_user_works_in_the_cluster(kubectl: Kubectl) -> None:
    assert "namespace/default" in kubectl.run("get", "namespaces", "--output=name").splitlines()
    assert kubectl.run("apply", "-f", "-", stdin=CONFIG_MAP) == "configmap/mine created\n"
    with kubectl.follow("get", "configmap", "mine", "--watch", "-o", "jsonpath={.data.key}{'\\n'}") as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "one\n"
        changed = CONFIG_MAP.replace("one", "two")
        assert kubectl.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
        assert watch.stdout.readline() == "two\n"
        watch.terminate()
    kubectl.run("patch", "configmap", "mine", "--patch", '{"data": {"key": "three"}}')
    assert "three" in kubectl.run("get", "configmap", "mine", "-o", "yaml")
    assert kubectl.run("auth", "can-i", "*", "*") == "yes\n"
    assert "cannot list" in kubectl.run("get", "secrets", "--as=nobody", status=1)
    assert '"missing" not found' in kubectl.run("get", "configmap", "missing", status=1)
    assert kubectl.run("delete", "configmap", "mine").startswith('configmap "mine" deleted')


def test_errors_of_kns_are_shown(site: Site, kubectl: Kubectl) -> None:
    assert "not found" in kubectl.run("exec", "missing", "--", "true", status=1), "asked for by WebSocket"
    kubectl.write(number=8)
    assert "there is no such job, or it is not yours" in kubectl.run("get", "pods", status=1)
    kubectl.write(apikey="wrong")
    assert "the name, the API key or the token is wrong" in kubectl.run("get", "pods", status=1)
    kubectl.write()
    site.api.add(a_job().condition(ConditionType.VIRTUAL_CLUSTER_READY).started().ended())
    assert "job 7 has ended, and its cluster is removed" in kubectl.run("get", "pods", status=1)
