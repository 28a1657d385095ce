"""
The cluster as plain jobs see it: one namespace, with the rights of a namespaced Role (`kns.plain.ports.Cluster`).

One watch per kind: Jobs, pods and Services that have the label of the front end, and the namespace's events. The Role
may allow events to be watched and not listed, so their watch begins without a list. Calls are those of
`namespace_calls`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.namespace_calls import JOBS, POD_JOB_LABEL, PODS, ROWS, SERVICES, Kept, NamespaceCalls
from kns.adapters.kube.watch import SILENCE_S, Pace, WatchCache
from kns.logs import get_logger
from kns.model.errors import (
    ExpiredError,
    ForbiddenError,
    KnsError,
    clip,
)
from kns.model.reading.json_text import read_json
from kns.ports import Clock, Object

log = get_logger(__name__)

_MOST_EVENTS = 2000  # objects whose last warning is kept; the namespace may have other programs' objects
_EVENT_BACKOFF_S = (0.5, 2.0, 10.0, 60.0)
_EVENTS = "events"


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


Keep = Callable[[Object], Kept]


class NamespacedCluster(NamespaceCalls):
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
        super().__init__(client, namespace=namespace)
        self._keep = keep
        self._listeners: list[Callable[[str], None]] = []

        def cache(kind: str, on_change: Callable[[Kept], None]) -> WatchCache[Kept]:
            return WatchCache(
                client,
                replace(ROWS[kind], page=limits.page),
                clock=clock,
                keep=keep[kind],
                namespace=namespace,
                selector=selector,
                indexes={"job": _index_job} if kind == PODS else None,
                on_change=on_change,
                pace=Pace(limits.timeout_s, limits.silence_s),
            )

        self._jobs = cache(JOBS, lambda job: self._announce(job["metadata"]["name"]))
        self._pods = cache(PODS, lambda pod: self._announce(_job_of(pod)))
        self._services = cache(SERVICES, lambda service: self._announce(service["metadata"]["name"]))
        self._caches = {JOBS: self._jobs, PODS: self._pods, SERVICES: self._services}
        self._warnings = _Warnings(client, namespace, limits=limits, on_change=self._announce_warning)

    @property
    def caches(self) -> Sequence[WatchCache[Kept]]:
        return tuple(self._caches.values())

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

    def _take(self, kind: str, obj: Object) -> Kept:
        self._caches[kind].put(obj)
        return self._keep[kind](obj)


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
            event = read_json(line)
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
    return str((pod["metadata"].get("labels") or {}).get(POD_JOB_LABEL, ""))


def _index_job(pod: Kept) -> tuple[str, ...]:
    return (_job_of(pod),)
