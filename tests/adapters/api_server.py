"""
A small API server on 127.0.0.1: enough of Kubernetes for the adapters, and faults on demand.

It keeps what the adapters lean on: one rising resourceVersion for all writes, 409 for a stale version or a taken name,
a status that only its subresource writes, deletion that waits for finalizers, lists in pages, watches that replay what
came after a version. Server-side apply is a merge.
"""

import json
import queue
import re
import threading
from collections.abc import Iterator
from typing import Any

from tests.adapters.faulty_server import Answer, FaultyServer, Seen

Object = dict[str, Any]
_PATH = re.compile(
    r"(?P<prefix>/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<ns>[^/]+)(?=/))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
_STATUS_APART = ("nestedjobs",)  # kinds whose status only the subresource writes


def failure(status: int, reason: str, message: str = "", **headers: str) -> Answer:
    """A Kubernetes `Status` as the API server sends it."""
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
    return Answer(status, body, {key.replace("_", "-"): value for key, value in headers.items()})


class ApiServer(FaultyServer):
    """
    `lists` and `watches` tell a waiting test of each list and of each open watch. `streams_lists`: it has the feature
    WatchList, like Kubernetes since 1.34.
    """

    def __init__(self) -> None:
        self.lists: queue.Queue[Seen] = queue.Queue()
        self.watches: queue.Queue[Seen] = queue.Queue()
        self.denied: set[tuple[str, str]] = set()  # (verb, resource): what access reviews answer no to
        self.now = "2026-01-05T14:15:30Z"  # when what is stored next was made
        self.streams_lists = False
        self.oldest = 0  # watches from before this version are 410
        self.expired = 0  # how many were
        self._objects: dict[tuple[str, str, str, str], Object] = {}
        self._events: list[tuple[int, str, Object, str]] = []
        self._version = 100
        self._changed = threading.Condition()
        self._era = 0  # a watch ends when its era does
        super().__init__()

    def close(self) -> None:
        self.end_watches()
        super().close()

    # --- what tests do

    def end_watches(self) -> None:
        with self._changed:
            self._era += 1
            self._changed.notify_all()

    def forget_history(self) -> None:
        """Compact, so that no watch can start from an earlier version."""
        with self._changed:
            self.oldest = self._version

    def send(self, prefix: str, plural: str, kind: str, obj: Object) -> None:
        """Send an event that no change caused (BOOKMARK, ERROR) on every watch of that kind."""
        with self._changed:
            self._events.append((self._version, kind, obj, f"{prefix}/{plural}"))
            self._changed.notify_all()

    def put(self, prefix: str, plural: str, obj: Object) -> Object:
        """Write as another client."""
        with self._changed:
            meta = obj["metadata"]
            return self._store((prefix, plural, meta.get("namespace", ""), meta["name"]), obj)

    def drop(self, prefix: str, plural: str, namespace: str, name: str) -> None:
        with self._changed:
            self._remove((prefix, plural, namespace, name))

    def find(self, prefix: str, plural: str, namespace: str, name: str) -> Object | None:
        with self._changed:
            return self._objects.get((prefix, plural, namespace, name))

    # --- requests

    def answer(self, seen: Seen) -> Answer:
        if seen.method == "POST" and seen.path.endswith("accessreviews"):
            wanted = seen.body["spec"]["resourceAttributes"]
            return Answer(201, {"status": {"allowed": (wanted["verb"], wanted["resource"]) not in self.denied}})
        match = _PATH.fullmatch(seen.path)
        if match is None:
            return Answer(200, {}) if seen.path == "/readyz" else failure(404, "NotFound", f"no such path {seen.path}")
        namespace = match["ns"] or ""
        if match["plural"] == "namespaces":
            namespace = ""
        key = (match["prefix"], match["plural"], namespace, match["name"] or "")
        with self._changed:
            if not match["name"]:
                return self._answer_collection(seen, key)
            return self._answer_object(seen, key, match["sub"] or "")

    def stream(self, seen: Seen, scripted: Iterator[bytes] | None) -> Iterator[bytes] | None:
        if scripted is not None:
            self.watches.put(seen)
            return scripted
        if seen.query.get("sendInitialEvents"):
            return self._stream_list(seen) if self.streams_lists else None
        return self._follow(seen) if seen.query.get("watch") else None

    def _stream_list(self, seen: Seen) -> Iterator[bytes]:
        """Each object, the bookmark that ends the list, and then nothing until the client leaves."""
        match = _PATH.fullmatch(seen.path)
        assert match is not None
        with self._changed:
            found = self._find_all(seen, (match["prefix"], match["plural"], match["ns"] or "", ""))
            end = {"resourceVersion": str(self._version), "annotations": {"k8s.io/initial-events-end": "true"}}
            era = self._era
        self.lists.put(seen)

        def send() -> Iterator[bytes]:
            yield from (_line("ADDED", obj) for _, obj in found)
            yield _line("BOOKMARK", {"metadata": end})
            with self._changed:
                self._changed.wait_for(lambda: era != self._era)

        return send()

    def _follow(self, seen: Seen) -> Iterator[bytes]:
        match = _PATH.fullmatch(seen.path)
        assert match is not None
        collection, namespace = f"{match['prefix']}/{match['plural']}", match["ns"] or ""
        since, selector = int(seen.query.get("resourceVersion") or 0), seen.query.get("labelSelector", "")
        with self._changed:
            era, position = self._era, 0
            if since < self.oldest:
                self.expired += 1
                yield _line("ERROR", failure(410, "Expired", "too old resource version").body)
                return
        self.watches.put(seen)
        while True:
            with self._changed:
                while position == len(self._events) and era == self._era:
                    self._changed.wait()
                if era != self._era:
                    return
                fresh, position = self._events[position:], len(self._events)
            for version, kind, obj, where in fresh:
                own = kind in ("BOOKMARK", "ERROR")
                inside = own or (
                    version > since
                    and namespace in ("", obj["metadata"].get("namespace", ""))
                    and _selects(selector, obj)
                )
                if where == collection and inside:
                    yield _line(kind, obj)

    def _answer_collection(self, seen: Seen, key: tuple[str, str, str, str]) -> Answer:
        prefix, plural, namespace, _ = key
        if seen.method == "POST":
            full = (prefix, plural, namespace, seen.body["metadata"]["name"])
            if full in self._objects:
                return failure(409, "AlreadyExists", f'{plural} "{full[3]}" already exists')
            return Answer(201, self._store(full, seen.body))
        if seen.query.get("sendInitialEvents"):
            said = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            return failure(422, "Invalid", f"ListOptions is invalid: sendInitialEvents: Forbidden: {said}")
        found = self._find_all(seen, key)
        if seen.method == "DELETE":
            for where, _ in found:
                self._delete(where)
            return Answer(200, {"kind": "Status"})
        self.lists.put(seen)
        metadata_only = "as=PartialObjectMetadataList" in seen.headers.get("accept", "")
        if metadata_only:
            found = [(where, {"metadata": obj["metadata"]}) for where, obj in found]
        start, limit = int(seen.query.get("continue") or 0), int(seen.query.get("limit") or 500)
        meta = {"resourceVersion": str(self._version)}
        if start + limit < len(found):
            meta["continue"] = str(start + limit)
        items = [obj for _, obj in found[start : start + limit]]
        # So the real one says of no metadata (seen with 1.36, for kinds of a CustomResourceDefinition).
        return Answer(200, {"metadata": meta, "items": items or (None if metadata_only else [])})

    def _find_all(self, seen: Seen, key: tuple[str, str, str, str]) -> list[tuple[tuple[str, str, str, str], Object]]:
        return [
            (where, obj)
            for where, obj in sorted(self._objects.items())
            if where[:2] == key[:2]
            and key[2] in ("", where[2])
            and _selects(seen.query.get("labelSelector", ""), obj)
            and _has_fields(seen.query.get("fieldSelector", ""), obj)
        ]

    def _answer_object(self, seen: Seen, key: tuple[str, str, str, str], sub: str) -> Answer:
        old = self._objects.get(key)
        applies = seen.headers.get("content-type", "").startswith("application/apply-patch")
        if old is None and not (seen.method == "PATCH" and applies):
            return failure(404, "NotFound", f'{key[1]} "{key[3]}" not found')
        if seen.method == "GET":
            return Answer(200, old)
        if seen.method == "DELETE":
            wanted = (seen.body or {}).get("preconditions") or {}
            if old and any(value != old["metadata"][key] for key, value in wanted.items()):
                return failure(409, "Conflict", "the UID or the resourceVersion in the precondition does not match")
            self._delete(key)
            return Answer(200, self._objects.get(key, {"kind": "Status"}))  # an object that waits for its finalizers
        uid, version = (seen.body.get("metadata", {}).get(key) for key in ("uid", "resourceVersion"))
        if old and version is not None and version != old["metadata"]["resourceVersion"]:
            return failure(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        if old and uid is not None and uid != old["metadata"]["uid"]:
            return failure(422, "Invalid", f'metadata.uid: Invalid value: "{uid}": field is immutable')
        new = seen.body if seen.method == "PUT" else _merge(old or {}, seen.body)
        if key[1] in _STATUS_APART and old is not None:
            apart = {"status": new.get("status", {})}
            kept = {"status": old["status"]} if "status" in old else {}
            new = {**old, **apart} if sub == "status" else {**{k: v for k, v in new.items() if k != "status"}, **kept}
        stored = self._store(key, new)
        metadata_only = "as=PartialObjectMetadata;" in seen.headers.get("accept", "")
        return Answer(200, {"metadata": stored["metadata"]} if metadata_only else stored)

    # --- storage

    def _store(self, key: tuple[str, str, str, str], obj: Object) -> Object:
        old = self._objects.get(key)
        self._version += 1
        new = json.loads(json.dumps(obj))
        meta = new["metadata"]
        if key[2]:
            meta["namespace"] = key[2]
        before = old["metadata"] if old else {}
        meta["uid"] = before.get("uid") or meta.get("uid") or f"uid-{self._version}"
        meta["creationTimestamp"] = before.get("creationTimestamp", self.now)
        spec_moved = old is None or old.get("spec") != new.get("spec")
        meta["generation"] = int(before.get("generation", 0)) + (1 if spec_moved else 0)
        if "deletionTimestamp" in before:
            meta["deletionTimestamp"] = before["deletionTimestamp"]
        if old is not None and _without_version(old) == _without_version(new):
            self._version -= 1
            return old
        meta["resourceVersion"] = str(self._version)
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self._remove(key)
            return dict(new)
        self._objects[key] = new
        self._tell("MODIFIED" if old else "ADDED", key, new)
        return dict(new)

    def _delete(self, key: tuple[str, str, str, str]) -> None:
        obj = self._objects[key]
        if obj["metadata"].get("finalizers"):
            meta = {**obj["metadata"], "deletionTimestamp": "2026-01-05T15:00:00Z"}
            self._version += 1
            meta["resourceVersion"] = str(self._version)
            self._objects[key] = {**obj, "metadata": meta}
            self._tell("MODIFIED", key, self._objects[key])
        else:
            self._remove(key)

    def _remove(self, key: tuple[str, str, str, str]) -> None:
        obj = self._objects.pop(key)
        self._version += 1
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        self._tell("DELETED", key, gone)

    def _tell(self, kind: str, key: tuple[str, str, str, str], obj: Object) -> None:
        self._events.append((self._version, kind, obj, f"{key[0]}/{key[1]}"))
        self._changed.notify_all()


def _line(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode()


def _merge(old: Any, patch: Any) -> Any:
    """JSON merge patch."""
    if not isinstance(patch, dict):
        return patch
    base = old if isinstance(old, dict) else {}
    merged = {**base, **{key: _merge(base.get(key), value) for key, value in patch.items()}}
    return {key: value for key, value in merged.items() if value is not None}


def _without_version(obj: Object) -> Object:
    skip = ("resourceVersion", "generation")
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in skip}}


def _selects(selector: str, obj: Object) -> bool:
    labels = obj["metadata"].get("labels") or {}
    for term in filter(None, selector.split(",")):
        key, equals, value = term.partition("=")
        if term.startswith("!"):
            if term[1:] in labels:
                return False
        elif (key not in labels) if not equals else labels.get(key) != value:
            return False
    return True


def _has_fields(selector: str, obj: Object) -> bool:
    """Whether each field of a selector like `status.phase=Pending,spec.nodeName=` has that value; absent is ""."""
    for term in filter(None, selector.split(",")):
        path, _, value = term.partition("=")
        found: Any = obj
        for key in path.split("."):
            found = found.get(key, {})
        if (found or "") != value:
            return False
    return True
