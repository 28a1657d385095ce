"""
The HTTPRoutes of a job (Gateway API), for a site with a Gateway instead of an ingress controller.

The Gateway belongs to the site: its listeners have the certificates, and decide which namespaces and hosts they admit.
So a route has no TLS settings. Its status says whether the Gateway serves it, and each controller that claims the
Gateway writes one entry there (https://gateway-api.sigs.k8s.io/reference/spec/, RouteParentStatus).
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from kns.model import names
from kns.model.job.location import Location
from kns.model.site import GatewayRef, JobAddress
from kns.objects.ingress import OWN_SERVICES, SHELL_PORT, change_spec
from kns.objects.labels import build_meta

API_GROUP = "gateway.networking.k8s.io"
_API_VERSION = f"{API_GROUP}/v1"
_MUST_BE_TRUE = ("Accepted", "ResolvedRefs")


def build_http_route(
    location: Location, *, name: str, address: JobAddress, service: str, port: int, gateway: GatewayRef
) -> dict[str, Any]:
    """
    Route `address` to `port` of `service` through the site's Gateway. The path is not stripped.
    """
    parent = {"group": API_GROUP, "kind": "Gateway", "namespace": gateway.namespace, "name": gateway.name}
    if gateway.listener:
        parent["sectionName"] = gateway.listener
    match = {"path": {"type": "PathPrefix", "value": address.path}}
    return {
        "apiVersion": _API_VERSION,
        "kind": "HTTPRoute",
        "metadata": build_meta(name, location),
        "spec": {
            "parentRefs": [parent],
            "hostnames": [address.host],
            "rules": [{"matches": [match], "backendRefs": [{"name": service, "port": port}]}],
        },
    }


def build_shell_route(
    location: Location, *, address: JobAddress, gateway: GatewayRef, service: str = names.SHELL
) -> dict[str, Any]:
    """
    Route the web shell's address. It is a route of its own, because the shell's Service is made after the job is
    exposed: in the job's route a Service that does not exist yet would make `ResolvedRefs` False.
    """
    return build_http_route(
        location, name=names.SHELL, address=address, service=service, port=SHELL_PORT, gateway=gateway
    )


def lead_route(found: Mapping[str, Any], *, service: str) -> dict[str, Any] | None:
    """
    `found`, an HTTPRoute of a job as the host has it, with another Service of kns behind it. All else stays; applied,
    it belongs to kns from then on. None if it leads to this Service already.
    """
    spec = copy.deepcopy(found["spec"])
    for rule in spec.get("rules") or ():
        for behind in rule.get("backendRefs") or ():
            if behind.get("name") in OWN_SERVICES:
                behind["name"] = service
    return change_spec(found, spec, api_version=_API_VERSION, kind="HTTPRoute")


def is_answered(route: Mapping[str, Any], gateway: GatewayRef) -> bool:
    """Whether a controller has judged this generation of the route for the Gateway."""
    return bool(_find_verdicts(route, gateway))


def explain_refusal(route: Mapping[str, Any], gateway: GatewayRef) -> str | None:
    """Why the Gateway does not serve a route that `is_answered`; None if it does."""
    verdicts = _find_verdicts(route, gateway)
    if any(all(_is_true(verdict.get(kind)) for kind in _MUST_BE_TRUE) for verdict in verdicts):
        return None
    refusals = (verdict.get(kind) for verdict in verdicts for kind in _MUST_BE_TRUE if not _is_true(verdict.get(kind)))
    return _translate(next(refusals, None), route, gateway)


def explain_silence(found: Mapping[str, Any] | None, gateway: GatewayRef) -> str:
    """Why no controller has judged a route for the Gateway. `found` is the Gateway on the host; None if absent."""
    if found is None:
        return f"the host cluster has no Gateway {gateway.namespace}/{gateway.name}"
    listeners = [str(listener.get("name")) for listener in found["spec"].get("listeners") or ()]
    if gateway.listener and gateway.listener not in listeners:
        have = ", ".join(listeners)
        return f"Gateway {gateway.namespace}/{gateway.name} has no listener {gateway.listener} (it has {have})"
    conditions = (found.get("status") or {}).get("conditions") or ()
    for condition in conditions:
        if condition["type"] in ("Accepted", "Programmed") and condition["status"] == "False":
            said = f"{condition['reason']} {condition.get('message', '')}".strip()
            return f"Gateway {gateway.namespace}/{gateway.name} is not {condition['type']}: {said}"
    class_name = found["spec"].get("gatewayClassName")
    return f"no controller of GatewayClass {class_name} has answered for Gateway {gateway} yet"


def _find_verdicts(route: Mapping[str, Any], gateway: GatewayRef) -> list[dict[str, Any]]:
    """The conditions, by type, of every controller that has judged this generation of the route for the Gateway."""
    found = []
    for parent in (route.get("status") or {}).get("parents") or ():
        if _is_for(parent["parentRef"], route, gateway):
            conditions = {each["type"]: each for each in _list_current(parent, route)}
            if "Accepted" in conditions:
                found.append(conditions)
    return found


def _list_current(parent: Mapping[str, Any], route: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    generation = route["metadata"].get("generation", 0)
    for condition in parent.get("conditions") or ():
        if condition.get("observedGeneration", generation) >= generation:
            yield condition


def _is_for(ref: Mapping[str, Any], route: Mapping[str, Any], gateway: GatewayRef) -> bool:
    namespace = ref.get("namespace", route["metadata"].get("namespace"))
    return (namespace, ref["name"], ref.get("sectionName")) == (gateway.namespace, gateway.name, gateway.listener)


def _is_true(condition: Mapping[str, Any] | None) -> bool:
    return condition is not None and condition["status"] == "True"


def _translate(condition: Mapping[str, Any] | None, route: Mapping[str, Any], gateway: GatewayRef) -> str:
    """The standard's reasons in words that say what to change."""
    if condition is None:
        return f"Gateway {gateway} has not said whether it serves the route"
    reason, host = condition.get("reason", ""), ", ".join(route["spec"].get("hostnames") or ())
    texts = {
        "NotAllowedByListeners": f"no listener of Gateway {gateway} admits routes of namespace "
        f"{route['metadata'].get('namespace')}; admit namespaces with the label {names.JOB_LABEL} in its allowedRoutes",
        "NoMatchingListenerHostname": f"no listener of Gateway {gateway} admits the host {host}; change its hostname",
        "NoMatchingParent": f"Gateway {gateway} has no listener for the route, or that listener is not ready",
    }
    said = f"{reason} {condition.get('message', '')}".strip()
    return texts.get(reason, f"Gateway {gateway} does not serve the route: {condition['type']} is False, {said}")
