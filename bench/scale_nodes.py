"""
The nodes of `bench.scale`, simulated: scheduler, kubelet, and the syncers of the virtual clusters.

Every pod is bound, reports the states that a real one reports, and starts and ends after drawn times. A control plane
becomes ready. An init pod waits for the mark of stage prepare, then its target Service and the tenant's pod appear, as
the syncer copies them, and it succeeds. The API server reads its log from the kubelet here. A pod that is deleted is
gone after its containers have ended.
"""

import heapq
import itertools
import math
import random
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.scale_watch import follow
from kns.adapters.kube.client import MERGE, KubeClient
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import AlreadyExistsError, ConflictError, ForbiddenError, KnsError, NotFoundError, RefusedError
from kns.objects.init import RUN

log = get_logger(__name__)

NODE = "bench-node"
TARGET, TARGET_NAMESPACE, TARGET_PORT = "web", "default", 80
APP_LABEL = "bench"  # the label of a yardstick's pods

_THREADS = 12
_SPREAD = 0.35  # of the logarithm of the drawn times; the slowest of a hundred takes about twice the median
_MARK_EVERY_S = 0.5  # as the init pod asks for its mark
_REFUSED_EVERY_S = 1.0
_LOG = b"[1/1] web, attempt 1\nservice/web created\ndeployment.apps/web created\n"


@dataclass(frozen=True, slots=True)
class Times:
    """Medians of the drawn times in seconds. Those of the testbed when it is calm (docs/performance.md)."""

    control_plane_s: float = 6.0
    pod_s: float = 1.5
    templates_s: float = 2.0
    end_s: float = 0.5


