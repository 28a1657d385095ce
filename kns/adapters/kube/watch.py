"""
A watch cache: list the objects of one kind, then watch from the version of that list. List again when the version has
expired, when a line is not readable, and every few minutes.

A list comes as a stream of its objects, one after the other, if the API server has `WatchList` (by default since
Kubernetes 1.34). Neither side then holds a page, and both work at the same time. Otherwise it comes in pages.

Readers get objects from memory. `on_change` receives each changed object and must not block. An event only means "read
again", so a surplus event does no harm, and the next list makes up for a lost one.
"""

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kns import metrics
from kns.adapters.kube.client import WATCH_TIMEOUT_S, KubeClient
from kns.adapters.kube.indexes import Index, Key, KeyIndex
from kns.adapters.kube.kinds import KindRow
from kns.logs import get_logger
from kns.model.errors import ExpiredError, KnsError, RefusedError, UnavailableError
from kns.model.reading.json_text import read_json
from kns.ports import Clock, Object

log = get_logger(__name__)

RESYNC_S = 480.0
SILENCE_S = 150.0  # a server sends a bookmark about every minute
_SHORTEST_S = 1.0  # a watch that ends sooner without an event has failed
_BACKOFF_S = (0.2, 1.0, 3.0, 8.0)
_STREAM_S = 60.0  # of a streamed list; ten thousand records take four
_STREAMED_LIST = {
    "watch": "true",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",  # than the newest version, because none is named
    "allowWatchBookmarks": "true",
}
_STREAM_SILENCE_S = 10.0  # the server sends an object or the end at once; it may wait 3 s to be as new as its store
_MOST_TOMBSTONES = 10_000  # an outdated `put` comes within the timeout of a call; tenants delete as often as they like
_MOST_STREAM_FAILURES = 2  # in a row; then lists come in pages
_END_OF_LIST = "k8s.io/initial-events-end"  # the annotation of the bookmark after the last object

KeptT = TypeVar("KeptT")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[KeptT]):
    version: int
    kept: KeptT


@dataclass(frozen=True, slots=True)
class Pace:
    """The server ends a watch after `timeout_s`, 0 never. A connection that is silent for `silence_s` is replaced."""

    timeout_s: int
    silence_s: float


