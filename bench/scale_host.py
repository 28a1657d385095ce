"""
The host cluster of `bench.scale`: the real etcd, kube-apiserver and kube-controller-manager, and the real scheduler.

The API server evaluates kns's own policies and rights and writes an audit log. The controller manager runs the
controllers that a job meets. Nodes, pods and what is in a virtual cluster are simulated (`bench.scale_nodes`).
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.errors import BenchError
from bench.page_server import build_catalog_files
from bench.scheduler import Labels, parse_samples
from demo.target import ROOT
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.connect import connect
from kns.model.errors import AlreadyExistsError, KnsError
from testbed import audit
from tests.policies.api_server import ApiServer, find_programs, run_beside, running

SYSTEM = "kns-system"
KNS_USER = f"system:serviceaccount:{SYSTEM}:kns-sa"
YARDSTICK = "yardstick"  # the namespace of the batch/v1 Jobs that are measured beside kns

_MIB = 2**20
_READY_S = 120.0
_POLL_S = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
# The controllers whose work a job or a batch/v1 Job causes. The others would only list and watch.
_CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "job-controller",
    "namespace-controller",
    "resourcequota-controller",
    "garbage-collector-controller",
    "endpointslice-controller",
    "disruption-controller",
)
# By default the controller manager makes 20 requests a second, and would be all that is measured. The API server alone
# is the limit here.
_CONTROLLER_REQUESTS_PER_S = 2000
_CONTROLLER_WORKERS = 20
_MOST_AUDIT_MIB = 100_000  # of the audit log: it is never rotated, because a phase may write more than two files hold
_STORE_BYTES = 8 * 2**30  # etcd's default of 2 GiB holds some 10 000 lives until it is compacted
_SKIPPED = {"Deployment", "Service", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Kustomization"}
_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": f"/api/v1/namespaces/{SYSTEM}/serviceaccounts",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SYSTEM}/roles",
    "RoleBinding": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SYSTEM}/rolebindings",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "FlowSchema": "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "PriorityLevelConfiguration": "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
}


@dataclass(frozen=True, slots=True)
class Host:
    """The running cluster. `processes` are the ids of its programs, by name."""

    folder: Path
    client: KubeClient
    processes: Mapping[str, int]
    audit_log: Path
    kns_kubeconfig: Path
    store_url: str


@contextmanager
def running_host(folder: Path, *, store_bytes: int = _STORE_BYTES) -> Iterator[Host]:
    """
    A cluster that runs until the context ends, with kns's manifests and without kns. etcd holds `store_bytes`.

    Raises:
        BenchError: a program is missing.
    """
    programs = find_programs()
    manager = Path(programs[0]).with_name("kube-controller-manager") if programs else None
    if programs is None or manager is None or not manager.is_file():
        raise BenchError("set KNS_KUBE_APISERVER (with kube-controller-manager beside it) and KNS_ETCD")
    token, audit_log, policy = secrets.token_hex(16), folder / "audit.log", folder / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(_build_audit_policy()))
    groups = f"system:serviceaccounts,system:serviceaccounts:{SYSTEM},system:authenticated"
    flags = audit.build_flags(policy, audit_log, max_mib=_MOST_AUDIT_MIB)
    with ExitStack() as stack:
        server = stack.enter_context(
            running(
                folder,
                programs,
                flags=flags,
                store_flags=(f"--quota-backend-bytes={store_bytes}",),
                accounts=[f'{token},{KNS_USER},kns-sa,"{groups}"'],
            )
        )
        _install(server)
        arguments = (
            f"--kubeconfig={server.kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--kube-api-qps={_CONTROLLER_REQUESTS_PER_S}",
            f"--kube-api-burst={_CONTROLLER_REQUESTS_PER_S}",
            f"--concurrent-namespace-syncs={_CONTROLLER_WORKERS}",
            f"--concurrent-deployment-syncs={_CONTROLLER_WORKERS}",
            f"--concurrent-replicaset-syncs={_CONTROLLER_WORKERS}",
            f"--concurrent-job-syncs={_CONTROLLER_WORKERS}",
            f"--concurrent-resource-quota-syncs={_CONTROLLER_WORKERS}",
            f"--concurrent-gc-syncs={_CONTROLLER_WORKERS}",
        )
        log = folder / "kube-controller-manager.log"
        manages = stack.enter_context(run_beside(log, str(manager), *arguments))
        client = connect(server.kubeconfig)
        stack.callback(client.close)
        processes = {**server.programs, "kube-controller-manager": manages.pid}
        kns_kubeconfig = _write_kubeconfig(folder, server.kubeconfig, token)
        yield Host(folder, client, processes, audit_log, kns_kubeconfig, server.store_url)


def _build_audit_policy() -> dict[str, Any]:
    """What kns asks, and everything in the namespace of the yardstick. Each request has one entry, so they count."""
    rules: list[dict[str, Any]] = [{"users": [KNS_USER]}, {"namespaces": [YARDSTICK]}]
    return audit.build_policy(rules, not_logged=("RequestReceived", "ResponseStarted"))


def _install(server: ApiServer) -> None:
    """All of kns's manifests but its Deployment and what belongs to that. Namespaces and kinds come first."""
    objects = [
        obj
        for path in sorted((ROOT / "manifests").glob("*.yaml"))
        for obj in yaml.safe_load_all(path.read_text())
        if obj
    ]
    wanted = [obj for obj in objects if obj["kind"] not in _SKIPPED]
    for obj in sorted(wanted, key=lambda obj: list(_PATHS).index(obj["kind"])):
        server.apply(f"{_PATHS[obj['kind']]}/{obj['metadata']['name']}", obj)
    meta = {"name": YARDSTICK}
    server.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})


