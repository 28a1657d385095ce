"""
The Service behind a job's Ingress: one of ours that selects the tenant's pods as the target Service does.

The tenant's own Service, which vcluster copies to the host as it is, is never the backend. It may name a host of
anywhere (ExternalName), have endpoints that the tenant wrote, or carry annotations that an ingress controller obeys;
ours has the selector, the port, and nothing else of it.
"""

from typing import Any

from kns.model import names
from kns.model.appdef.appdef import Target
from kns.objects.labels import build_meta

_TCP = "TCP"
_PORT_KEYS = ("name", "appProtocol")


def find_fault(target: Target, copy: dict[str, Any]) -> str | None:
    """Why no Ingress can lead to this Service (the host's copy of it), as the end of a sentence; None if one can."""
    spec = copy.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return "is of type ExternalName, and the Ingress leads to pods of the job only"
    if not spec.get("selector"):
        return "has no selector, and the Ingress leads to pods of the job only"
    if _choose_port(target.service_port, spec) is None:
        found = ", ".join(str(port["port"]) for port in _tcp_ports(spec)) or "no TCP port at all"
        return f"has no TCP port {target.service_port} (it has {found})"
    return None


def build_target_service(number: int, target: Target, copy: dict[str, Any]) -> dict[str, Any]:
    """
    For a copy without fault. The port keeps the AppDef's number, so the Ingress never changes.

    The two labels of vcluster's make sure that only pods of the tenant's, and of that namespace, are selected.
    """
    spec = copy["spec"]
    found = _choose_port(target.service_port, spec) or {}
    port = {
        "port": target.service_port,
        "protocol": _TCP,
        "targetPort": found.get("targetPort", found.get("port")),
        **{key: found[key] for key in _PORT_KEYS if found.get(key)},
    }
    vcluster = names.job_object_name(number)
    mark = {names.SYNCED_LABEL: vcluster, names.SYNCED_NAMESPACE_LABEL: target.service_namespace}
    unready = {"publishNotReadyAddresses": True} if spec.get("publishNotReadyAddresses") else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_meta(names.TARGET, number),
        "spec": {"selector": {**spec["selector"], **mark}, "ports": [port], **unready},
    }


def _choose_port(number: int, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The port of that number; a Service whose only port has another number has changed it, or is written amiss."""
    ports = _tcp_ports(spec)
    exact = [port for port in ports if port["port"] == number]
    chosen = exact or (ports if len(ports) == 1 else [])
    return chosen[0] if chosen else None


def _tcp_ports(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [port for port in spec.get("ports") or () if port.get("protocol", _TCP) == _TCP]