class WatchCache(Generic[KeptT]):
    """
    The objects of one kind that match a selector, in one namespace or in all.

    `keep` converts each object to what the cache holds of it; nothing else of the object stays in memory. An object
    that is not `wanted` is not held at all: whoever has a namespace can give any label to objects there. `indexes` are
    the values by which readers find objects, by name. The cache maintains them, so that the cost of a lookup depends on
    the number of objects found and not on the size of the cache.
    """

    def __init__(  # noqa: PLR0913 - each has a name at the call
        self,
        client: KubeClient,
        row: KindRow,
        *,
        clock: Clock,
        keep: Callable[[Object], KeptT],
        called: str = "",
        namespace: str = "",
        selector: str = "",
        wanted: Callable[[Object], bool] = lambda _obj: True,
        indexes: Mapping[str, Index[KeptT]] | None = None,
        on_change: Callable[[KeptT], None] = lambda _kept: None,
        pace: Pace | None = None,
    ) -> None:
        self._client = client
        self._row = row
        self._called = called or row.plural
        self._clock = clock
        self._path = row.path(namespace)
        self._selector = {"labelSelector": selector} if selector else {}
        self._wanted = wanted
        self._pace = pace
        self._on_change = on_change
        self._keep = keep
        self._objects: dict[Key, _Entry[KeptT]] = {}
        self._indexes = {name: KeyIndex(read) for name, read in (indexes or {}).items()}
        self._tombstones: dict[Key, int] = {}  # the newest deletions since the last list; they refuse outdated `put`s
        self._written: set[Key] = set()  # keys that `put` stored since the last list began
        self._untold: set[Key] = set()  # keys that `put` stored and that the server has not sent since
        self._listed = 0  # version of the last list: older objects that are not in it are deleted
        self._lock = threading.Lock()
        self._synced = threading.Event()
        self._heard_at = float("-inf")  # monotonic time of the end of the last list, or of the last line of the watch
        self._streams_lists = True  # until the API server refuses it, or it has failed too often
        self._stream_failures = 0  # in a row
        self._failures = 0  # consecutive failures without an event between them
        self._problem = ""  # the error of the last attempt to list, until the first list succeeds

    @property
    def is_synced(self) -> bool:
        return self._synced.is_set()

    @property
    def kind(self) -> str:
        """The plural of the kind, as in metrics and logs, or the name that tells two caches of a kind apart."""
        return self._called

    @property
    def age_s(self) -> float:
        """Seconds since the last data from the API server; infinity before the first list."""
        return self._clock.monotonic() - self._heard_at

    def get(self, namespace: str, name: str) -> KeptT | None:
        self._require_sync()
        with self._lock:
            found = self._objects.get((namespace, name))
            return None if found is None else found.kept

    def select(self, index: str, value: Hashable) -> list[KeptT]:
        """The objects with this value in the index `name`, in the order in which their keys were added."""
        self._require_sync()
        with self._lock:
            return [self._objects[key].kept for key in self._indexes[index].find(value)]

    def count(self, index: str, value: Hashable) -> int:
        self._require_sync()
        with self._lock:
            return len(self._indexes[index].find(value))

    def count_values(self, index: str) -> dict[str, int]:
        """The number of objects for each value of an index whose values are texts."""
        self._require_sync()
        with self._lock:
            return self._indexes[index].count_all()

    def all_objects(self) -> list[KeptT]:
        self._require_sync()
        with self._lock:
            return [entry.kept for entry in self._objects.values()]

    def put(self, obj: Object) -> None:
        """Store an object that this process has just written, unless the cache has a newer version."""
        if not self._wanted(obj):
            return
        key, version = _key(obj), _version(obj)
        entry = _Entry(version, self._keep(obj))
        with self._lock:
            known = self._objects.get(key)
            oldest = known.version if known else max(self._listed, self._tombstones.get(key, 0))
            if oldest < version:
                self._set(key, entry)
                self._written.add(key)
                self._untold.add(key)

    def run(self, stop: threading.Event) -> None:
        """List and watch until `stop` is set. Runs in a thread of its own."""
        while not stop.is_set():
            delay_s = 0.0
            try:
                self._follow(self._list(), stop)
            except KnsError as error:
                self._problem = f": {error}"
                metrics.count_watch_restart(self._called)
                delay_s = self._next_delay_s(error)
                if delay_s:
                    log.warning("watch_interrupted", kind=self._called, error=str(error), retry_s=delay_s)
            except Exception:  # a bug; a cache that is never updated again would be worse
                log.exception("watch_crashed", kind=self._called)
                delay_s = _BACKOFF_S[-1]
            stop.wait(delay_s)

    def _next_delay_s(self, error: KnsError) -> float:
        """The delay before the next list. An expired version needs no delay, unless it expires again at once."""
        failures, self._failures = self._failures, self._failures + 1
        if isinstance(error, ExpiredError) and failures == 0:
            return 0.0
        return _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]

    def _require_sync(self) -> None:
        if not self._synced.is_set():
            raise UnavailableError(f"the cache of {self._called} is not filled yet{self._problem}")

    def _list(self) -> str:
        """
        Replace the content by a full list, and return the version of the list.

        The list wins even if it is older than the content, because etcd may have been restored from a backup.
        """
        with self._lock:
            self._written = set()
        found, version = self._read_all()
        with self._lock:
            # Objects that this process wrote during the list request are newer than the list.
            late = {
                key
                for key in self._written
                if (entry := self._objects.get(key)) is not None and entry.version > int(version)
            }
            # No event will follow for what is in the list, so an own write that it repeats is told now.
            changed = {
                key: entry
                for key, entry in found.items()
                if key not in late and (key in self._untold or self._differs(key, entry))
            }
            gone = {key: entry for key, entry in self._objects.items() if key not in found and key not in late}
            for key in gone:
                self._drop(key)
            for key, entry in changed.items():
                self._set(key, entry)
            self._untold &= late
            self._tombstones = {}
            self._listed = int(version)
        self._heard_at = self._clock.monotonic()
        self._synced.set()
        for entry in (*changed.values(), *gone.values()):
            self._on_change(entry.kept)
        return version

    def _read_all(self) -> tuple[dict[Key, _Entry[KeptT]], str]:
        """
        All objects, and the version of which they are. In pages if the stream has no end, and from then on if the host
        refuses it or it fails twice in a row. A host that has just started, or a kind that is new, may answer 429.
        """
        if not self._streams_lists:
            return self._read_pages()
        try:
            found = self._read_stream()
        except (RefusedError, ExpiredError, UnavailableError) as error:
            refusal = error
        else:
            self._stream_failures = 0
            return found
        found = self._read_pages()  # fails as well if the host does, and then nothing is said about streams
        self._stream_failures += 1
        self._streams_lists = not isinstance(refusal, RefusedError) and self._stream_failures < _MOST_STREAM_FAILURES
        log.info("list_not_streamed", kind=self._called, error=str(refusal), tried_again=self._streams_lists)
        return found

    def _read_stream(self) -> tuple[dict[Key, _Entry[KeptT]], str]:
        """
        Raises:
            UnavailableError: the stream has no end. A server that does not know the parameter sends events without end.
        """
        found: dict[Key, _Entry[KeptT]] = {}
        began, query = self._clock.monotonic(), {**self._selector, **_STREAMED_LIST}
        for line in self._client.stream_lines(self._path, query=query, read_timeout_s=_STREAM_SILENCE_S):
            kind, obj = self._read_event(line)
            meta = obj["metadata"]
            if kind == "BOOKMARK" and _END_OF_LIST in (meta.get("annotations") or {}):
                return found, str(_version(obj))
            if kind == "DELETED" or not self._wanted(obj):  # changes during the list are between its objects
                found.pop(_key(obj), None)
            elif kind != "BOOKMARK":
                found[_key(obj)] = self._reuse(obj)
            if self._clock.monotonic() - began > _STREAM_S:
                break
        raise UnavailableError(f"list of {self._called}: the server did not send its end")

    def _read_pages(self) -> tuple[dict[Key, _Entry[KeptT]], str]:
        found: dict[Key, _Entry[KeptT]] = {}
        query = {**self._selector, "limit": str(self._row.page)}
        while True:
            page = self._client.request("GET", self._path, query=query)
            items = page.get("items") or []
            items.reverse()
            while items:  # each item is freed as soon as it is converted, so that what is kept takes its place
                item = items.pop()
                if self._wanted(item):
                    found[_key(item)] = self._reuse(item)
            token = page["metadata"].get("continue")
            if not token:
                return found, page["metadata"]["resourceVersion"]
            query["continue"] = token

    def _reuse(self, obj: Object) -> _Entry[KeptT]:
        """
        The entry of an object; the known one if the object did not change. Otherwise each list would need the memory of
        a second cache, and the garbage collector would have new objects to visit.
        """
        version = _version(obj)
        with self._lock:
            known = self._objects.get(_key(obj))
        return known if known is not None and known.version == version else self._convert(obj)

    def _convert(self, obj: Object) -> _Entry[KeptT]:
        """
        Raises:
            ExpiredError: the object is not one of its kind.
        """
        try:
            return _Entry(_version(obj), self._keep(obj))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExpiredError(f"an object of {self._called} is unreadable: {error!r}") from error

    def _set(self, key: Key, entry: _Entry[KeptT]) -> None:
        known = self._objects.get(key)
        for index in self._indexes.values():
            index.replace(key, known.kept if known is not None else None, entry.kept)
        self._objects[key] = entry

    def _drop(self, key: Key) -> None:
        known = self._objects.pop(key, None)
        for index in self._indexes.values():
            index.replace(key, known.kept if known is not None else None, None)

    def _bury(self, key: Key, version: int) -> None:
        self._tombstones.pop(key, None)  # so that the newest are the last
        self._tombstones[key] = version
        if len(self._tombstones) > _MOST_TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]

    def _differs(self, key: Key, entry: _Entry[KeptT]) -> bool:
        known = self._objects.get(key)
        return known is None or known.version != entry.version

    def _follow(self, version: str, stop: threading.Event) -> None:
        began, pace = self._clock.monotonic(), self._pace or Pace(WATCH_TIMEOUT_S, SILENCE_S)
        while not stop.is_set() and self._clock.monotonic() - began < RESYNC_S:
            query = {
                **self._selector,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                **({"timeoutSeconds": str(pace.timeout_s)} if pace.timeout_s else {}),
            }
            opened, spoke = self._clock.monotonic(), False
            for line in self._client.stream_lines(self._path, query=query, read_timeout_s=pace.silence_s):
                self._heard_at = self._clock.monotonic()  # first: a listener of the change may ask for the age
                version = self._take(line) or version
                spoke, self._failures = True, 0
                if stop.is_set():
                    return
            if not spoke and self._clock.monotonic() - opened < _SHORTEST_S:
                raise UnavailableError(f"watch of {self._called}: the server ended it at once without an event")

    def _take(self, line: bytes) -> str:
        """Store one event, and return the version to continue from."""
        kind, obj = self._read_event(line)
        version = _version(obj)
        is_wanted = kind != "BOOKMARK" and self._wanted(obj)
        if is_wanted or (kind != "BOOKMARK" and _key(obj) in self._objects):
            entry = self._convert(obj)
            if self._store(_key(obj), entry, deleted=kind == "DELETED" or not is_wanted):
                self._on_change(entry.kept)
        return str(version) if version else ""

    def _read_event(self, line: bytes) -> tuple[str, Object]:
        """
        The kind and the object of an event: one with a version, and with a name unless it is a bookmark.

        Raises:
            ExpiredError: it is none of these.
        """
        try:
            event: Mapping[str, Any] = read_json(line)
            kind, obj = event["type"], event["object"]
            if kind == "ERROR":
                raise ExpiredError(f"watch of {self._called}: {obj.get('message', obj)}")
            _version(obj)
            if kind != "BOOKMARK":
                _key(obj)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ExpiredError(f"watch of {self._called}: unreadable line") from error
        return kind, obj

    def _store(self, key: Key, entry: _Entry[KeptT], *, deleted: bool) -> bool:
        """
        Store an object from the server, unless the cache has a newer one of the same name. False if the change is in
        nothing that is kept: a tenant may change the rest as often as they like.
        """
        with self._lock:
            known = self._objects.get(key)
            if deleted:
                self._bury(key, entry.version)
            if known is not None and known.version > entry.version:
                return True
            was_untold = key in self._untold
            self._untold.discard(key)
            if deleted:
                self._drop(key)
            else:
                self._set(key, entry)
            return deleted or was_untold or known is None or known.kept != entry.kept


def _key(obj: Object) -> Key:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _version(obj: Object) -> int:
    """The resourceVersion as a number. Versions of one kind are comparable (documented since Kubernetes 1.35)."""
    return int(obj["metadata"].get("resourceVersion") or 0)