class Nodes:
    """One node that holds everything. `start` and `close` from the main thread."""

    def __init__(self, client: KubeClient, folder: Path, marks: Path, *, times: Times, seed: int) -> None:
        self._client = client
        self._marks = marks
        self._times = times
        self._rng = random.Random(seed)
        self._kubelet = _Kubelet(folder)
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="nodes")
        self._due: list[tuple[float, int, dict[str, Any], Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._known: set[str] = set()  # uids of pods whose start is under way
        self._ending: set[str] = set()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run_timers, name="nodes-timers", daemon=True),
            threading.Thread(target=self._watch, name="nodes-pods", daemon=True),
        ]
        self.failures = 0

    def start(self) -> None:
        self._kubelet.start()
        self._make_node()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._kubelet.close()

    def _make_node(self) -> None:
        size = {"cpu": "1000000", "memory": "1000000Gi", "pods": "1000000", "ephemeral-storage": "1000000Gi"}
        labels = {"appkind": "kns", "kubernetes.io/hostname": NODE}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}}
        self._ensure("/api/v1/nodes", node)
        status = {
            "capacity": size,
            "allocatable": size,
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": _now(), "reason": "KubeletReady"}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet.port}},
        }
        self._client.request("PATCH", f"/api/v1/nodes/{NODE}/status", body={"status": status}, content_type=MERGE)

    # --- timers

    def _after(self, median_s: float, pod: dict[str, Any], act: Callable[[], None]) -> None:
        """Run `act` for a pod after a drawn time."""
        with self._changed:
            delay_s = self._rng.lognormvariate(math.log(median_s), _SPREAD)
            heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), pod, act))
            self._changed.notify()

    def _run_timers(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._due or self._due[0][0] > time.monotonic()):
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._closed:
                    return
                _, _, pod, act = heapq.heappop(self._due)
            self._submit(pod, act)

    def _submit(self, pod: dict[str, Any], act: Callable[[], None]) -> None:
        def run() -> None:
            try:
                act()
            except NotFoundError:
                return  # the pod or its namespace is gone
            except (ConflictError, ForbiddenError, RefusedError) as error:
                # A namespace that is going refuses what is new. So does a quota that the API server cannot write, or
                # that another process has just written: that is 409. Real nodes and syncers try again for as long as
                # the pod lives.
                log.info("node_refused", error=str(error))
                if self._is_alive(pod):
                    self._after(_REFUSED_EVERY_S, pod, act)
            except KnsError as error:
                self.failures += 1
                log.warning("node_failed", error=str(error))

        if not self._closed:
            self._executor.submit(run)

    def _is_alive(self, pod: dict[str, Any]) -> bool:
        uid = pod["metadata"]["uid"]
        return uid in self._known and uid not in self._ending

    # --- the watch of all pods

    def _watch(self) -> None:
        for kind, pod in follow(self._client, "/api/v1/pods", is_closed=lambda: self._closed):
            if kind == "DELETED":
                self._known.discard(pod["metadata"]["uid"])
                self._ending.discard(pod["metadata"]["uid"])
            else:
                self._see(pod)

    def _see(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        uid = meta["uid"]
        if meta.get("deletionTimestamp") is not None:
            if uid not in self._ending:
                self._ending.add(uid)
                self._after(self._times.end_s, pod, lambda: self._end(pod))
        elif uid not in self._known:
            self._known.add(uid)
            self._submit(pod, lambda: self._place(pod))

    # --- the life of a pod

    def _place(self, pod: dict[str, Any]) -> None:
        """What the scheduler does, and the kubelet's first report."""
        meta = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        }
        with suppress(ConflictError):  # bound by the try before; if the pod is gone, the report says so
            self._client.request("POST", f"{_path(pod)}/binding", body=binding)
        labels = meta.get("labels") or {}
        self._report(pod, "Pending", waiting=True)
        if labels.get("app") == "vcluster" and names.SYNCED_LABEL not in labels:
            self._after(self._times.control_plane_s / 2, pod, lambda: self._run_control_plane(pod))
        elif labels.get("batch.kubernetes.io/job-name") == names.INIT_JOB:
            self._after(self._times.pod_s, pod, lambda: self._run_init(pod))
        else:
            self._after(self._times.pod_s, pod, lambda: self._report(pod, "Running", ready=True))

    def _run_control_plane(self, pod: dict[str, Any]) -> None:
        self._report(pod, "Running")
        self._after(self._times.control_plane_s / 2, pod, lambda: self._report(pod, "Running", ready=True))

    def _run_init(self, pod: dict[str, Any]) -> None:
        self._report(pod, "Running", ready=True, init_done=True)
        namespace = self._client.request("GET", f"/api/v1/namespaces/{pod['metadata']['namespace']}")
        mark = (namespace["metadata"].get("annotations") or {}).get(names.RECORD_UID_ANNOTATION, "")
        self._await_mark(pod, self._marks / mark)

    def _await_mark(self, pod: dict[str, Any], mark: Path) -> None:
        if not self._is_alive(pod):
            return
        if mark.exists():
            mark.unlink(missing_ok=True)
            self._after(self._times.templates_s, pod, lambda: self._apply_templates(pod))
        else:
            self._after(_MARK_EVERY_S, pod, lambda: self._await_mark(pod, mark))

    def _apply_templates(self, pod: dict[str, Any]) -> None:
        """The target Service and the tenant's pod, as the syncer copies them; then the init pod succeeds."""
        namespace = pod["metadata"]["namespace"]
        mark = {names.SYNCED_LABEL: namespace, names.SYNCED_NAMESPACE_LABEL: TARGET_NAMESPACE}
        name = names.host_name(TARGET, TARGET_NAMESPACE, namespace)
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": mark},
            "spec": {"selector": {"app": TARGET, **mark}, "ports": [{"name": "http", "port": TARGET_PORT}]},
        }
        self._ensure(f"/api/v1/namespaces/{namespace}/services", service)
        size = {"cpu": "100m", "memory": "64Mi"}
        container = {
            "name": "web",
            "image": "registry.example.org/web:1",
            "resources": {"requests": size, "limits": size},
        }
        web = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": TARGET, **mark}},
            "spec": {
                "containers": [container],
                "nodeSelector": pod["spec"].get("nodeSelector") or {},
                "automountServiceAccountToken": False,
            },
        }
        self._ensure(f"/api/v1/namespaces/{namespace}/pods", web)
        self._report(pod, "Succeeded", init_done=True, done=True)

    def _ensure(self, path: str, obj: dict[str, Any]) -> None:
        with suppress(AlreadyExistsError):  # made by the try before
            self._client.request("POST", path, body=obj)

    def _end(self, pod: dict[str, Any]) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        self._client.request("DELETE", _path(pod), body=body)

    def _report(
        self,
        pod: dict[str, Any],
        phase: str,
        *,
        ready: bool = False,
        waiting: bool = False,
        init_done: bool = False,
        done: bool = False,
    ) -> None:
        """The kubelet's status of a pod."""
        now = _now()
        ended = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        state = {"waiting": {"reason": "ContainerCreating"}} if waiting else {"running": {"startedAt": now}}
        first = ended if init_done else state
        spec = pod["spec"]
        kinds = (("PodScheduled", True), ("Initialized", not waiting), ("ContainersReady", ready), ("Ready", ready))
        status = {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "startTime": now,
            "podIP": "10.0.0.1",
            "conditions": [
                {"type": kind, "status": "True" if true else "False", "lastTransitionTime": now} for kind, true in kinds
            ],
            "initContainerStatuses": [
                _describe(container, first, ready=init_done or ready) for container in spec.get("initContainers") or ()
            ],
            "containerStatuses": [
                _describe(container, ended if done else state, ready=ready) for container in spec["containers"]
            ],
        }
        self._client.request("PATCH", f"{_path(pod)}/status", body={"status": status}, content_type=MERGE)


def _describe(container: dict[str, Any], state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    image = container["image"]
    both = {"name": container["name"], "image": image, "imageID": f"{image}@sha256:1", "restartCount": 0}
    return {**both, "ready": ready, "state": state}


def _path(pod: dict[str, Any]) -> str:
    meta = pod["metadata"]
    return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Kubelet:
    """Answers the API server's requests for logs."""

    def __init__(self, folder: Path) -> None:
        key, certificate = folder / "kubelet.key", folder / "kubelet.crt"
        command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 2 -subj /CN={NODE}"
        subprocess.run(command.split(), check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _LogHandler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="kubelet", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _LogHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the API server keeps its connections

    def do_GET(self) -> None:
        """The log of a container; only that of the init pod's own container has lines."""
        is_init = self.path.partition("?")[0].endswith(f"/{RUN}")
        body = _LOG if is_init else b""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Requests are not logged."""
