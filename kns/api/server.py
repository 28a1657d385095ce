"""
The HTTP server around the application, and what uvicorn leaves unbounded: how long a client may keep it waiting.

A connection waits for its client from its start, and from each answer on, until the next request is there whole. Bytes
that trickle in extend nothing. While the application works the client waits, and no limit counts. The same limit holds
for a client that does not take its answer. In front of the application stands only this: what is no HTTP, or comes
too late, is answered here, in the form of every other error (docs/decisions/0022-slow-and-broken-requests.md).
"""

import asyncio
import socket
from http import HTTPStatus
from typing import Any

import h11
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from kns.api.errors import BAD_REQUEST, TOO_LATE, Refusal

MAX_HEAD_BYTES = 16 * 1024  # of an unfinished head; a token of a realm with many roles has some 4 KiB
MAX_WAITING = 1000  # a guess: far more clients than poll one scheduler, some 50 MB without answers that wait
MAX_UNREAD_BYTES = 64 * 1024 * 1024  # of all answers that wait for their clients; the pod has 1 GiB

log = structlog.get_logger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """
    A socket for `uvicorn.Server.run`, which itself says nothing of a port that is taken, and exits.

    Raises:
        OSError: it is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    # Connections inherit it. asyncio sets it by itself only for sockets that it made, and without it each answer on a
    # connection that stays open waits some 40 ms for the client to acknowledge its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class ServerConfig(uvicorn.Config):
    """
    Everything that decides how bytes become requests: main and the tests serve by the same.

    h11 is named because it is the parser that was tried; uvicorn would take another one that happens to be installed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        trusted_proxies: str,
        request_limit_s: float,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        super().__init__(
            app,
            host=host,
            port=port,
            http=BoundedHttp,
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            server_header=False,
            forwarded_allow_ips=trusted_proxies,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        self.request_limit_s = request_limit_s
        self.max_waiting = max_waiting
        self.waiting: dict[BoundedHttp, None] = {}  # as an ordered set: who waits longest is first

    def drop_unread(self) -> None:
        """Until what is left of all answers fits: the connection that takes none for the longest goes first."""
        unread = {each: each.transport.get_write_buffer_size() for each in self.waiting if each.flow.write_paused}
        total = sum(unread.values())
        for connection, size in unread.items():
            if total <= MAX_UNREAD_BYTES:
                return
            connection.transport.abort()
            total -= size


class BoundedHttp(H11Protocol):
    """
    One connection. Among too many that wait, the one that has waited longest goes: whoever opens connections to block
    others (probes, too) loses its own first.
    """

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._unwatch()  # a new wait begins, for the client to take the answer and to ask again
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()
        self._limits.drop_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unwatch()
        self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text, in a form that is not ours
        self._refuse(BAD_REQUEST)

    def _watch(self) -> None:
        """Start the timer of a connection that waits for its client; stop that of one where the application works."""
        if self.flow.write_paused:  # the client takes no answer, and perhaps has sent its next requests already
            self._start_timer()
            return
        is_whole = self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)
        if is_whole and self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        else:
            self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.request_limit_s, self._expire)
            waiting = self._limits.waiting
            waiting[self] = None
            if len(waiting) > self._limits.max_waiting:
                next(iter(waiting))._expire()

    def _unwatch(self) -> None:
        self._limits.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._unwatch()
        if self.transport.is_closing() or self.flow.write_paused:  # the rest of an answer is here, and nobody takes it
            self.transport.abort()
            return
        self._refuse(TOO_LATE)
        self._timer = self.loop.call_later(self._limits.request_limit_s, self.transport.abort)

    def _refuse(self, refusal: Refusal) -> None:
        """
        Answer instead of the application, unless an answer has begun, and close the connection.

        uvicorn's own `send_400_response` fails, with a traceback in the log, once an answer has begun.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # what the application answers now goes nowhere
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            log.info("http_refused", status=refusal.status, address=self.client[0] if self.client else "")
            self._write(refusal)
        self.transport.close()

    def _write(self, refusal: Refusal) -> None:
        answer = refusal.answer()
        is_head = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
        head = h11.Response(
            status_code=refusal.status,
            headers=[*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")],
            reason=HTTPStatus(refusal.status).phrase.encode(),
        )
        for event in (head, h11.Data(data=b"" if is_head else bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
