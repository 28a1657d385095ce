"""
What is kept in memory of an object on the host: the fields that kns reads.

Copies have what a tenant wrote: a claim's labels, annotations and selector alone may have 1 MiB. kns's own workloads
and pods are mostly the template that made them. Both would fill the memory of every replica.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kns.model import names
from kns.ports import Kind, Object

_LIFE = ("namespace", "name", "uid", "creationTimestamp", "deletionTimestamp")
_IDENTITY = (*_LIFE, "resourceVersion")
_CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
_OF_WORKLOADS = frozenset({"ReplicaFailure", "Complete", "Failed"})  # the conditions that stages read
_SERVICE = ("type", "selector", "ports", "publishNotReadyAddresses")  # what `kns.objects.target` reads
# What kns reads of a usual Service has 300 bytes. A job may have 500 Services, which then need a MiB of memory.
_MOST_SERVICE_BYTES = 1024
_LONGEST_NAME = 253  # of an object of Kubernetes, so a name that is cut is that of no volume of kns
_PACKED = "packedSpec"


def choose_keeper(kind: Kind) -> Callable[[Object], Object]:
    """The conversion of each of kns's own objects of this kind for their cache."""
    return _KEEPERS.get(kind, _keep_own)


def choose_copy_keeper(kind: Kind) -> Callable[[Object], Object]:
    """The conversion of each copy of a tenant's object. What a tenant wrote must not be kept whole."""
    return {Kind.PERSISTENT_VOLUME_CLAIM: _keep_claim, Kind.SERVICE: _keep_service}[kind]


def show_copy(kept: Object) -> Object:
    """A kept copy as stages see it. A Service whose spec is too large to be kept has no spec."""
    if _PACKED not in kept:
        return kept
    shown = {key: value for key, value in kept.items() if key != _PACKED}
    return {**shown, "spec": json.loads(kept[_PACKED])} if kept[_PACKED] else shown


def _keep_own(obj: Object) -> Object:
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    shared: Object = _share_keys({**obj, "metadata": meta})
    return shared


def _keep_own_service(service: Object) -> Object:
    """Stages read all of `kns-target`, and the address of the control plane's Service. Each job may have more."""
    if service["metadata"]["name"] == names.TARGET:
        return _keep_own(service)
    return {"metadata": _pick(service["metadata"], _IDENTITY), "spec": _pick(service.get("spec"), ("clusterIP",))}


def _keep_claim(claim: Object) -> Object:
    """
    What a volume for the claim is made from (`kns.objects.vault`). Without its version, so that a change of the rest
    changes nothing in the cache. The host admits a volume's name of any length, and modes that repeat.
    """
    spec = _pick(claim.get("spec"), ("storageClassName", "volumeName", "accessModes"))
    if spec.get("volumeName"):
        spec["volumeName"] = spec["volumeName"][:_LONGEST_NAME]
    if spec.get("accessModes"):
        spec["accessModes"] = list(dict.fromkeys(spec["accessModes"]))
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests")
    return {
        "metadata": _pick(claim["metadata"], _LIFE),
        "spec": {**spec, "resources": {"requests": _pick(requests, ("storage",))}},
        "status": _pick(claim.get("status"), ("phase",)),
    }


def _keep_service(service: Object) -> Object:
    """
    Where the Service leads. As a text, because parsed it needs ten times the memory, and without its version, as above.
    """
    packed = json.dumps(_pick(service.get("spec"), _SERVICE), separators=(",", ":"))
    kept = {"metadata": _pick(service["metadata"], ("namespace", "name", "uid", "deletionTimestamp"))}
    return {**kept, _PACKED: packed if len(packed) <= _MOST_SERVICE_BYTES else ""}


def _keep_workload(workload: Object) -> Object:
    """Whether it has its pods or has ended. Nothing else is read."""
    status = workload.get("status") or {}
    found = [each for each in status.get("conditions") or () if each.get("type") in _OF_WORKLOADS]
    return {
        "metadata": _keep_identity(workload, (*_LIFE, "generation")),
        "spec": _pick(workload.get("spec"), ("replicas",)),
        "status": {
            **_pick(status, ("replicas", "readyReplicas", "observedGeneration")),
            "conditions": _keep_conditions(found),
        },
    }


def _keep_pod(pod: Object) -> Object:
    """Why the pod does not start (`kns.stages.pods`), and how its containers ended."""
    status = pod.get("status") or {}
    return {
        "metadata": _keep_identity(pod, _LIFE),
        "status": {
            "conditions": _keep_conditions(status.get("conditions") or ()),
            "initContainerStatuses": _keep_containers(status.get("initContainerStatuses") or ()),
            "containerStatuses": _keep_containers(status.get("containerStatuses") or ()),
        },
    }


def _keep_identity(obj: Object, keys: Sequence[str]) -> dict[str, Any]:
    labels = obj["metadata"].get("labels") or {}
    return {**_pick(obj["metadata"], keys), "labels": {sys.intern(key): value for key, value in labels.items()}}


def _keep_conditions(conditions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each line of a watch has texts of its own, so equal short ones become one object."""
    return [
        _pick(each, _CONDITION) | {key: sys.intern(each[key]) for key in ("type", "status", "reason") if each.get(key)}
        for each in conditions
    ]


def _keep_containers(containers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [_pick(each, ("name", "state", "lastState")) | {"name": sys.intern(each["name"])} for each in containers]


def _share_keys(value: Any) -> Any:
    """The same with keys that all objects share: each line of a watch has keys of its own."""
    if isinstance(value, dict):
        return {sys.intern(key): _share_keys(each) for key, each in value.items()}
    return [_share_keys(each) for each in value] if isinstance(value, list) else value


def keep_event(event: Object) -> Object:
    """When something happened, to what and why, without the other metadata."""
    keys = ("type", "reason", "message", "count", "series", "firstTimestamp", "lastTimestamp", "eventTime")
    return {
        "metadata": _pick(event["metadata"], _IDENTITY),
        "involvedObject": _pick(event.get("involvedObject"), ("kind", "name", "uid")),
        **_pick(event, keys),
    }


def _pick(part: Any, keys: Sequence[str]) -> dict[str, Any]:
    return {key: part[key] for key in keys if key in part} if isinstance(part, Mapping) else {}


_KEEPERS: Mapping[Kind, Callable[[Object], Object]] = {
    Kind.POD: _keep_pod,
    Kind.SERVICE: _keep_own_service,
    Kind.DEPLOYMENT: _keep_workload,
    Kind.STATEFUL_SET: _keep_workload,
    Kind.JOB: _keep_workload,
}
