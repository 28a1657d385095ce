"""Translate HTTP errors of the Kubernetes API: a table by status, and rules for the statuses with several meanings."""

import json
from collections.abc import Mapping
from typing import Any

from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    KnsError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    clip,
)

_BY_STATUS: dict[int, type[KnsError]] = {
    401: UnavailableError,  # the token was rotated a moment ago
    403: ForbiddenError,
    404: NotFoundError,
    410: ExpiredError,
    408: UnavailableError,
    425: UnavailableError,
}
_QUOTA_OR_ADMISSION = (
    "exceeded quota",
    "denied the request",  # a webhook
    "denied request:",  # a ValidatingAdmissionPolicy whose validation has the reason Forbidden
    "violates PodSecurity",
    "is forbidden: maximum",  # a LimitRange with one problem; several are listed in brackets
    "is forbidden: minimum",
    "is forbidden: [",
)


def error_from_status(what: str, status: int, body: bytes, headers: Mapping[str, str]) -> KnsError:
    """
    The error for an answer with status 300 or higher. `what` is the attempted call, like `apply LimitRange
    kns-job-7/x`. A redirect is not followed, because the credentials are for this server.

    409 means a name that is taken (reason AlreadyExists), or a concurrent change. 403 means a missing right, or a quota
    or admission rule that refused the object.
    """
    if status < 400:
        target = clip(headers.get("Location", "nowhere"), 200)
        return UnavailableError(f"{what}: {status}, the API redirects to {target}, which is not followed")
    answer = _read_status(body)
    said = str(answer.get("message") or body[:200].decode("utf-8", "replace"))
    message = f"{what}: {status}, {clip(said)}"
    if status == 409:
        return AlreadyExistsError(message) if answer.get("reason") == "AlreadyExists" else ConflictError(message)
    if status == 429 or status >= 500:
        return UnavailableError(message, retry_after_s=_read_seconds(headers.get("Retry-After")))
    if status == 403 and any(sign in said for sign in _QUOTA_OR_ADMISSION):
        return RefusedError(message)
    return _BY_STATUS.get(status, RefusedError)(message)


def _read_status(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _read_seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None
