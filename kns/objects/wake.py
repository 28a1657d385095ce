"""
What leads to kns's own HTTP servers while a job is asleep: a Service without a selector, and its EndpointSlice.

It is a Service of its own, and not `kns-target` without its selector. When a Service loses its selector, Kubernetes
leaves its endpoints as they were, and even copies the old ones into new EndpointSlices: the route would go on to the
addresses of the job's former pods, which another job's pods may have by then.
"""

from collections.abc import Sequence
from typing import Any

from kns.model import names
from kns.model.job.location import Location
from kns.objects.labels import build_meta
from kns.objects.target import PORT

_PORT_NAME = "http"


def build_wake_service(location: Location) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_meta(names.WAKE, location),
        "spec": {
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ports": [{"name": _PORT_NAME, "port": PORT, "protocol": "TCP", "targetPort": PORT}],
        },
    }


def build_wake_slice(location: Location, addresses: Sequence[str], port: int) -> dict[str, Any]:
    """`addresses` are those of kns's pods, of one IP family; `port` is that of kns's HTTP API."""
    meta = build_meta(names.WAKE, location)
    is_v6 = any(":" in address for address in addresses)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            **meta,
            "labels": {
                **meta["labels"],
                names.SERVICE_NAME_LABEL: names.WAKE,
                names.SLICE_MANAGER_LABEL: "kns",  # so that no controller of Kubernetes takes it for its own
            },
        },
        "addressType": "IPv6" if is_v6 else "IPv4",
        "ports": [{"name": _PORT_NAME, "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


def is_wake_slice(found: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """Whether the host's EndpointSlice leads to exactly the same pods."""
    if found is None:
        return False
    labels = found["metadata"].get("labels") or {}
    parts = ("addressType", "ports", "endpoints")
    return labels.items() >= wanted["metadata"]["labels"].items() and all(
        _strip(found.get(part)) == wanted[part] for part in parts
    )


def _strip(part: Any) -> Any:
    """Without null values, which the API server may add."""
    if isinstance(part, dict):
        return {key: _strip(value) for key, value in part.items() if value is not None}
    return [_strip(each) for each in part] if isinstance(part, list) else part
