"""
The cluster as plain jobs see it: one namespace, with the rights of a namespaced Role (`kns.plain.ports.Cluster`).

One watch per kind: Jobs, pods and Services that have the label of the front end, and the namespace's events. The Role
may allow events to be watched and not listed, so their watch begins without a list.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kns.adapters.kube.channel import run_command, send_input
from kns.adapters.kube.client import MERGE, ByteStream, KubeClient
from kns.adapters.kube.kinds import KindRow
from kns.adapters.kube.watch import SILENCE_S, Pace, WatchCache
from kns.logs import get_logger
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    KnsError,
    MetricsMissingError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    clip,
)
from kns.ports import Clock, Object

log = get_logger(__name__)

_CALL_S = 15.0  # the read timeout of a call, below the 120 s after which the Launcher gives up
_COMMAND_S = 10.0  # of a command in a container, which sends a signal
_INPUT_S = 15.0
_LOG_SILENCE_S = 60.0  # a log may be silent for hours; a new connection continues where the old one ended
_MOST_PODS = 50  # of one job, which has one unless somebody deletes it again and again
_MOST_EVENTS = 2000  # objects whose last warning is kept; the namespace may have other programs' objects
_EVENT_BACKOFF_S = (0.5, 2.0, 10.0, 60.0)
_SPLIT_SINCE = (1, 32)  # the first release of Kubernetes with `stream` in the options of a log
_POD_JOB_LABEL = "job-name"
_JOBS, _PODS, _SERVICES, _EVENTS = "jobs", "pods", "services", "events"
_METRICS = "/apis/metrics.k8s.io/v1beta1"


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """
    `page` is the number of objects in one answer to a list. The server ends a watch after `timeout_s`, 0 never; a
    connection that is silent for as long is replaced, and also one without the bookmark of every minute.
    """

    page: int = 500
    timeout_s: int = 180

    @property
    def silence_s(self) -> float:
        return min(SILENCE_S, self.timeout_s) if self.timeout_s else SILENCE_S


Kept = Mapping[str, Any]
Keep = Callable[[Object], Kept]


class NamespacedCluster:
    """
    Implements `kns.plain.ports.Cluster` for the objects with `selector` in `namespace`.

    `keep` converts jobs, pods and services to what stays of them in memory, and to what every method returns.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        selector: str,
        clock: Clock,
        keep: Mapping[str, Keep],
        limits: WatchLimits = WatchLimits(),
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._keep = keep
        self._listeners: list[Callable[[str], None]] = []
        self._splits: bool | None = None
        rows = {
            _JOBS: KindRow("/apis/batch/v1", "jobs", page=limits.page),
            _PODS: KindRow("/api/v1", "pods", page=limits.page),
            _SERVICES: KindRow("/api/v1", "services", page=limits.page),
        }
        self._rows = rows

        def cache(kind: str, on_change: Callable[[Kept], None]) -> WatchCache[Kept]:
            return WatchCache(
                client,
                rows[kind],
                clock=clock,
                keep=keep[kind],
                namespace=namespace,
                selector=selector,
                indexes={"job": _index_job} if kind == _PODS else None,
                on_change=on_change,
                pace=Pace(limits.timeout_s, limits.silence_s),
            )

        self._jobs = cache(_JOBS, lambda job: self._announce(job["metadata"]["name"]))
        self._pods = cache(_PODS, lambda pod: self._announce(_job_of(pod)))
        self._services = cache(_SERVICES, lambda service: self._announce(service["metadata"]["name"]))
        self._warnings = _Warnings(client, namespace, limits=limits, on_change=self._announce_warning)

    @property
    def caches(self) -> Sequence[WatchCache[Kept]]:
        return (self._jobs, self._pods, self._services)

    @property
    def is_synced(self) -> bool:
        return all(cache.is_synced for cache in self.caches)

    def start(self, stop: threading.Event) -> list[threading.Thread]:
        runs = [(f"watch-{cache.kind}", cache.run) for cache in self.caches]
        runs.append(("watch-events", self._warnings.run))
        threads = [threading.Thread(target=run, args=(stop,), name=name, daemon=True) for name, run in runs]
        for thread in threads:
            thread.start()
        return threads

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        self._listeners.append(on_change)

    def _announce(self, job: str) -> None:
        if job:
            for listener in self._listeners:
                listener(job)

    def _announce_warning(self, kind: str, name: str) -> None:
        if not self.is_synced:
            return
        if kind == "Job":
            self._announce(name)
        elif (pod := self._pods.get(self._namespace, name)) is not None:
            self._announce(_job_of(pod))

    # --- from memory

    def list_jobs(self) -> Sequence[Kept]:
        return self._jobs.all_objects()

    def find_job(self, name: str) -> Kept | None:
        return self._jobs.get(self._namespace, name)

    def list_pods(self, job: str) -> Sequence[Kept]:
        return self._pods.select("job", job)

    def find_service(self, name: str) -> Kept | None:
        return self._services.get(self._namespace, name)

    def find_warning(self, names: Sequence[str]) -> str:
        return self._warnings.find(names)

    # --- calls

    def read_job(self, name: str) -> Kept | None:
        try:
            obj: Object = self._call("GET", self._path(_JOBS, name))
        except NotFoundError:
            return None
        self._jobs.put(obj)
        return self._keep[_JOBS](obj)

    def read_pods(self, job: str) -> Sequence[Kept]:
        query = {"labelSelector": f"{_POD_JOB_LABEL}={job}", "limit": str(_MOST_PODS)}
        found = self._client.request("GET", self._path(_PODS), query=query, read_timeout_s=_CALL_S)
        pods: list[Object] = found.get("items") or []
        for pod in pods:
            self._pods.put(pod)
        return [self._keep[_PODS](pod) for pod in pods]

    def create_job(self, obj: Object) -> Kept:
        stored: Object = self._call("POST", self._path(_JOBS), body=obj)
        self._jobs.put(stored)
        return self._keep[_JOBS](stored)

    def create_service(self, obj: Object) -> None:
        try:
            self._services.put(self._call("POST", self._path(_SERVICES), body=obj))
        except AlreadyExistsError:
            return

    def delete_service(self, name: str) -> None:
        try:
            self._call("DELETE", self._path(_SERVICES, name))
        except NotFoundError:
            return

    def delete_job(self, name: str, *, uid: str) -> None:
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            self._call("DELETE", self._path(_JOBS, name), body=body)
        except (NotFoundError, ConflictError):
            return

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> None:
        self._jobs.put(self._call("PATCH", self._path(_JOBS, name), body=dict(patch), content_type=MERGE))

    def patch_pod(self, name: str, patch: Mapping[str, Any]) -> None:
        self._call("PATCH", self._path(_PODS, name), body=dict(patch), content_type=MERGE)

    def open_log(self, pod: str, container: str, *, stream: str, since: str, follow: bool) -> "_QuietStream":
        query = {"container": container, "timestamps": "true"}
        if follow:
            query["follow"] = "true"
        if since:
            query["sinceTime"] = since
        if stream:
            query["stream"] = stream
        path = f"{self._path(_PODS, pod)}/log"
        return _QuietStream(self._client.open_stream(path, query=query, read_timeout_s=_LOG_SILENCE_S, what="log"))

    def can_split_streams(self) -> bool:
        """An API server before 1.32 ignores the unknown option, and would send both streams as each of them."""
        if self._splits is None:
            try:
                said = self._call("GET", "/version")
                version = (int(said["major"]), int("".join(c for c in said["minor"] if c.isdigit())))
            except (KnsError, KeyError, ValueError, TypeError):
                return False
            self._splits = version >= _SPLIT_SINCE
        return self._splits

    def run_in(self, pod: str, container: str, command: Sequence[str]) -> tuple[int, str]:
        path = self._path(_PODS, pod)
        return run_command(self._client, path, container=container, command=command, timeout_s=_COMMAND_S)

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        send_input(self._client, self._path(_PODS, pod), container=container, data=data, timeout_s=_INPUT_S)

    def read_usage(self, pod: str) -> Mapping[str, Mapping[str, str]] | None:
        try:
            found = self._call("GET", f"{_METRICS}/namespaces/{self._namespace}/pods/{pod}")
        except NotFoundError:
            self._require_metrics()
            return None
        except ForbiddenError as error:
            raise MetricsMissingError(f"the metrics of pods may not be read; grant `get` on them: {error}") from error
        return {each["name"]: each.get("usage") or {} for each in found.get("containers") or ()}

    def _require_metrics(self) -> None:
        """A pod without metrics is new, or the cluster has none at all."""
        try:
            self._call("GET", _METRICS)
        except (NotFoundError, UnavailableError) as error:
            raise MetricsMissingError(f"the cluster has no metrics API; install metrics-server ({error})") from error

    def read_node(self, name: str) -> Object | None:
        try:
            node: Object = self._call("GET", f"/api/v1/nodes/{name}")
        except (NotFoundError, ForbiddenError, RefusedError):
            return None
        return node

    def _path(self, kind: str, name: str = "") -> str:
        return self._rows[kind].path(self._namespace, name)

    def _call(self, method: str, path: str, *, body: Any = None, content_type: str = "application/json") -> Any:
        return self._client.request(method, path, body=body, content_type=content_type, read_timeout_s=_CALL_S)


