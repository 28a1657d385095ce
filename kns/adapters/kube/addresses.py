"""The addresses at which an Ingress or an HTTPRoute exposes a job: pairs of host and path."""

from collections.abc import Callable, Mapping

from kns.ports import Kind, Object


def _read_ingress(ingress: Object) -> set[tuple[str, str]]:
    """The host and the path of every rule."""
    return {
        (rule.get("host", ""), path.get("path", ""))
        for rule in (ingress.get("spec") or {}).get("rules") or ()
        for path in (rule.get("http") or {}).get("paths") or ()
    }


def _read_http_route(route: Object) -> set[tuple[str, str]]:
    """The path of every match, for every host."""
    spec = route.get("spec") or {}
    return {
        (host, (match.get("path") or {}).get("value", ""))
        for host in spec.get("hostnames") or ()
        for rule in spec.get("rules") or ()
        for match in rule.get("matches") or ()
    }


READ_ADDRESSES: Mapping[Kind, Callable[[Object], set[tuple[str, str]]]] = {
    Kind.INGRESS: _read_ingress,
    Kind.HTTP_ROUTE: _read_http_route,
}
