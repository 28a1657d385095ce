"""
Assemble the HTTP application from front ends.

It never redirects, because clients do not follow, and it generates no documentation: `openapi` builds that from the
declared routes. Whoever serves the application must turn off the server's own access log, which prints queries.

Routes that need only memory (authentication, parameters, looking a job up, the status that clients poll) are
`async def` and run on the event loop. Routes that may wait for Kubernetes, or build long lists, are `def` and run in a
thread. For a poll the thread would cost more than the answer, because on a busy node each hand-over waits for the
processor twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from kns.http.errors import add_error_handlers
from kns.http.middleware import BodyReader, Observer
from kns.http.routes import Routes
from kns.service.ports import ServicePorts


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """Routes below a prefix. `dependencies` (of FastAPI) run before those of each route."""

    routes: tuple[Routes, ...]
    prefix: str = ""
    dependencies: tuple[Any, ...] = ()


def build_app(ports: ServicePorts, front_ends: Sequence[FrontEnd], *, version: str) -> FastAPI:
    """`version` is that of kns."""
    app = FastAPI(version=version, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.ports = ports
    groups = [(front_end, routes) for front_end in front_ends for routes in front_end.routes]
    for front_end, routes in groups:
        app.include_router(routes.router, prefix=front_end.prefix, dependencies=front_end.dependencies)
    add_error_handlers(app, {endpoint: table for _, routes in groups for endpoint, table in routes.tables.items()})
    app.add_middleware(BodyReader)
    paths = (f"{front_end.prefix}/{each.route.path}" for front_end, routes in groups for each in routes.declared)
    app.add_middleware(Observer, routes=frozenset(paths))  # added last, so it is the outermost
    return app