class _QuietStream:
    """A log whose silent connection ends instead of failing, so that the reader opens the next one."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Any:
        try:
            yield from self._stream
        except UnavailableError as error:
            if "ReadTimeoutError" not in str(error):
                raise

    def close(self) -> None:
        self._stream.close()


class _Warnings:
    """The last warning about each object of the namespace, from a watch that never lists."""

    def __init__(
        self, client: KubeClient, namespace: str, *, limits: WatchLimits, on_change: Callable[[str, str], None]
    ) -> None:
        self._client = client
        self._path = f"/api/v1/namespaces/{namespace}/{_EVENTS}"
        self._limits = limits
        self._on_change = on_change
        self._version = ""  # to continue from; "" begins with what is stored now
        self._last: OrderedDict[str, tuple[str, str]] = OrderedDict()  # name of the object -> time, text
        self._lock = threading.Lock()

    def find(self, names: Sequence[str]) -> str:
        with self._lock:
            found = [self._last[name] for name in names if name in self._last]
        return max(found)[1] if found else ""

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self._follow(stop)
                failures = 0
            except ExpiredError:
                self._version, failures = "", min(failures + 1, 1)
            except ForbiddenError as error:
                self._report(error, failures)
                failures = len(_EVENT_BACKOFF_S)
            except KnsError as error:
                self._report(error, failures)
                failures += 1
            except Exception:  # a bug; jobs are followed without their warnings
                log.exception("watch_crashed", kind=_EVENTS)
                failures = len(_EVENT_BACKOFF_S)
            stop.wait(_EVENT_BACKOFF_S[min(failures, len(_EVENT_BACKOFF_S) - 1)])

    def _report(self, error: KnsError, failures: int) -> None:
        if failures == 0:
            log.warning("watch_interrupted", kind=_EVENTS, error=str(error), consequence="no reasons from events")

    def _follow(self, stop: threading.Event) -> None:
        query = {"watch": "true", "allowWatchBookmarks": "true", "fieldSelector": "type=Warning"}
        if self._version:
            query["resourceVersion"] = self._version
        if self._limits.timeout_s:
            query["timeoutSeconds"] = str(self._limits.timeout_s)
        for line in self._client.stream_lines(self._path, query=query, read_timeout_s=self._limits.silence_s):
            if stop.is_set():
                return
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, obj = event["type"], event["object"]
            if kind == "ERROR":
                raise ExpiredError(f"watch of {_EVENTS}: {obj.get('message', obj)}")
            self._version = str(obj["metadata"].get("resourceVersion") or "")
            if kind in ("BOOKMARK", "DELETED"):
                return
            about = obj["involvedObject"]
            name, involved = str(about["name"]), str(about.get("kind", ""))
            time = str(
                obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp") or ""
            )
            text = clip(f"{obj.get('reason', '')}: {obj.get('message', '')}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExpiredError(f"watch of {_EVENTS}: unreadable line") from error
        with self._lock:
            known = self._last.pop(name, None)
            if known is not None and known[0] > time:
                self._last[name] = known
                return
            self._last[name] = (time, text)
            while len(self._last) > _MOST_EVENTS:
                self._last.popitem(last=False)
        if known is None or known[1] != text:
            self._on_change(involved, name)


def _job_of(pod: Kept) -> str:
    return str((pod["metadata"].get("labels") or {}).get(_POD_JOB_LABEL, ""))


def _index_job(pod: Kept) -> tuple[str, ...]:
    return (_job_of(pod),)
