"""The front end's routes, and their OpenAPI document at `openapi.json`."""

from functools import cache
from typing import Any

from kns.api.kns import jobs, shapes
from kns.api.kns.errors import ERRORS
from kns.http.app import FrontEnd
from kns.http.auth import SECURITY_SCHEMES
from kns.http.openapi import Part, add_document_route, build_document
from kns.http.routes import Routes

PREFIX = "/kns"

_ABOUT = (
    "What kns's own clients need beyond the public API below /jarvice. Credentials, parameters and the form of answers "
    "and errors are the same. A job of somebody else is refused like an unknown one."
)

routes = Routes(ERRORS)

FRONT_END = FrontEnd((jobs.routes, routes), prefix=PREFIX)


@cache
def describe_api() -> dict[str, Any]:
    """The document with an empty version; the route fills in the version of kns."""
    return build_document(
        title="kns, for its own clients",
        about=_ABOUT,
        parts=(Part(FRONT_END.routes, path=f"{PREFIX}/"),),
        schemas=shapes.SCHEMAS,
        security_schemes=SECURITY_SCHEMES,
    )


add_document_route(routes, describe_api)
