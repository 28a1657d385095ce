"""
The Service behind a job's Ingress or HTTPRoute. kns makes it; it selects the same pods as the app's target Service.

A route never uses the copy of the tenant's own Service. That one could name any host (ExternalName), have endpoints
that the tenant wrote, or have annotations for the ingress controller. kns's Service takes only its selector and where
its port leads.

The port always has the same neutral number and name, because ingress controllers draw conclusions from both: traefik
speaks TLS to a port 443 or a port whose name starts with `https`, whatever listens there (its `getProtocol`,
pkg/provider/kubernetes/ingress/kubernetes.go).
"""

from typing import Any

from kns.model import names
from kns.model.appdef.appdef import Target
from kns.model.job.location import Location
from kns.objects.drift import is_as_applied
from kns.objects.labels import build_meta

PORT = 80

_TCP = "TCP"
_PORT_NAME = "http"
_TLS_PORT = 443
_TLS_NAME = "https"
_TLS_PROTOCOLS = ("https", "kubernetes.io/wss", "tls")


def explain_unfit(target: Target, copy: dict[str, Any]) -> str | None:
    """Why nothing can route to this Service, as the end of a sentence; None if one can. `copy` is its host copy."""
    spec = copy.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return "is of type ExternalName, and the URL leads to pods of the job only"
    if not spec.get("selector"):
        return "has no selector, and the URL leads to pods of the job only"
    if _choose_port(target.service_port, spec) is None:
        found = ", ".join(str(port["port"]) for port in _tcp_ports(spec)) or "no TCP port at all"
        return f"has no TCP port {target.service_port} (it has {found})"
    return None


def explain_tls(target: Target, copy: dict[str, Any]) -> str | None:
    """Why the target probably speaks TLS, as the end of a sentence; None if nothing suggests it."""
    found = _choose_port(target.service_port, copy["spec"]) or {}
    name, protocol = str(found.get("name") or ""), str(found.get("appProtocol") or "")
    if protocol.lower() in _TLS_PROTOCOLS:
        return f"has appProtocol {protocol}"
    if found.get("port") == _TLS_PORT or name.startswith(_TLS_NAME):
        return f"has port {name or found['port']}"
    return None


def build_target_service(location: Location, target: Target, copy: dict[str, Any]) -> dict[str, Any]:
    """
    kns's Service for a copy that `explain_unfit` accepts. Its port number never changes, so routes never change either.

    `appProtocol` is copied: with it the author states the protocol, for example `kubernetes.io/h2c`, and nobody has to
    guess. vcluster's two labels in the selector restrict it to the tenant's pods in the target's namespace.
    """
    spec = copy["spec"]
    found = _choose_port(target.service_port, spec) or {}
    port = {
        "name": _PORT_NAME,
        "port": PORT,
        "protocol": _TCP,
        "targetPort": found.get("targetPort", found.get("port")),
        **({"appProtocol": found["appProtocol"]} if found.get("appProtocol") else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_meta(names.TARGET, location),
        "spec": {
            # The defaults are stated, so that a change of them by hand is noticed and put back.
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "publishNotReadyAddresses": bool(spec.get("publishNotReadyAddresses")),
            "selector": select_target_pods(location, target, copy),
            "ports": [port],
        },
    }


def select_target_pods(location: Location, target: Target, copy: dict[str, Any]) -> dict[str, str]:
    """The labels of the pods behind the target."""
    mark = {names.SYNCED_LABEL: location.vcluster, names.SYNCED_NAMESPACE_LABEL: target.service_namespace}
    return {**copy["spec"]["selector"], **mark}


def is_target_service(found: dict[str, Any] | None, stamped: dict[str, Any]) -> bool:
    """Whether the host's object still is kns's Service as applied. Further keys of the selector lead elsewhere."""
    if found is None or found["spec"].get("selector") != stamped["spec"]["selector"]:
        return False
    return is_as_applied(found, stamped) and not blocks_apply(found)


def blocks_apply(found: dict[str, Any]) -> bool:
    """
    Whether the Service must be deleted before it is applied, because an apply keeps what somebody else added: the name
    of another host, or a port, and the API server refuses two ports with the same name.
    """
    ports = found["spec"].get("ports") or ()
    return "externalName" in found["spec"] or any(
        port.get("name") == _PORT_NAME and port["port"] != PORT for port in ports
    )


def build_empty_target(location: Location) -> dict[str, Any]:
    """
    kns's Service before the target exists: it selects no pod, so nothing is behind it. A route to a Service that does
    not exist is an error for some controllers, and they look again only after a delay.
    """
    port = {"name": _PORT_NAME, "port": PORT, "protocol": _TCP, "targetPort": PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_meta(names.TARGET, location),
        "spec": {"ports": [port]},
    }


def _choose_port(number: int, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The TCP port with this number, else the Service's only TCP port: its number may differ from the AppDef's."""
    ports = _tcp_ports(spec)
    exact = [port for port in ports if port["port"] == number]
    chosen = exact or (ports if len(ports) == 1 else [])
    return chosen[0] if chosen else None


def _tcp_ports(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [port for port in spec.get("ports") or () if port.get("protocol", _TCP) == _TCP]