def _write_kubeconfig(folder: Path, admins: Path, token: str) -> Path:
    config = json.loads(admins.read_text())
    config["users"] = [{"name": "u", "user": {"token": token}}]
    path = folder / "kns.kubeconfig"
    path.write_text(json.dumps(config))
    return path


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used until now: processor time in seconds and resident memory in MiB."""

    cpu_s: float
    memory_mib: float


def read_usage(pid: int) -> Usage:
    """
    Raises:
        BenchError: the process has ended.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise BenchError(f"process {pid} has ended: {error}") from error
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, kib * 1024 / _MIB)


class Scheduler:
    """kns itself: the process that a Deployment would run, on loopback. Start and stop it from the main thread."""

    def __init__(self, host: Host, *, users: int, settings: Mapping[str, str], module: str = "bench.scale_kns") -> None:
        """`module` is the program; `settings` override the environment of kns."""
        self._host = host
        self._module = module
        self.users = tuple(f"user{number}" for number in range(users))
        self.url, self._metrics_url = (f"http://127.0.0.1:{port}" for port in find_ports(2))
        self.marks = host.folder / "marks"
        self.marks.mkdir(exist_ok=True)
        self._environment = self._build_environment(settings)
        self._starts = 0
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs, or ran last; 0 before the first start."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _build_environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        catalog, given = self._host.folder / "catalog", os.environ
        for name, content in build_catalog_files(self.users).items():
            (catalog / name).parent.mkdir(parents=True, exist_ok=True)
            (catalog / name).write_text(json.dumps(content))
        chart = given.get("KNS_VCLUSTER_CHART") or ""
        helm = shutil.which(given.get("KNS_HELM") or "helm")
        if helm is None or not Path(chart).is_file():
            raise BenchError("set KNS_HELM and KNS_VCLUSTER_CHART to the helm program and the vcluster chart")
        return {
            "KNS_HELM": helm,
            "KNS_VCLUSTER_CHART": chart,
            "JARVICE_SYSTEM_NAMESPACE": SYSTEM,
            "JARVICE_K8S_ADMIN_CONF": str(self._host.kns_kubeconfig),
            "JARVICE_JOBS_DOMAIN": "jobs.example.org",
            "KNS_CATALOG_DIR": str(catalog),
            "KNS_HTTP_HOST": "127.0.0.1",
            "KNS_HTTP_PORT": self.url.rpartition(":")[2],
            "KNS_METRICS_PORT": self._metrics_url.rpartition(":")[2],
            "BENCH_MARKS": str(self.marks),
            **settings,
        }

    def start(self) -> float:
        """Start the process, and wait until it leads and is ready. Returns the seconds that took."""
        begun = time.perf_counter()
        log = self.launch()
        while time.perf_counter() - begun < _READY_S and self.is_running:
            if self.is_leading:
                return time.perf_counter() - begun
            time.sleep(_POLL_S)
        raise BenchError(f"kns did not start within {_READY_S:.0f} s: {log.read_text(errors='replace')[-1000:]}")

    def launch(self) -> Path:
        """Start the process, and do not wait for it. Returns the file of its log."""
        self._starts += 1
        log = self._host.folder / f"kns-{self._starts}.log"
        self._process = self._stack.enter_context(
            run_beside(log, sys.executable, "-m", self._module, environment=self._environment)
        )
        return log

    @property
    def exit_status(self) -> int | None:
        """Of the process that ran last; None while it runs, and before the first start."""
        return None if self._process is None else self._process.poll()

    @property
    def is_leading(self) -> bool:
        return self.read_metrics().get(("kns_leader", ())) == 1

    def stop(self) -> None:
        self._stack.close()
        self._stack = ExitStack()

    def read_metrics(self) -> dict[tuple[str, Labels], float]:
        """The samples; empty if the process does not answer."""
        try:
            return parse_samples(httpx.get(f"{self._metrics_url}/metrics", trust_env=False, timeout=10).text)
        except httpx.TransportError:
            return {}

    def count_reconciles(self) -> int:
        samples = self.read_metrics()
        return round(sum(value for (name, _), value in samples.items() if name == "kns_reconcile_total"))

    def await_caught_up(self, records: int, *, within_s: float) -> float:
        """
        The seconds until a process that has just started has looked at each record and no key waits.

        Raises:
            BenchError: it took longer than `within_s`.
        """
        begun = time.perf_counter()
        while time.perf_counter() - begun < within_s:
            samples = self.read_metrics()
            done = sum(value for (name, _), value in samples.items() if name == "kns_reconcile_total")
            if done >= records and samples.get(("kns_workqueue_depth", ())) == 0:
                return time.perf_counter() - begun
            time.sleep(_POLL_S)
        raise BenchError(f"kns has not caught up after {within_s:.0f} s")


def find_ports(count: int) -> list[int]:
    """Free ports of the loopback interface."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def create(client: KubeClient, path: str, obj: Mapping[str, Any]) -> None:
    """Create an object, unless one of that name exists."""
    try:
        client.request("POST", path, body=obj)
    except AlreadyExistsError:
        return
    except KnsError as error:
        raise BenchError(f"cannot create {obj['kind']} {obj['metadata']['name']}: {error}") from error
