"""
Assemble the HTTP application from front ends.

It never redirects, because clients do not follow, and it generates no documentation: `openapi` builds that from the
declared routes. Whoever serves the application must turn off the server's own access log, which prints queries.

Routes that need only memory (authentication, parameters, looking a job up, the status that clients poll) are
`async def` and run on the event loop. Routes that may wait for Kubernetes, or build long lists, are `def` and run in a
thread. For a poll the thread would cost more than the answer, because on a busy node each hand-over waits for the
processor twice.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from kns.http.errors import ErrorRenderer, add_error_handlers
from kns.http.middleware import BodyReader, Observer
from kns.http.routes import Routes
from kns.service.ports import ServicePorts


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """
    Routes below a prefix. `dependencies` (of FastAPI) run before those of each route.

    `render_error` gives the errors below the prefix another form than JSON, those of unknown routes as well. `state`
    has values that the routes find in `app.state`. `relays`: the routes pass requests and answers of any method on, so
    bodies of all methods are read, and an answer may last for hours.
    """

    routes: tuple[Routes, ...]
    prefix: str = ""
    dependencies: tuple[Any, ...] = ()
    render_error: ErrorRenderer | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    relays: bool = False


def build_app(ports: ServicePorts, front_ends: Sequence[FrontEnd], *, version: str) -> FastAPI:
    """`version` is that of kns."""
    app = FastAPI(
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_close_at_end,
    )
    app.state.ports = ports
    for front_end in front_ends:
        for name, value in front_end.state.items():
            setattr(app.state, name, value)
    app.state.error_renderers = {each.prefix: each.render_error for each in front_ends if each.render_error}
    groups = [(front_end, routes) for front_end in front_ends for routes in front_end.routes]
    for front_end, routes in groups:
        app.include_router(routes.router, prefix=front_end.prefix, dependencies=front_end.dependencies)
    add_error_handlers(app, {endpoint: table for _, routes in groups for endpoint, table in routes.tables.items()})
    relays = tuple(f"{each.prefix}/" for each in front_ends if each.relays)
    app.add_middleware(BodyReader, relays=relays)
    paths = {endpoint: path for front_end, routes in groups for endpoint, path in routes.list_paths(front_end.prefix)}
    known = (path for front_end, routes in groups for _, path in routes.list_paths(front_end.prefix))
    # Added last, so it is the outermost.
    app.add_middleware(Observer, routes=frozenset(known), templates=paths, relays=relays)
    return app


@asynccontextmanager
async def _close_at_end(app: FastAPI) -> AsyncIterator[None]:
    yield
    ports: ServicePorts = app.state.ports
    if ports.clusters is not None:
        await ports.clusters.clusters.close()
