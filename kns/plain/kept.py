"""
What the watch caches keep of Kubernetes objects: the fields that `kns.plain` reads, and nothing else.

Finished jobs stay in the namespace until they expire, so there may be thousands of them. A Job is kept as compressed
JSON and is decoded when its view is made, which happens once for each change. Pods and Services are read again and
again, so they are small dicts, whose repeated texts are one object.
"""

import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

from kns.plain import names
from kns.plain.job import Variable
from kns.plain.stored import Object, Stored, find_container, read_stored

_COMPRESSION = 6  # a fifth of the size of a Job with 40 variables, for 0.1 ms
_CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
_CONDITIONS_OF_JOBS = frozenset({"Complete", "Failed", "FailureTarget"})
_NOTES_OF_NESTED = (names.NESTED, names.NESTED_OVER, names.END)
_NOTES = (names.STORED, names.ASKED, names.SUSPENDED, names.STDIN, *_NOTES_OF_NESTED)


_NONE: Mapping[str, str] = {}


class PackedJob(Mapping[str, Any]):
    """
    A Kubernetes Job, as far as `kns.plain` reads it. Each access decodes it; `name` and `nested` do not.

    `nested` has the annotations of a job with a cluster of its own; it is empty for other jobs.

    Two are equal if they differ in nothing but their resourceVersion: the counters of a Job's status change more often
    than what is kept.
    """

    __slots__ = ("_data", "_version", "name", "nested")

    def __init__(self, obj: Mapping[str, Any]) -> None:
        self.name: str = obj["metadata"]["name"]
        notes = obj["metadata"].get("annotations") or {}
        self.nested: Mapping[str, str] = (
            {key: notes[key] for key in _NOTES_OF_NESTED if key in notes} if names.NESTED in notes else _NONE
        )
        self._version = str(obj["metadata"].get("resourceVersion") or "")
        self._data = zlib.compress(json.dumps(_slim_job(obj), separators=(",", ":")).encode(), _COMPRESSION)

    def decode(self) -> Object:
        obj: Object = json.loads(zlib.decompress(self._data))
        obj["metadata"]["resourceVersion"] = self._version
        return obj

    def __getitem__(self, key: str) -> Any:
        return self.decode()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.decode())

    def __len__(self) -> int:
        return len(self.decode())

    def __eq__(self, other: object) -> bool:
        return self._data == other._data if isinstance(other, PackedJob) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._data)


class KeptVariables(Sequence[Variable]):
    """The environment of a packed job, decoded at each use: in memory it is in the packed job alone."""

    __slots__ = ("_packed",)

    def __init__(self, packed: PackedJob) -> None:
        self._packed = packed

    def _read(self) -> Sequence[Variable]:
        return read_stored(self._packed.decode()).job.environment

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> Variable: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Variable]: ...
    def __getitem__(self, index: int | slice) -> Variable | Sequence[Variable]:
        return self._read()[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._packed)


