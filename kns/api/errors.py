"""
Every refusal of the API in one table, and what turns an exception into an answer.

The texts are frozen: published clients compare them, letter case included. An error body has one key, `error`.
"""

import math
from dataclasses import dataclass, replace

import structlog
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from kns.api.answers import JsonAnswer
from kns.model.errors import TransientError, clip

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer: its HTTP status and its text."""

    status: int
    error: str
    retry_after_s: int | None = None

    def because(self, reason: str) -> "Refusal":
        """The same with what is wrong behind it, on one line."""
        return Refusal(self.status, f"{self.error}: {clip(reason)}")

    def after(self, seconds: float) -> "Refusal":
        """The same with the time after which to come again; headers have whole seconds."""
        return replace(self, retry_after_s=math.ceil(seconds))

    def answer(self) -> Response:
        headers = None if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return JsonAnswer({"error": self.error}, status_code=self.status, headers=headers)


BAD_REQUEST = Refusal(400, "Bad Request")
PARAMETERS_MISSING = Refusal(400, "Required parameter(s) missing")
USER_REQUIRED = Refusal(400, "User required")
NO_JOB_SPECIFIED = Refusal(400, "No job specified")
INVALID_PARAMETERS = Refusal(400, "Invalid parameter(s)")
MALFORMED = Refusal(400, "Missing or Malformed API Syntax")  # submit only
NO_CONTAINERS = Refusal(400, "Container cannot create Application")  # batch: a container is not a nested app
NO_SIGNAL = Refusal(400, "signal not supported")  # a nested job has no single process
UNAUTHORIZED = Refusal(401, "Unauthorized")
NOT_AUTHORIZED = Refusal(401, "Not Authorized")  # submit only
ACCOUNT_INACTIVE = Refusal(401, "Account billing not active")
UNKNOWN_JOB_AT_STATUS = Refusal(404, "Not Found")
UNKNOWN_JOB_AT_STOP = Refusal(404, "Not found")
UNKNOWN_JOB = Refusal(404, "Job not found")
NOT_RUNNING = Refusal(404, "Running job is not found")
NOT_ENDED = Refusal(404, "Job not found")
UNKNOWN_APP = Refusal(404, "Application Not Found")
UNKNOWN_QUEUE = Refusal(404, "Queue not found")
NO_SCREEN = Refusal(404, "Not found")
UNKNOWN_ROUTE = Refusal(404, "Not found")
WRONG_METHOD = Refusal(405, "Method not allowed")
TOO_LATE = Refusal(408, "Request timeout")
TOO_LARGE = Refusal(413, "Request too large")
TOO_MANY_REQUESTS = Refusal(429, "Too many requests")
TOO_MANY_JOBS = Refusal(429, "Only one active job allowed per VM")  # the original's text for its own limit
INTERNAL = Refusal(500, "Internal error")
NOT_STORED = Refusal(500, "Unable to create Job Submission")
STILL_LIVE = Refusal(500, "Job has not ended")  # upstream protocol only
NOT_READY = Refusal(503, "not ready")


class ApiError(Exception):
    """A request that is refused, raised from anywhere below a route."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.error)


_BY_HTTP_STATUS = {404: UNKNOWN_ROUTE, 405: WRONG_METHOD}


async def _answer_refused(_request: Request, error: Exception) -> Response:
    return error.refusal.answer() if isinstance(error, ApiError) else INTERNAL.answer()


async def _answer_unrouted(_request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown route, a wrong method (whose `Allow` header is kept)."""
    if not isinstance(error, HTTPException):
        return INTERNAL.answer()
    answer = _BY_HTTP_STATUS.get(error.status_code, BAD_REQUEST).answer()
    answer.headers.update(error.headers or {})
    return answer


async def _answer_later(request: Request, error: Exception) -> Response:
    """A store that cannot answer now. Never "unknown job": clients would take the job for lost."""
    # Not `request.url`: that is put together from the Host header, which may be anything.
    log.warning("http_not_ready", path=clip(request.scope["path"], 200), error=clip(str(error)))
    return NOT_READY.answer()


def add_handlers(app: FastAPI) -> None:
    """Everything else that is raised ends in the middleware as `Internal error`."""
    app.add_exception_handler(ApiError, _answer_refused)
    app.add_exception_handler(HTTPException, _answer_unrouted)
    app.add_exception_handler(TransientError, _answer_later)
