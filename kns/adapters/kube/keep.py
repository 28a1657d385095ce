"""
What is kept in memory of an object on the host: the fields that kns reads.

Copies have what a tenant wrote: a claim's labels, annotations and selector alone may have 1 MiB. kns's own pods repeat
the template that made them. Both would fill the memory of every replica.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kns.model import names
from kns.ports import Kind, Object

_LIFE = ("namespace", "name", "uid", "creationTimestamp", "deletionTimestamp")
_IDENTITY = (*_LIFE, "resourceVersion")
_SERVICE = ("type", "selector", "ports", "publishNotReadyAddresses")  # what `kns.objects.target` reads
# What kns reads of a usual Service has 300 bytes. A job may have 500 Services, which then need a MiB of memory.
_MOST_SERVICE_BYTES = 1024
_PACKED = "packedSpec"


def choose_keeper(kind: Kind) -> Callable[[Object], Object]:
    """The conversion of each of kns's own objects of this kind for their cache."""
    return {Kind.POD: _keep_pod, Kind.SERVICE: _keep_own_service}.get(kind, _keep_own)


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
    return {**obj, "metadata": meta}


def _keep_own_service(service: Object) -> Object:
    """Stages read `kns-target` only. Each job has more Services, of its control plane and its web shell."""
    is_read = service["metadata"]["name"] == names.TARGET
    return _keep_own(service) if is_read else {"metadata": _pick(service["metadata"], _IDENTITY)}


def _keep_claim(claim: Object) -> Object:
    """
    What a volume for the claim is made from (`kns.objects.vault`). Without its version, so that a change of the rest
    changes nothing in the cache.
    """
    spec = _pick(claim.get("spec"), ("storageClassName", "volumeName", "accessModes"))
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


def _keep_pod(pod: Object) -> Object:
    """Why the pod does not start (`kns.stages.pods`), and when it ended or will end."""
    return {
        "metadata": _pick(pod["metadata"], (*_IDENTITY, "deletionGracePeriodSeconds", "labels", "ownerReferences")),
        "spec": _pick(pod.get("spec"), ("nodeName",)),
        "status": dict(pod.get("status") or {}),
    }


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