def unpack(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object as a dict, for a reader of several fields."""
    return obj.decode() if isinstance(obj, PackedJob) else obj


def read_kept(obj: Mapping[str, Any], whole: Mapping[str, Any]) -> Stored:
    """As `read_stored` of the unpacked job, without a copy of the environment."""
    stored = read_stored(whole)
    if not isinstance(obj, PackedJob) or not stored.job.environment:
        return stored
    return replace(stored, job=replace(stored.job, environment=KeptVariables(obj)))


def read_name(obj: Mapping[str, Any]) -> str:
    """The name of an object, without decoding it."""
    return obj.name if isinstance(obj, PackedJob) else str(obj["metadata"]["name"])


def read_nested_note(obj: Mapping[str, Any], key: str) -> str:
    """An annotation of a job with a cluster of its own, without decoding it; "" if it has none, or no such cluster."""
    notes = obj.nested if isinstance(obj, PackedJob) else obj["metadata"].get("annotations") or {}
    return str(notes.get(key) or "") if names.NESTED in notes else ""


def keep_pod(obj: Mapping[str, Any]) -> Object:
    """A pod: its place, its own containers' states, and why it waits or ended."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    labels = meta.get("labels") or {}
    container = find_container(spec)
    place = {
        "nodeName": _intern(spec.get("nodeName")),
        "containers": [_keep_container(container)] if container else [],
    }
    kept = {
        "phase": _intern(status.get("phase")),
        "reason": _intern(status.get("reason")),
        "message": status.get("message"),
        "hostIP": _intern(status.get("hostIP")),
        "hostIPs": [{"ip": _intern(each.get("ip"))} for each in status.get("hostIPs") or ()],
        "conditions": _keep_conditions(status.get("conditions"), _conditions_of_pod(status)),
        "containerStatuses": [_keep_state(each) for each in status.get("containerStatuses") or ()],
        "initContainerStatuses": [_keep_state(each) for each in status.get("initContainerStatuses") or ()],
    }
    return {
        "metadata": {
            **_keep_name(meta, is_small=True),
            "labels": {names.JOB_NAME_LABEL: _intern(labels.get(names.JOB_NAME_LABEL, ""))},
        },
        "spec": _without_empty(place),
        "status": _without_empty(kept),
    }


def _conditions_of_pod(status: Mapping[str, Any]) -> frozenset[str]:
    """Whether a node was found is asked for before there is one."""
    return frozenset({"DisruptionTarget", "PodScheduled"} if status.get("phase") == "Pending" else {"DisruptionTarget"})


def keep_service(obj: Mapping[str, Any]) -> Object:
    """A Service: the ports of the nodes."""
    ports = (obj.get("spec") or {}).get("ports") or ()
    kept = [
        {key: _intern(port[key]) for key in ("protocol", "targetPort", "nodePort") if key in port} for port in ports
    ]
    return {"metadata": _keep_name(obj["metadata"]), "spec": {"ports": kept}}


def _slim_job(obj: Mapping[str, Any]) -> Object:
    meta = obj["metadata"]
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    status = {"conditions": _keep_conditions((obj.get("status") or {}).get("conditions"), _CONDITIONS_OF_JOBS)}
    if names.NESTED in notes and names.NESTED_OVER not in notes:  # the Job inside is made from its whole spec
        whole = {**_keep_name(meta), "labels": labels, "annotations": notes}
        return {"metadata": whole, "spec": obj.get("spec") or {}, "status": status}
    spec = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    container = find_container(spec)
    variables = [
        {"name": each.get("name", ""), "value": str(each.get("value") or "")}
        for each in container.get("env") or ()
        if isinstance(each, dict) and "valueFrom" not in each
    ]
    kept = {"name": container.get("name", ""), "image": container.get("image", ""), "env": variables}
    return {
        "metadata": {
            **_keep_name(meta),
            "labels": {key: labels[key] for key in (names.LABEL, names.USER_LABEL) if key in labels},
            "annotations": {key: notes[key] for key in _NOTES if key in notes},
        },
        "spec": {"template": {"spec": {"containers": [_without_empty(kept)] if container else []}}},
        "status": status,
    }


def _keep_name(meta: Mapping[str, Any], *, is_small: bool = False) -> Object:
    kept = {"name": meta["name"], "creationTimestamp": _intern(meta.get("creationTimestamp", ""))}
    if not is_small:
        kept["uid"] = meta.get("uid", "")
    if "deletionTimestamp" in meta:
        kept["deletionTimestamp"] = meta["deletionTimestamp"]
    return kept


def _keep_container(container: Mapping[str, Any]) -> Object:
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    kept = {"name": _intern(container.get("name")), "image": _intern(container.get("image"))}
    if limit is not None:
        kept["resources"] = {"limits": {"memory": _intern(limit)}}
    if "postStart" in (container.get("lifecycle") or {}):
        kept["lifecycle"] = {"postStart": {}}
    return kept


def _keep_state(status: Mapping[str, Any]) -> Object:
    state = status.get("state") or {}
    kept = {_intern(kind): {key: _intern(value) for key, value in said.items()} for kind, said in state.items() if said}
    for said in kept.values():
        said.pop("containerID", None)
    return {
        "name": _intern(status.get("name")),
        "ready": status.get("ready"),
        "started": status.get("started"),
        "state": {**{kind: {} for kind in state if not state[kind]}, **kept},
    }


def _keep_conditions(conditions: Any, kinds: frozenset[str]) -> list[Object]:
    return [
        {key: _intern(each[key]) for key in _CONDITION if each.get(key) is not None}
        for each in conditions or ()
        if each.get("type") in kinds
    ]


def _without_empty(fields: Object) -> Object:
    return {key: value for key, value in fields.items() if value or (isinstance(value, int) and value is not None)}


_LONGEST_SHARED = 100  # characters; a longer text is hardly the same for two objects


def _intern(value: Any) -> Any:
    """One object for equal short texts of different objects."""
    return sys.intern(value) if type(value) is str and len(value) <= _LONGEST_SHARED else value


KEEP: Mapping[str, Callable[[Object], Mapping[str, Any]]] = {
    "jobs": PackedJob,
    "pods": keep_pod,
    "services": keep_service,
}
"""What is kept of the objects of a kind, by its plural."""
