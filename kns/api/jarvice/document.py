"""The front end's routes, and their OpenAPI document at `openapi.json`."""

from functools import cache
from typing import Any

from kns.api.jarvice import catalog, catalog_shapes, jobs, shapes, submit, team
from kns.api.jarvice.errors import ERRORS
from kns.http import probes
from kns.http.app import FrontEnd
from kns.http.auth import SECURITY_SCHEMES
from kns.http.openapi import Part, add_document_route, build_document
from kns.http.routes import Routes

PREFIX = "/jarvice"

_ABOUT = (
    "Parameters of a GET are in the query; those of a POST in the query, a form or a JSON object, and the query wins. "
    "A JSON body is read as JSON whatever its Content-Type says. Success is 200 and nothing else; an error is an "
    "object with the one key `error`. A job of somebody else is refused like an unknown one."
)

routes = Routes(ERRORS)

FRONT_END = FrontEnd(
    (jobs.routes, submit.routes, team.routes, catalog.routes, probes.routes, routes),
    prefix=PREFIX,
)


@cache
def describe_api() -> dict[str, Any]:
    """The document with an empty version; the route fills in the version of kns."""
    return build_document(
        title="kns",
        about=_ABOUT,
        parts=(Part(FRONT_END.routes, path=f"{PREFIX}/"), Part((probes.routes,), operation_prefix="root_")),
        schemas={**shapes.SCHEMAS, **catalog_shapes.SCHEMAS, **submit.SCHEMAS, **team.SCHEMAS, **catalog.SCHEMAS},
        security_schemes=SECURITY_SCHEMES,
    )


add_document_route(routes, describe_api)
