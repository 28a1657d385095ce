"""
The OpenAPI document of the public routes, at `openapi.json`.

Written from the table in `openapi_routes`: the routes read raw requests, so the framework has nothing to generate one
from. A test compares the table with what is served, and another sends generated requests and checks every answer.
"""

from functools import cache
from typing import Any

from fastapi import APIRouter, Response

from kns.api.answers import JsonAnswer
from kns.api.errors import Refusal
from kns.api.openapi_routes import (
    AT_ROOT,
    BELOW_PREFIX,
    JSON,
    KEY_IN_BODY,
    MAY_KEY,
    NEEDS_KEY,
    NO_KEY,
    Parameter,
    Route,
)
from kns.api.openapi_schemas import SCHEMAS, STRING, Schema, a_record, an_error
from kns.api.ports import Ports

FORM = "application/x-www-form-urlencoded"
KEY_PARAMETERS = (
    Parameter("username", "Name of the account."),
    Parameter("apikey", "The account's API key; not the portal's password."),
)
ABOUT = (
    "Parameters of a GET are in the query; those of a POST in the query, a form or a JSON object, and the query wins. "
    "A JSON body is read as JSON whatever its Content-Type says. Success is 200 and nothing else; an error is an "
    "object with the one key `error`. A job of somebody else is refused like an unknown one."
)

router = APIRouter()


@router.get("/openapi.json")
def openapi(ports: Ports) -> Response:
    document = build_document()
    return JsonAnswer({**document, "info": {**document["info"], "version": ports.version}})


@cache
def build_document() -> dict[str, Any]:
    """The whole document; whoever serves it puts in the version."""
    below = {f"/jarvice/{route.path}": _path_item(route, prefix="") for route in BELOW_PREFIX}
    at_root = {f"/{route.path}": _path_item(route, prefix="root_") for route in AT_ROOT}
    return {
        "openapi": "3.1.0",
        "info": {"title": "kns", "description": ABOUT, "version": ""},
        "paths": below | at_root,
        "components": {"schemas": SCHEMAS, "securitySchemes": _SECURITY_SCHEMES},
    }


_SECURITY_SCHEMES = {
    "username": {"type": "apiKey", "in": "query", "name": "username"},
    "apikey": {"type": "apiKey", "in": "query", "name": "apikey"},
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}
_KEY: dict[str, list[str]] = {"username": [], "apikey": []}
_TOKEN: dict[str, list[str]] = {"bearer": []}
_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    NO_KEY: [],
    MAY_KEY: [{}, _KEY, _TOKEN],
    NEEDS_KEY: [_KEY, _TOKEN],
    KEY_IN_BODY: [{}, _TOKEN],
}


def _path_item(route: Route, *, prefix: str) -> dict[str, Any]:
    return {method: _operation(route, method, prefix=prefix) for method in route.methods}


def _operation(route: Route, method: str, *, prefix: str) -> dict[str, Any]:
    given = [_parameter(header, "header") for header in route.headers]
    if method == "get":
        given += [_parameter(parameter, "query") for parameter in route.parameters]
    body = _request_body(route) if method == "post" else None
    return {
        "operationId": f"{prefix}{method}_{route.path.replace('.', '_')}",
        "summary": route.about,
        "security": _SECURITY[route.credentials],
        **({"parameters": given} if given else {}),
        **({"requestBody": body} if body else {}),
        "responses": _responses(route, method),
    }


def _request_body(route: Route) -> dict[str, Any] | None:
    if route.body is not None:
        return {"required": True, "content": {JSON: {"schema": route.body}}}
    if not route.takes_key:
        return None
    # Generators offered both FORM and JSON make arguments of a form, choose JSON and send nothing: `ABOUT` tells of it.
    return {"content": {FORM: {"schema": _form_schema(route)}}}


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.about,
        "required": parameter.required,
        "schema": parameter.kind,
    }


def _form_schema(route: Route) -> Schema:
    """Nothing is required here: what is missing may be in the query."""
    given = (*KEY_PARAMETERS, *route.parameters)
    return a_record({}, optional={each.name: {**each.kind, "description": each.about} for each in given})


def _responses(route: Route, method: str) -> dict[str, Any]:
    found = route.refuses(method)
    statuses = {refusal.status for refusal in found} | ({400} if route.patterns else set())
    success = {} if route.answer is None else {"200": _answer("Success.", route.media, route.answer)}
    return success | {str(status): _refusal(status, found, route.patterns) for status in sorted(statuses)}


def _refusal(status: int, found: tuple[Refusal, ...], patterns: tuple[str, ...]) -> dict[str, Any]:
    texts = [refusal.error for refusal in found if refusal.status == status]
    answer = _answer(_ABOUT_STATUS[status], JSON, an_error(texts, patterns if status == 400 else ()))
    return {**answer, "headers": _RETRY_AFTER} if status == 429 else answer


def _answer(about: str, media: str, schema: Schema) -> dict[str, Any]:
    return {"description": about, "content": {media: {"schema": schema}}}


_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": STRING}}
_ABOUT_STATUS = {
    400: "The request must be changed.",
    401: "Wrong credentials, or no right.",
    404: "Not there, or not in this state.",
    408: "It took too long to arrive.",
    413: "The body is too large.",
    429: "Too many; come again later.",
    500: "A fault of kns, or of what it stores in.",
    503: "Not ready yet: come again.",
}
