"""
`kns.plain.ports.Cluster` in memory. `tests/contract/plain_cluster.py` holds it to what the API server does.

It is no kinder than the cluster: objects come back as they are kept, a job needs its name and cannot be created twice,
a patch with an old version is refused, and a log, a command or an input needs a container that runs.
"""

import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kns.adapters.clock import SystemClock
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    MetricsMissingError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from kns.plain.kept import KEEP
from kns.plain.ports import Kept, Object
from kns.ports import Clock

NAMESPACE = "rstudio"
Log = Sequence[tuple[str, bytes]]


class MemoryCluster:
    """`node_starts` and the others after "what tests do" are the Job controller, the node and other clients."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.is_synced = True
        self.splits = True
        self.has_metrics = True
        self.exit_code = 0
        self.commands: list[tuple[str, ...]] = []
        self.inputs: dict[str, bytes] = {}
        self.nodes: dict[str, Object] = {}
        self.usage: dict[str, Mapping[str, Mapping[str, str]]] = {}
        self._logs: dict[str, Log] = {}
        self._objects: dict[str, dict[str, Object]] = {"jobs": {}, "pods": {}, "services": {}}
        self._kept: dict[str, dict[str, Kept]] = {"jobs": {}, "pods": {}, "services": {}}
        self._warnings: dict[str, tuple[str, str]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._versions = itertools.count(1)
        self._lock = threading.RLock()

    # --- the port: from memory

    def list_jobs(self) -> Sequence[Kept]:
        return list(self._cache("jobs").values())

    def find_job(self, name: str) -> Kept | None:
        return self._cache("jobs").get(name)

    def list_pods(self, job: str) -> Sequence[Kept]:
        return [pod for pod in self._cache("pods").values() if pod["metadata"]["labels"]["job-name"] == job]

    def find_service(self, name: str) -> Kept | None:
        return self._cache("services").get(name)

    def find_warning(self, names: Sequence[str]) -> str:
        found = [self._warnings[name] for name in names if name in self._warnings]
        return max(found)[1] if found else ""

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        self._listeners.append(on_change)

    # --- the port: calls

    def read_job(self, name: str) -> Kept | None:
        return self._kept["jobs"].get(name)

    def read_pods(self, job: str) -> Sequence[Kept]:
        return [pod for pod in self._kept["pods"].values() if pod["metadata"]["labels"]["job-name"] == job]

    def create_job(self, obj: Object) -> Kept:
        self._check_mounts(obj)
        return self._create("jobs", obj)

    def create_service(self, obj: Object) -> None:
        ports = [{**port, "nodePort": 30000 + port["port"]} for port in obj["spec"]["ports"]]
        try:
            self._create("services", {**obj, "spec": {**obj["spec"], "ports": ports}})
        except AlreadyExistsError:
            return

    def delete_service(self, name: str) -> None:
        self._delete("services", name)

    def delete_job(self, name: str, *, uid: str) -> None:
        with self._lock:
            found = self._objects["jobs"].get(name)
            if found is None or found["metadata"]["uid"] != uid:
                return
            self._delete("jobs", name)
            for pod in self.read_pods(name):
                self._delete("pods", pod["metadata"]["name"])
            self._delete("services", name)

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> None:
        self._patch("jobs", name, patch)

    def patch_pod(self, name: str, patch: Mapping[str, Any]) -> None:
        self._patch("pods", name, patch)

    def open_log(self, pod: str, container: str, *, stream: str, since: str, follow: bool) -> "MemoryLog":
        self._require_container(pod, container, has_started=True)
        if stream and not self.splits:
            raise RefusedError("open log: stream is not supported")
        lines = [line for kind, line in self._logs.get(pod, ()) if stream in ("", kind) and line.decode() >= since]
        return MemoryLog(lines)

    def can_split_streams(self) -> bool:
        return self.splits

    def run_in(self, pod: str, container: str, command: Sequence[str]) -> tuple[int, str]:
        self._require_container(pod, container)
        self.commands.append(tuple(command))
        return self.exit_code, ""

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        self._require_container(pod, container)
        self.inputs[pod] = data

    def read_usage(self, pod: str) -> Mapping[str, Mapping[str, str]] | None:
        if not self.has_metrics:
            raise MetricsMissingError("the cluster has no metrics API; install metrics-server")
        return self.usage.get(pod)

    def read_node(self, name: str) -> Object | None:
        return copy.deepcopy(self.nodes.get(name))

    # --- what tests do

    def stored(self, kind: str, name: str) -> Object:
        """A whole object, as the API server has it."""
        return copy.deepcopy(self._objects[kind][name])

    def put_pod(self, pod: Object) -> None:
        with self._lock:
            name = pod["metadata"]["name"]
            known = self._objects["pods"].get(name)
            self._store(
                "pods", {**(known or {}), **pod, "metadata": {**(known or {}).get("metadata", {}), **pod["metadata"]}}
            )

    def set_pod_status(self, name: str, status: Object) -> None:
        self._patch("pods", name, {"status": status})

    def set_job_status(self, name: str, status: Object) -> None:
        self._patch("jobs", name, {"status": status})

    def suspend(self, name: str) -> None:
        """The Job controller deletes the pods of a suspended Job and notes it, a moment after the patch."""
        assert self._objects["jobs"][name]["spec"]["suspend"] is True
        for pod in self.read_pods(name):
            self._delete("pods", pod["metadata"]["name"])
        condition = {"type": "Suspended", "status": "True", "lastTransitionTime": self._now()}
        self.set_job_status(name, {"conditions": [condition]})

    def warn(self, name: str, text: str) -> None:
        self._warnings[name] = (datetime.now(UTC).isoformat(), text)
        self._announce(name if name in self._objects["jobs"] else self._job_of(name))

    def write_log(self, pod: str, lines: Log) -> None:
        self._logs[pod] = lines

    # --- inside

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _cache(self, kind: str) -> dict[str, Kept]:
        if not self.is_synced:
            raise UnavailableError(f"the cache of {kind} is not filled yet")
        return dict(self._kept[kind])

    def _create(self, kind: str, obj: Object) -> Kept:
        with self._lock:
            name = obj["metadata"]["name"]
            if name in self._objects[kind]:
                raise AlreadyExistsError(f"create {kind} {name}: it exists")
            made = {"uid": f"uid-{next(self._versions)}", "creationTimestamp": self._now(), "namespace": NAMESPACE}
            return self._store(kind, {**copy.deepcopy(obj), "metadata": {**obj["metadata"], **made}})

    def _store(self, kind: str, obj: Object) -> Kept:
        name = obj["metadata"]["name"]
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        kept = KEEP[kind](obj)
        self._objects[kind][name], self._kept[kind][name] = obj, kept
        self._announce(name if kind != "pods" else self._job_of(name))
        return kept

    def _patch(self, kind: str, name: str, patch: Mapping[str, Any]) -> None:
        with self._lock:
            if (obj := self._objects[kind].get(name)) is None:
                raise NotFoundError(f"patch {kind} {name}: not found")
            expected = (patch.get("metadata") or {}).get("resourceVersion")
            if expected is not None and expected != obj["metadata"]["resourceVersion"]:
                raise ConflictError(f"patch {kind} {name}: it changed")
            self._store(kind, _merge(obj, patch))

    def _delete(self, kind: str, name: str) -> None:
        with self._lock:
            job = name if kind != "pods" else self._job_of(name)
            if self._objects[kind].pop(name, None) is not None:
                del self._kept[kind][name]
                self._announce(job)

    def _job_of(self, pod: str) -> str:
        labels = self._objects["pods"].get(pod, {}).get("metadata", {}).get("labels") or {}
        return str(labels.get("job-name", ""))

    def _announce(self, job: str) -> None:
        if job:
            for listener in self._listeners:
                listener(job)

    def _check_mounts(self, obj: Object) -> None:
        container = obj["spec"]["template"]["spec"]["containers"][0]
        paths = [each["mountPath"] for each in container.get("volumeMounts") or ()]
        if len(set(paths)) < len(paths):
            raise RefusedError("create Job: mountPath must be unique")

    def _require_container(self, pod: str, container: str, *, has_started: bool = False) -> None:
        if (found := self._objects["pods"].get(pod)) is None:
            raise NotFoundError(f"pods {pod} not found")
        for each in (found.get("status") or {}).get("containerStatuses") or ():
            state = each.get("state") or {}
            if each.get("name") == container and ("running" in state or (has_started and "terminated" in state)):
                return
        raise RefusedError(f"container {container} of {pod} waits to start")


class MemoryLog:
    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            if self._is_closed:
                return
            yield line

    def close(self) -> None:
        self._is_closed = True


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
