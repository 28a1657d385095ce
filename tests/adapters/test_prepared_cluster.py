"""
A cluster that starts with a prepared state, object by object beside one that started with an empty database.

Real kine, API server and controller manager run on loopback with the flags and certificates of a job's control plane.
"""

import base64
import os
import re
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from kns.model.job.location import Location
from kns.objects.certificates import build_certificates
from kns.objects.control_plane import build_api_server_flags, build_controller_flags, build_kine_flags
from kns.objects.prepared_state import build_database, read_log
from tests.policies.api_server import run_beside
from tests.ports import find_ports
from tests.states import a_log

CIDR = "10.96.0.0/16"
_READY_S = 300.0
_NAMES = {name: os.environ.get(name, "") for name in ("KNS_KINE", "KNS_KUBE_APISERVER", "KNS_KUBE_CONTROLLER_MANAGER")}
PROGRAMS = {name: found for name, value in _NAMES.items() if (found := shutil.which(value))}
pytestmark = pytest.mark.skipif(
    len(PROGRAMS) < len(_NAMES), reason=f"NOT TESTED with real programs: set {', '.join(_NAMES)}"
)
# They come and go, or name the process that wrote them.
_RESTLESS = {"leases", "events", "componentstatuses", "ipaddresses"}
_VOLATILE = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "lastTransitionTime",
    "time",
    "generation",
    "observedGeneration",
}
# Its content is the day on which it was made.
_SINCE = "kube-apiserver-legacy-service-account-token-tracking"


class Cluster:
    """A control plane. `objects` has everything that its API lists, by resource, namespace and name."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str) -> Any:
        answer = self._client.get(path)
        answer.raise_for_status()
        return answer.json()

    def metrics(self) -> str:
        return self._client.get("/metrics").raise_for_status().text

    def objects(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        groups = [f"/apis/{each['preferredVersion']['groupVersion']}" for each in self.get("/apis")["groups"]]
        found = {}
        for group in ("/api/v1", *groups):
            for resource in self.get(group)["resources"]:
                plural = resource["name"]
                if "list" not in resource["verbs"] or "/" in plural or plural in _RESTLESS:
                    continue
                for item in self.get(f"{group}/{plural}")["items"]:
                    meta = item["metadata"]
                    found[f"{group}/{plural}", meta.get("namespace", ""), meta["name"]] = item
        return found


@contextmanager
def _running(folder: Path, certificates: dict[str, bytes], ports: list[int]) -> Iterator[Cluster]:
    data, pki = folder / "data", folder / "pki"
    pki.mkdir(parents=True)
    data.mkdir(exist_ok=True)
    port, controllers_port, metrics_port = ports
    for name, content in certificates.items():
        (pki / name).write_bytes(content.replace(b"127.0.0.1:6443", f"127.0.0.1:{port}".encode()))

    def flags(given: list[str]) -> list[str]:
        changes = {"/data/": f"{data}/", "=6443": f"={port}", ":2381": f":{metrics_port}"}
        texts = given
        for old, new in changes.items():
            texts = [text.replace(old, new) for text in texts]
        return texts

    with ExitStack() as stack:
        run = stack.enter_context
        run(run_beside(folder / "kine.log", PROGRAMS["KNS_KINE"], *flags(build_kine_flags())))
        api = build_api_server_flags(CIDR, pki=str(pki))
        server = run(run_beside(folder / "api.log", PROGRAMS["KNS_KUBE_APISERVER"], *flags(api)))
        stack.callback(server.kill)  # a graceful end waits for kine, which ends first
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        _load_admin(context, pki)
        address = f"https://127.0.0.1:{port}"
        client = run(httpx.Client(base_url=address, verify=context, trust_env=False, timeout=30.0))
        cluster = Cluster(client)
        _await(lambda: client.get("/readyz").text == "ok", "the API server")
        controllers = [*build_controller_flags(CIDR, pki=str(pki)), f"--secure-port={controllers_port}"]
        run(run_beside(folder / "kcm.log", PROGRAMS["KNS_KUBE_CONTROLLER_MANAGER"], *controllers))
        _await(lambda: _is_settled(cluster), "the controllers")
        yield cluster


def _load_admin(context: ssl.SSLContext, pki: Path) -> None:
    """Identify as the administrator of admin.conf."""
    lines = dict(
        line.strip().split(": ") for line in (pki / "admin.conf").read_text().splitlines() if "-data: " in line
    )
    for kind in ("certificate", "key"):
        (pki / f"admin.{kind}").write_bytes(base64.b64decode(lines[f"client-{kind}-data"]))
    context.load_cert_chain(pki / "admin.certificate", pki / "admin.key")


def _is_settled(cluster: Cluster) -> bool:
    """The controllers have made what each namespace gets, and the aggregated roles."""
    spaces = {"default", "kube-system", "kube-public", "kube-node-lease"}
    accounts = {each["metadata"]["namespace"] for each in cluster.get("/api/v1/serviceaccounts")["items"]}
    roots = {
        each["metadata"]["namespace"]
        for each in cluster.get("/api/v1/configmaps")["items"]
        if each["metadata"]["name"] == "kube-root-ca.crt"
    }
    view, edit, admin = (
        cluster.get(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}").get("rules") or ()
        for name in ("view", "edit", "admin")
    )
    are_joined = bool(view) and all(rule in edit for rule in view) and all(rule in admin for rule in edit)
    return accounts >= spaces and roots >= spaces and are_joined


def _await(is_there: Any, what: str) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError, KeyError):
            if is_there():
                return
        time.sleep(0.1)
    raise AssertionError(f"{what} did not become ready")


def _plain(value: Any) -> Any:
    """Without what differs between any two clusters."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _VOLATILE}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _read_database(folder: Path) -> bytes:
    """As the Job does it: kine itself folds the write-ahead log into the database."""
    data = folder / "data"
    (data / "kine.sock").unlink(missing_ok=True)
    flags = [flag.replace("/data/", f"{data}/").replace("=WAL", "=DELETE") for flag in build_kine_flags()]
    flags[1] = "--metrics-bind-address=0"
    with run_beside(folder / "fold.log", PROGRAMS["KNS_KINE"], *flags):
        _await(lambda: not (data / "state.db-wal").exists(), "kine")
    return (data / "state.db").read_bytes()


