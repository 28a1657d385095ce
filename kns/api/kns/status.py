"""Errors as a Kubernetes `Status`, which kubectl shows."""

import json
import re

from fastapi import Response
from starlette.types import Scope

from kns.http.answers import JSON
from kns.http.errors import ErrorResponse

# What keeps an answer of a tenant's server from becoming a page of kns: no script, no type but the declared one, no
# other site may read it, no copy stays.
SAFETY = {
    "cache-control": "no-store",
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "Timeout",
    409: "Conflict",
    410: "Gone",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}

# What kubectl asks for first. It shows an error of these only if it is plain text with a status of 500 or above.
_DISCOVERY = re.compile(r"/kns/cluster/[0-9]+/apis?")
_SHOWN = 502
_HIDDEN = frozenset({409, 410, 503})


def render_status(scope: Scope, response: ErrorResponse) -> Response:
    if response.status in _HIDDEN and scope["type"] == "http" and _DISCOVERY.fullmatch(scope["path"]):
        return Response(f"kns: {response.error}\n", _SHOWN, SAFETY, media_type="text/plain")
    document = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"kns: {response.error}",
        "reason": _REASONS.get(response.status, "InternalError"),
        "code": response.status,
    }
    headers = dict(SAFETY)
    if response.retry_after_s is not None:
        headers["retry-after"] = str(response.retry_after_s)
    return Response(json.dumps(document) + "\n", response.status, headers, media_type=JSON)
