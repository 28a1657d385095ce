"""
The HTTP application: routes, handlers and middleware put together.

Never a redirect and no generated documentation: success is 200 and nothing else, clients do not follow, and routes that
take raw requests have nothing to generate from (`openapi` is written by hand). Whoever serves the application turns the
server's own access log off, since that one prints queries.

What a request needs from memory alone (who calls, parameters, which job, the status that clients poll) is `async def`
and runs on the event loop; what may wait for Kubernetes, or makes long lists, is `def` and gets a thread. For a poll
the thread costs more than the answer: on a busy node each hand-over waits for the processor twice.
"""

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI

from kns.api import catalog, insight, jobs, openapi, probes, submit, team, upstream, upstream_args
from kns.api.errors import add_handlers
from kns.api.middleware import BodyReader, Observer
from kns.api.ports import ApiPorts

__all__ = ["PREFIX", "ApiPorts", "build_app"]

PREFIX = "/jarvice"


def build_app(ports: ApiPorts) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.ports = ports
    public: tuple[APIRouter, ...] = (
        submit.router,
        jobs.router,
        insight.router,
        team.router,
        catalog.router,
        openapi.router,
        probes.router,
    )
    for router in public:
        app.include_router(router, prefix=PREFIX)
    roots = [probes.router]  # the kubelet asks without the prefix
    if ports.server_key is not None:
        roots.append(upstream.router)
        app.add_exception_handler(upstream_args.WrongKeyError, upstream_args.ask_for_key)
    for router in roots:
        app.include_router(router)
    add_handlers(app)
    app.add_middleware(BodyReader)
    app.add_middleware(Observer, routes=_list_paths(public, roots))  # added last: the outermost
    return app


def _list_paths(public: Iterable[APIRouter], roots: Iterable[APIRouter]) -> frozenset[str]:
    """Every route's path: the closed set that the metric's label is taken from."""
    below = {PREFIX + str(getattr(route, "path", "")) for router in public for route in router.routes}
    return frozenset(below | {str(getattr(route, "path", "")) for router in roots for route in router.routes})
