"""The front ends of the HTTP APIs, with the probes that the kubelet calls without a prefix."""

from kns.api import jarvice, kns, upstream
from kns.http import probes
from kns.http.app import FrontEnd

SOCKETS_AT = f"{kns.CLUSTER_PREFIX}/"  # requests for a WebSocket


def list_front_ends(*, server_key: str | None) -> tuple[FrontEnd, ...]:
    """`server_key` is the `user:password` of an upstream JARVICE; without it the routes for upstream do not exist."""
    at_root = FrontEnd((probes.routes,))
    upstreams = () if server_key is None else (upstream.build_front_end(server_key),)
    return (jarvice.FRONT_END, kns.FRONT_END, kns.CLUSTERS, at_root, *upstreams)
