"""The HTTP application with both APIs."""

from fastapi import FastAPI

from kns.api import jarvice, upstream
from kns.http import probes
from kns.http.app import FrontEnd, build_app
from kns.service.ports import ServicePorts


def build_api(ports: ServicePorts, *, version: str, server_key: str | None = None) -> FastAPI:
    """
    `version` is that of kns. `server_key` is the `user:password` of an upstream JARVICE; without it the routes for
    upstream do not exist.
    """
    at_root = FrontEnd((probes.routes,))  # the kubelet probes without a prefix
    upstreams = () if server_key is None else (upstream.build_front_end(server_key),)
    return build_app(ports, (jarvice.FRONT_END, at_root, *upstreams), version=version)
