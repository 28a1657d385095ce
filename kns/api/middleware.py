"""
What surrounds every request: its line in the access log, its metric, the last catch of a fault, the body's limit.

Plain ASGI. The log has the path and never the query, which carries API keys.
"""

from traceback import format_exception
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kns import metrics
from kns.api.errors import INTERNAL, TOO_LARGE
from kns.model.errors import clip
from kns.ports import Clock

MAX_BODY_BYTES = 4 * 1024 * 1024
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_GONE = 499  # nginx's number for a client that left before the answer

log = structlog.get_logger(__name__)


class Observer:
    """Logs and counts every request, and answers for whatever nobody else caught."""

    def __init__(self, app: ASGIApp, *, routes: frozenset[str], clock: Clock) -> None:
        self._app = app
        self._routes = routes
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        status: int | None = None

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except Exception as error:
            # The stack as text: a logged exception could carry local variables, and those hold API keys.
            log.error("http_fault", path=clip(scope["path"], 200), stack="".join(format_exception(error)))  # noqa: TRY400
            if status is not None:
                raise  # half an answer is out: only closing the connection tells the client
            await INTERNAL.answer()(scope, receive, send_watched)
        finally:
            self._record(scope, status or _CLIENT_GONE, self._clock.monotonic() - started)

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
    Reads the body into `request.state.body`, so that plain `def` routes have it; refuses one above the limit.

    The rest of a refused body is the server's: it reads and drops it, so a client that still writes gets the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY_BYTES:
                await TOO_LARGE.answer()(scope, receive, send)
                return
        state: dict[str, Any] = scope.setdefault("state", {})
        state["body"] = bytes(body)
        await self._app(scope, receive, send)
