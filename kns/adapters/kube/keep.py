"""
What is kept in memory of an object on the host: the fields that kns reads.

Copies have what a tenant wrote: a claim's labels, annotations and selector alone may have 1 MiB. kns's own pods repeat
the template that made them. Both would fill the memory of every replica.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kns.adapters.kube.kinds import KINDS
from kns.ports import Kind, Object

_LIFE = ("namespace", "name", "uid", "creationTimestamp", "deletionTimestamp")
_IDENTITY = (*_LIFE, "resourceVersion")


def choose_keeper(kind: Kind) -> Callable[[Object], Object]:
    """The conversion of each object of this kind for its cache."""
    if kind is Kind.PERSISTENT_VOLUME_CLAIM:
        return _keep_claim
    if kind is Kind.POD:
        return _keep_pod
    if KINDS[kind].copies:
        raise AssertionError(f"{kind}: what a tenant wrote must not be kept whole")
    return _keep_own


def _keep_own(obj: Object) -> Object:
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": meta}


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
