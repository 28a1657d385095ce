"""batch/v1 Jobs with their own controller, on the same API server and nodes: what Kubernetes itself needs for one."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError
from bench.scale_audit import AuditLog, Requests
from bench.scale_host import YARDSTICK, Host, read_usage
from bench.scale_nodes import APP_LABEL
from bench.scale_watch import follow
from kns.adapters.kube.client import KubeClient

_THREADS = 32
_PATIENCE_S = 300.0
_LOOK_S = 0.1
_PODS, _JOBS = f"/api/v1/namespaces/{YARDSTICK}/pods", f"/apis/batch/v1/namespaces/{YARDSTICK}/jobs"


@dataclass(slots=True)
class Yardstick:
    """
    The figures of so many Jobs that were created together and deleted together when all were ready. `cpu_s` is the
    processor time of each program.
    """

    jobs: int
    seconds: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    requests: Requests = field(default_factory=Requests)
    spans_ms: dict[str, list[float]] = field(default_factory=dict)


class _Pods:
    """A watch on the pods of the Jobs: when each was there, ready and gone, by the name of its Job."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._is_closed = False
        self.moments: dict[str, dict[str, float]] = {}
        threading.Thread(target=self._run, name="watch-yardstick", daemon=True).start()

    def count(self, what: str) -> int:
        return sum(what in each for each in list(self.moments.values()))

    def close(self) -> None:
        self._is_closed = True

    def _run(self) -> None:
        query = {"labelSelector": APP_LABEL}
        for kind, pod in follow(self._client, _PODS, query=query, is_closed=lambda: self._is_closed):
            now = time.monotonic()
            moments = self.moments.setdefault(pod["metadata"]["labels"][APP_LABEL], {})
            moments.setdefault("accepted", now)
            conditions = (pod.get("status") or {}).get("conditions") or ()
            if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
                moments.setdefault("ready", now)
            if kind == "DELETED":
                moments.setdefault("gone", now)


def measure_yardstick(host: Host, count: int) -> Yardstick:
    """
    Raises:
        BenchError: the Jobs did not get ready or did not go.
    """
    result, audit, pods = Yardstick(count), AuditLog(host.audit_log), _Pods(host.client)
    audit.read_new()
    begun, before = time.monotonic(), {name: read_usage(pid).cpu_s for name, pid in host.processes.items()}
    names = [f"job-{number}" for number in range(count)]
    sent: dict[str, float] = {}
    acked: dict[str, float] = {}
    stopped: dict[str, float] = {}

    def create(name: str) -> None:
        sent[name] = time.monotonic()
        host.client.request("POST", _JOBS, body=_build_job(name))
        acked[name] = time.monotonic()

    def delete(name: str) -> None:
        stopped[name] = time.monotonic()
        host.client.request("DELETE", f"{_JOBS}/{name}", body={"propagationPolicy": "Background"})

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(create, names))
            _await(pods, "ready", count)
            list(pool.map(delete, names))
            _await(pods, "gone", count)
    finally:
        pods.close()
    result.seconds = time.monotonic() - begun
    result.cpu_s = {name: read_usage(pid).cpu_s - before[name] for name, pid in host.processes.items()}
    result.requests = audit.read_new().controllers
    for name in names:
        moments = pods.moments[name]
        spans = {
            "create-ack": acked[name] - sent[name],
            "accepted": moments["accepted"] - sent[name],
            "ready": moments["ready"] - sent[name],
            "gone": moments["gone"] - stopped[name],
        }
        for span, seconds in spans.items():
            result.spans_ms.setdefault(span, []).append(seconds * 1000)
    return result


def _await(pods: _Pods, what: str, count: int) -> None:
    begun = time.monotonic()
    while (found := pods.count(what)) < count:
        if time.monotonic() - begun > _PATIENCE_S:
            raise BenchError(f"only {found} of {count} pods of batch/v1 Jobs are {what} after {_PATIENCE_S:.0f} s")
        time.sleep(_LOOK_S)


def _build_job(name: str) -> dict[str, Any]:
    size = {"cpu": "100m", "memory": "64Mi"}
    container = {"name": "app", "image": "registry.example.org/app:1", "resources": {"requests": size, "limits": size}}
    labels = {APP_LABEL: name}
    spec = {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {"template": {"metadata": {"labels": labels}, "spec": spec}},
    }
