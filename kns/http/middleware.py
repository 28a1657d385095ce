"""
The middleware of every request: access log, metric, the answer to an unexpected exception, the limits of bodies.

Plain ASGI. The log has the path and never the query, because queries carry API keys.
"""

from traceback import format_exception
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kns import metrics
from kns.http.errors import BAD_REQUEST, INTERNAL, NOT_READY, TOO_LARGE, ErrorResponse
from kns.logs import get_logger
from kns.model.errors import clip
from kns.ports import Clock

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_HELD_BYTES = 64 * 1024 * 1024  # of all bodies at a time; the pod has 1 GiB, and a body takes its size twice
SMALL_BODY_BYTES = 64 * 1024  # accepted even above that limit, so that a few large bodies cannot block every submit

_CLIENT_GONE = ErrorResponse(499, "Client gone")  # nginx's status, for the log only: the client has left
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = get_logger(__name__)


class Observer:
    """Logs and counts every request, and answers `Internal error` to an exception that has no handler."""

    def __init__(self, app: ASGIApp, *, routes: frozenset[str]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clock: Clock = scope["app"].state.ports.clock
        started = clock.monotonic()
        status: int | None = None

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except Exception as error:
            # The stack as text, because a logged exception may carry local variables, which hold API keys.
            stack = "".join(format_exception(error))
            log.error("unhandled_exception", path=clip(scope["path"], 200), stack=stack)  # noqa: TRY400 - for that reason
            if status is not None:
                raise  # part of an answer is sent, so closing the connection is the only signal left
            await INTERNAL.answer()(scope, receive, send_watched)
        finally:
            self._record(scope, status or _CLIENT_GONE.status, clock.monotonic() - started)

    def _record(self, scope: Scope, status: int, duration_s: float) -> None:
        path, method = scope["path"], scope["method"]
        log.info(
            "http_request",
            method=clip(method, 20),
            path=clip(path, 200),
            status=status,
            duration_s=round(duration_s, 4),
        )
        metrics.observe_request(
            route=path if path in self._routes else "unknown",
            method=method if method in _METHODS else "other",
            status=status,
            duration_s=duration_s,
        )


class BodyReader:
    """
    Reads the body into `request.state.body`, so that `def` routes have it, too.

    It refuses a body above its limit. While all bodies together exceed theirs, it accepts only small ones. The server
    reads and drops the rest of a refused body, so that a client that still writes gets the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            answer = BAD_REQUEST.answer()  # readers, such as a proxy in front, disagree on where the body ends
            answer.headers["connection"] = "close"
            await answer(scope, receive, send)
            return
        body = bytearray()
        try:
            error = await self._read(receive, into=body) if scope["method"] == "POST" else None
            if error is not None:
                await error.answer()(scope, receive, send)
                return
            state: dict[str, Any] = scope.setdefault("state", {})
            state["body"] = bytes(body)
            await self._app(scope, receive, send)
        finally:
            self._held_bytes -= len(body)

    async def _read(self, receive: Receive, *, into: bytearray) -> ErrorResponse | None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return _CLIENT_GONE
            part = message.get("body", b"")
            into += part
            self._held_bytes += len(part)
            if len(into) > MAX_BODY_BYTES:
                return TOO_LARGE
            if self._held_bytes > MAX_HELD_BYTES and len(into) > SMALL_BODY_BYTES:
                return NOT_READY
            more = message.get("more_body", False)
        return None
