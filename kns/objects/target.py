"""
The Service behind a job's Ingress. kns makes it; it selects the same pods as the app's target Service.

The Ingress never uses the copy of the tenant's own Service. That one could name any host (ExternalName), have endpoints
that the tenant wrote, or have annotations for the ingress controller. kns's Service takes only its selector and port.
"""

from typing import Any

from kns.model import names
from kns.model.appdef.appdef import Target
from kns.model.job.location import Location
from kns.objects.labels import build_meta

_TCP = "TCP"
_PORT_KEYS = ("name", "appProtocol")


def explain_unfit(target: Target, copy: dict[str, Any]) -> str | None:
    """Why no Ingress can route to this Service, as the end of a sentence; None if one can. `copy` is its host copy."""
    spec = copy.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return "is of type ExternalName, and the Ingress routes to pods of the job only"
    if not spec.get("selector"):
        return "has no selector, and the Ingress routes to pods of the job only"
    if _choose_port(target.service_port, spec) is None:
        found = ", ".join(str(port["port"]) for port in _tcp_ports(spec)) or "no TCP port at all"
        return f"has no TCP port {target.service_port} (it has {found})"
    return None


def build_target_service(location: Location, target: Target, copy: dict[str, Any]) -> dict[str, Any]:
    """
    kns's Service for a copy that `explain_unfit` accepts. Its port has the AppDef's number, so the Ingress never
    changes.

    vcluster's two labels in the selector restrict it to the tenant's pods in the target's namespace.
    """
    spec = copy["spec"]
    found = _choose_port(target.service_port, spec) or {}
    port = {
        "port": target.service_port,
        "protocol": _TCP,
        "targetPort": found.get("targetPort", found.get("port")),
        **{key: found[key] for key in _PORT_KEYS if found.get(key)},
    }
    mark = {names.SYNCED_LABEL: location.vcluster, names.SYNCED_NAMESPACE_LABEL: target.service_namespace}
    unready = {"publishNotReadyAddresses": True} if spec.get("publishNotReadyAddresses") else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_meta(names.TARGET, location),
        "spec": {"selector": {**spec["selector"], **mark}, "ports": [port], **unready},
    }


def _choose_port(number: int, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The TCP port with this number, else the Service's only TCP port: its number may differ from the AppDef's."""
    ports = _tcp_ports(spec)
    exact = [port for port in ports if port["port"] == number]
    chosen = exact or (ports if len(ports) == 1 else [])
    return chosen[0] if chosen else None


def _tcp_ports(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [port for port in spec.get("ports") or () if port.get("protocol", _TCP) == _TCP]