@pytest.mark.timeout(1800)
def test_a_prepared_cluster_has_the_objects_of_a_cold_one(tmp_path: Path) -> None:
    certificates = build_certificates(Location(7, "kns-job-7"), service_cidr=CIDR, now=datetime.now(UTC))
    ports = find_ports(3)  # the same for both, because a Service names one
    with _running(tmp_path / "cold", certificates, ports) as cluster:
        cold = cluster.objects()
        cached = set(re.findall(r'watch_cache_consistent_read_total{.*resource="(\w+)"', cluster.metrics()))
        assert "configmaps" in cached
        assert not cached & {"limitranges", "resourcequotas"}, "a list from the cache waits for kine"
    state = read_log(a_log(_read_database(tmp_path / "cold")), image="i", image_id="", now=datetime.now(UTC))
    began = datetime.now(UTC).replace(microsecond=0)
    (tmp_path / "prepared" / "data").mkdir(parents=True)
    database = build_database(state, now=began + timedelta(days=1), seed="record-1")
    (tmp_path / "prepared" / "data" / "state.db").write_bytes(database)
    with _running(tmp_path / "prepared", certificates, ports) as cluster:
        prepared = cluster.objects()

    assert prepared.keys() == cold.keys()
    assert len(cold) > 200
    for key, item in cold.items():
        if key[2] != _SINCE:
            assert _plain(prepared[key]) == _plain(item), key
    uids = [{item["metadata"]["uid"] for item in found.values()} for found in (cold, prepared)]
    assert not uids[0] & uids[1]
    for key, item in prepared.items():
        assert datetime.fromisoformat(item["metadata"]["creationTimestamp"]) >= began, key
    times = [datetime.fromisoformat(item["metadata"]["creationTimestamp"]) for item in prepared.values()]
    assert sum(made >= began + timedelta(days=1) for made in times) > 150  # those of the state were not made again
