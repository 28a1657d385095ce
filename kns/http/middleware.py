"""
The middleware of every request: access log, metric, the answer to an unexpected exception, the limits of bodies.

Plain ASGI. The log has the path and never the query, because queries carry API keys.
"""

from collections.abc import Mapping
from traceback import format_exception
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kns import metrics
from kns.http.errors import INTERNAL, NOT_READY, TOO_LARGE, ErrorResponse, render_error
from kns.logs import get_logger
from kns.model.errors import clip
from kns.ports import Clock

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_HELD_BYTES = 64 * 1024 * 1024  # of all bodies at a time; the pod has 1 GiB, and a body takes its size twice
MOST_DROPPED_BYTES = 64 * 1024 * 1024  # of a body that is not used before its answer closes the connection
SMALL_BODY_BYTES = 64 * 1024  # accepted even above that limit, so that a few large bodies cannot block every submit

_CLIENT_GONE = ErrorResponse(499, "Client gone")  # nginx's status, for the log only: the client has left
LENGTHS = frozenset({b"content-length", b"transfer-encoding"})  # a request without them has no body
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = get_logger(__name__)


class Observer:
    """
    Logs and counts every request, and answers `Internal error` to an exception that has no handler.

    `templates` are the declared paths by the function that serves them, for paths with parameters. The duration of a
    stream of events, and of all answers below `relays`, is the time until it begins, because a client decides how long
    it listens.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: frozenset[str],
        templates: Mapping[Any, str] | None = None,
        relays: tuple[str, ...] = (),
    ) -> None:
        self._app = app
        self._routes = routes
        self._templates = templates or {}
        self._relays = relays

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clock: Clock = scope["app"].state.ports.clock
        started = clock.monotonic()
        status: int | None = None
        streaming_s: float | None = None

        async def send_watched(message: Message) -> None:
            nonlocal status, streaming_s
            if message["type"] == "http.response.start":
                status = message["status"]
                if is_stream(message) or scope["path"].startswith(self._relays):
                    streaming_s = clock.monotonic() - started
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except Exception as error:
            # The stack as text, because a logged exception may carry local variables, which hold API keys.
            stack = "".join(format_exception(error))
            log.error("unhandled_exception", path=clip(scope["path"], 200), stack=stack)  # noqa: TRY400 - for that reason
            if status is not None:
                raise  # part of an answer is sent, so closing the connection is the only signal left
            await render_error(scope, INTERNAL)(scope, receive, send_watched)
        finally:
            duration_s = clock.monotonic() - started if streaming_s is None else streaming_s
            self._record(scope, status or _CLIENT_GONE.status, duration_s)

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
            route=path if path in self._routes else self._templates.get(scope.get("endpoint"), "unknown"),
            method=method if method in _METHODS else "other",
            status=status,
            duration_s=duration_s,
        )


def is_stream(message: Message) -> bool:
    """Whether an answer that begins with this message is a stream of server-sent events."""
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"])


class BodyReader:
    """
    Reads the body into `request.state.body`, so that `def` routes have it, too.

    It refuses a body above its limit. While all bodies together exceed theirs, it accepts only small ones. Only a POST
    has a body, and below `relays` every method. What another request sends as its body is dropped.

    What is dropped, that or the rest of a refused body, is read all the same, so that a client that still writes gets
    the answer. If the connection stays open, the server does it after the answer. Otherwise it happens here, before the
    answer closes the connection: a socket that is closed with unread bytes is reset, and the client may lose the
    answer. The server's limit for a request ends both.
    """

    def __init__(self, app: ASGIApp, *, relays: tuple[str, ...] = ()) -> None:
        self._app = app
        self._relays = relays
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        has_none = LENGTHS.isdisjoint(name for name, _ in scope["headers"])
        try:
            is_read = scope["method"] == "POST" or scope["path"].startswith(self._relays)
            error, is_whole = await self._read(receive, into=body) if is_read else (None, has_none)
            if error is not None:
                self._release(body)
            if not is_whole and not await drop_before_close(scope, receive):
                error = _CLIENT_GONE
            if error is not None:
                await render_error(scope, error)(scope, receive, send)
                return
            state: dict[str, Any] = scope.setdefault("state", {})
            state["body"] = bytes(body)
            await self._app(scope, receive, send)
        finally:
            self._release(body)

    async def _read(self, receive: Receive, *, into: bytearray) -> tuple[ErrorResponse | None, bool]:
        """Why the body is refused, if it is, and whether nothing more of it will come."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return _CLIENT_GONE, True
            more = message.get("more_body", False)
            part = message.get("body", b"")
            into += part
            self._held_bytes += len(part)
            if len(into) > MAX_BODY_BYTES:
                return TOO_LARGE, not more
            if self._held_bytes > MAX_HELD_BYTES and len(into) > SMALL_BODY_BYTES:
                return NOT_READY, not more
        return None, True

    def _release(self, body: bytearray) -> None:
        self._held_bytes -= len(body)
        body.clear()


async def drop_before_close(scope: Scope, receive: Receive) -> bool:
    """
    Read and drop the rest of a body if the answer will close the connection. False if the client is gone.

    The server's time limit ends the wait with a disconnect, after its own 408.
    """
    dropped, more = 0, _closes(scope)
    while more and dropped < MOST_DROPPED_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        more = message.get("more_body", False)
        dropped += len(message.get("body", b""))
    return True


def _closes(scope: Scope) -> bool:
    """Whether the client wants the connection to close after the answer. HTTP/1.0 always does, for h11."""
    wants = [value.lower() for name, value in scope["headers"] if name == b"connection"]
    return scope.get("http_version") == "1.0" or any(b"close" in value for value in wants)
