"""
Error answers, and the mechanism that turns errors into them.

A front end has a table from the use cases' errors to its answers, and a route may replace rows of it. The body of an
error is JSON with one key, `error`, unless the front end of the request's path renders it in another form. Published
clients compare the texts, letter case included, so they never change.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from kns.http.answers import JsonAnswer
from kns.logs import get_logger
from kns.model.errors import KnsError, TransientError, clip
from kns.service.errors import TooManyRequestsError

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error answer: its HTTP status, its text, and for status 429 the delay before the next try."""

    status: int
    error: str
    retry_after_s: int | None = None

    def because(self, reason: str) -> "ErrorResponse":
        """The same answer with a reason after the fixed text, on one line."""
        return ErrorResponse(self.status, f"{self.error}: {clip(reason)}")

    def after(self, seconds: float) -> "ErrorResponse":
        """The same answer with a `Retry-After` header, which has whole seconds."""
        return replace(self, retry_after_s=math.ceil(seconds))

    def answer(self) -> Response:
        headers = None if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return JsonAnswer({"error": self.error}, status_code=self.status, headers=headers)


@dataclass(frozen=True, slots=True)
class Explained:
    """A row of an error table whose text ends with the error's own: `<prefix>: <error>`, or only that."""

    status: int
    prefix: str = ""

    @property
    def pattern(self) -> str:
        """A regular expression for the text."""
        return f"^{self.prefix}: ." if self.prefix else "^."

    def explain(self, error: Exception) -> ErrorResponse:
        if not self.prefix:
            return ErrorResponse(self.status, clip(str(error)))
        return ErrorResponse(self.status, self.prefix).because(str(error))


ErrorTable = Mapping[type[KnsError], ErrorResponse | Explained]
ErrorRenderer = Callable[[Scope, ErrorResponse], Response]  # the form of all errors below the prefix of a front end

BAD_REQUEST = ErrorResponse(400, "Bad Request")
INVALID_PARAMETERS = ErrorResponse(400, "Invalid parameter(s)")
PARAMETERS_MISSING = ErrorResponse(400, "Required parameter(s) missing")
USER_REQUIRED = ErrorResponse(400, "User required")
UNAUTHORIZED = ErrorResponse(401, "Unauthorized")
UNKNOWN_ROUTE = ErrorResponse(404, "Not found")
WRONG_METHOD = ErrorResponse(405, "Method not allowed")
TOO_LATE = ErrorResponse(408, "Request timeout")
TOO_LARGE = ErrorResponse(413, "Request too large")
TOO_MANY_REQUESTS = ErrorResponse(429, "Too many requests")
INTERNAL = ErrorResponse(500, "Internal error")
NOT_READY = ErrorResponse(503, "not ready")

# Rows of every table. A store that cannot answer now is never "unknown job": clients would give the job up.
COMMON_ERRORS: ErrorTable = {TooManyRequestsError: TOO_MANY_REQUESTS, TransientError: NOT_READY}


class HttpError(Exception):
    """An error answer that the front end itself decides on. `headers` are added to it."""

    def __init__(self, response: ErrorResponse, *, headers: Mapping[str, str] | None = None) -> None:
        self.response = response
        self.headers = headers or {}
        super().__init__(response.error)


def find_row(table: ErrorTable, kind: type[KnsError]) -> ErrorResponse | Explained | None:
    """The row of an error's class, or of the nearest class above it; None if there is none."""
    return next((table[each] for each in kind.__mro__ if each in table), None)


def build_response(table: ErrorTable, error: KnsError) -> ErrorResponse | None:
    """What the table answers to an error; None if it has no row for it."""
    row = find_row(table, type(error))
    if isinstance(row, Explained):
        return row.explain(error)
    if row is not None and isinstance(error, TooManyRequestsError):
        return row.after(error.retry_after_s)
    return row


_NOTED_EVERY_S = 60.0  # clients poll, so an outage of the host would write thousands of equal lines a minute


class _Rarely:
    """Decides which of many equal log lines is written. Only the event loop calls it."""

    def __init__(self) -> None:
        self._next_at = -math.inf
        self._skipped = 0

    def take(self, now_s: float) -> int | None:
        """How many lines were left out since the last one that was written; None to leave out this one, too."""
        if now_s < self._next_at:
            self._skipped += 1
            return None
        skipped, self._skipped = self._skipped, 0
        self._next_at = now_s + _NOTED_EVERY_S
        return skipped


def render_error(scope: Scope, response: ErrorResponse) -> Response:
    """The answer in the form of the front end that the request's path belongs to, existing route or not."""
    renderers: Mapping[str, ErrorRenderer] = scope["app"].state.error_renderers
    path = f"{scope['path']}/"
    render = next((each for prefix, each in renderers.items() if path.startswith(f"{prefix}/")), None)
    return response.answer() if render is None else render(scope, response)


_BY_FRAMEWORK_STATUS = {404: UNKNOWN_ROUTE, 405: WRONG_METHOD}


async def _answer_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HttpError):
        raise error
    answer = render_error(request.scope, error.response)
    answer.headers.update(error.headers)
    return answer


async def _answer_framework_error(request: Request, error: Exception) -> Response:
    """An unknown route, or a wrong method. The framework's `Allow` header is kept."""
    if not isinstance(error, HTTPException):
        raise error
    answer = render_error(request.scope, _BY_FRAMEWORK_STATUS.get(error.status_code, BAD_REQUEST))
    answer.headers.update(error.headers or {})
    return answer


def add_error_handlers(app: FastAPI, tables: Mapping[Callable[..., Any], ErrorTable]) -> None:
    """
    Answer errors of the use cases by the table of the route's function.

    An error without a row, like every other exception, reaches the middleware, which answers `Internal error`.
    """

    rarely = _Rarely()

    async def answer_kns_error(request: Request, error: Exception) -> Response:
        table = tables.get(request.scope["endpoint"], {})
        response = build_response(table, error) if isinstance(error, KnsError) else None
        if response is None:
            raise error
        if isinstance(error, TransientError):
            skipped = rarely.take(request.app.state.ports.clock.monotonic())
            if skipped is not None:
                # Not `request.url`: it is made from the Host header, which may hold anything.
                path = clip(request.scope["path"], 200)
                log.warning("http_not_ready", path=path, error=clip(str(error)), skipped=skipped)
        return render_error(request.scope, response)

    app.add_exception_handler(KnsError, answer_kns_error)
    app.add_exception_handler(HttpError, _answer_http_error)
    app.add_exception_handler(HTTPException, _answer_framework_error)
