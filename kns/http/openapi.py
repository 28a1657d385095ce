"""
Build an OpenAPI document from declared routes.

The routes read raw requests, so the framework's own generator has nothing to describe.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from kns.http.answers import JSON, JsonAnswer
from kns.http.errors import BAD_REQUEST, INTERNAL, NOT_READY, TOO_LARGE, TOO_LATE, ErrorResponse, Explained
from kns.http.routes import GET, Declared, Parameter, Route, Routes
from kns.http.schemas import STRING, Schema, a_record, an_error

FORM = "application/x-www-form-urlencoded"

_ALWAYS = (BAD_REQUEST, TOO_LATE, INTERNAL)  # any request may get these
_WITH_BODY = (TOO_LARGE, NOT_READY)


@dataclass(frozen=True, slots=True)
class Part:
    """Routes below a path; `operation_prefix` keeps the names of their operations unique."""

    routes: tuple[Routes, ...]
    path: str = "/"
    operation_prefix: str = ""


def build_document(
    *,
    title: str,
    about: str,
    parts: Iterable[Part],
    schemas: Mapping[str, Schema],
    security_schemes: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole document with an empty version."""
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": about, "version": ""},
        "paths": {
            f"{part.path}{declared.route.path}": _path_item(declared, prefix=part.operation_prefix)
            for part in parts
            for routes in part.routes
            for declared in routes.declared
        },
        "components": {"schemas": dict(schemas), "securitySchemes": dict(security_schemes)},
    }


def add_document_route(routes: Routes, describe: Callable[[], Mapping[str, Any]]) -> None:
    """Add the route `openapi.json`, which answers the document of `describe` with the version of kns."""

    @routes.add(
        Route(
            "openapi.json",
            "This document.",
            answer=a_record({"openapi": STRING, "paths": {"type": "object"}}),
            methods=GET,
        )
    )
    def openapi(request: Request) -> Response:
        document = describe()
        return JsonAnswer({**document, "info": {**document["info"], "version": request.app.version}})


def _path_item(declared: Declared, *, prefix: str) -> dict[str, Any]:
    return {method: _operation(declared, method, prefix=prefix) for method in declared.route.methods}


def _operation(declared: Declared, method: str, *, prefix: str) -> dict[str, Any]:
    route = declared.route
    given = [_parameter(header, "header") for header in route.headers]
    if method == "get":
        given += [_parameter(parameter, "query") for parameter in route.parameters]
    body = _request_body(route) if method == "post" else None
    return {
        "operationId": f"{prefix}{method}_{route.path.replace('.', '_')}",
        "summary": route.about,
        "security": list(route.credentials.security),
        **({"parameters": given} if given else {}),
        **({"requestBody": body} if body else {}),
        "responses": _responses(declared, method),
    }


def _request_body(route: Route) -> dict[str, Any] | None:
    if route.body is not None:
        return {"required": True, "content": {JSON: {"schema": route.body}}}
    parameters = (*route.credentials.parameters, *route.parameters)
    if not parameters:
        return None
    # Only FORM, although JSON is read as well: generators that see both take the arguments of a form, choose JSON and
    # send nothing. The document's description mentions JSON. No parameter is required, because it may be in the query.
    schema = a_record({}, optional={each.name: {**each.kind, "description": each.about} for each in parameters})
    return {"content": {FORM: {"schema": schema}}}


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.about,
        "required": parameter.required,
        "schema": parameter.kind,
    }


def _responses(declared: Declared, method: str) -> dict[str, Any]:
    route, rows = declared.route, (*_ALWAYS, *declared.rows, *(_WITH_BODY if method == "post" else ()))
    success = {} if route.answer is None else {"200": _answer("Success.", route.media, route.answer)}
    return success | {str(status): _error(status, rows) for status in sorted({row.status for row in rows})}


def _error(status: int, rows: tuple[ErrorResponse | Explained, ...]) -> dict[str, Any]:
    found = [row for row in rows if row.status == status]
    texts = [row.error for row in found if isinstance(row, ErrorResponse)]
    patterns = [row.pattern for row in found if isinstance(row, Explained)]
    answer = _answer(_ABOUT_STATUS[status], JSON, an_error(texts, patterns))
    return {**answer, "headers": _RETRY_AFTER} if status == 429 else answer


def _answer(about: str, media: str, schema: Schema) -> dict[str, Any]:
    return {"description": about, "content": {media: {"schema": schema}}}


_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": STRING}}
_ABOUT_STATUS = {
    400: "The request must be changed.",
    401: "Wrong credentials, or no right.",
    403: "No right.",
    404: "Not there, or not in this state.",
    408: "It took too long to arrive.",
    409: "Not in this state.",
    413: "The body is too large.",
    429: "Too many; come again later.",
    500: "A fault of kns, or of what it stores in.",
    503: "Not ready yet: come again.",
}
