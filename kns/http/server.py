"""
The HTTP server, with the limits that uvicorn does not have: how long, and how many clients, may keep it waiting.

The server waits for a client from the start of the connection, and from each answer, until the next request is
complete. That time is limited, and bytes that trickle in do not extend it. No limit applies while the application works
on a request. The same limit applies to a client that does not read its answer. Requests that are not HTTP, or that
arrive too late, never reach the application. They are answered here, in the form of every other error
(docs/decisions/0022-slow-and-broken-requests.md).
"""

import asyncio
import socket
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from kns.http.errors import BAD_REQUEST, TOO_LATE, ErrorResponse
from kns.http.middleware import LENGTHS
from kns.http.sockets import Sockets
from kns.logs import get_logger

MAX_HEAD_BYTES = 16 * 1024  # of an incomplete head; a token of a realm with many roles has about 4 KiB
MAX_WAITING = 1000  # a guess: far more clients than poll one scheduler; about 50 MB without unread answers
MAX_MESSAGE_BYTES = 256 * 1024  # of a WebSocket; kubectl sends at most some 32 KiB at a time
MAX_UNREAD_BYTES = 64 * 1024 * 1024  # of all answers that clients have not read yet; the pod has 1 GiB

_ALL_ADDRESSES = "::"
_MAPPED = "::ffff:"

log = get_logger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """
    A socket for `uvicorn.Server.run`. uvicorn's own socket code exits the process if the port is taken.

    `::` listens on all addresses, IPv6 and IPv4, so that one setting serves every kind of cluster.

    Raises:
        OSError: the port is taken, or this machine does not have the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == _ALL_ADDRESSES and socket.has_dualstack_ipv6()
    listener = socket.create_server((host, port), family=family, dualstack_ipv6=both)
    # Connections inherit this option. asyncio sets it only for sockets that it made. Without it each answer on a
    # connection that stays open waits about 40 ms for the client to acknowledge its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class ServerConfig(uvicorn.Config):
    """
    Everything that determines how bytes become requests. main and the tests use the same configuration.

    h11 is set because it is the parser that was tried; uvicorn would prefer another one if it is installed.
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
        sockets_at: str | None = None,
    ) -> None:
        """`sockets_at`: requests for a WebSocket below this path are handed to the application as such."""
        super().__init__(
            _OneLength(app),
            host=host,
            port=port,
            http=BoundedHttp,
            ws="none" if sockets_at is None else Sockets,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # a small message could become a large one
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            server_header=False,
            forwarded_allow_ips=trusted_proxies,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        self.request_limit_s = request_limit_s
        self.max_waiting = max_waiting
        self.sockets_at = sockets_at
        self.waiting: dict[BoundedHttp, None] = {}  # used as an ordered set: the longest wait is first

    def drop_unread(self) -> None:
        """Abort connections until the unread answers fit. The client that has read nothing for longest is first."""
        unread = {each: each.transport.get_write_buffer_size() for each in self.waiting if each.flow.write_paused}
        total = sum(unread.values())
        for connection, size in unread.items():
            if total <= MAX_UNREAD_BYTES:
                return
            connection.transport.abort()
            total -= size


class _OneLength:
    """
    Refuses requests with both `Content-Length` and `Transfer-Encoding`, because readers, such as a proxy in front,
    disagree on where such a body ends. It stands before all that answers, and ends the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not LENGTHS.issubset(name for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        log.info("http_refused", status=BAD_REQUEST.status, address=scope["client"][0] if scope["client"] else "")
        answer = BAD_REQUEST.answer()
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)


class BoundedHttp(H11Protocol):
    """
    One connection. If too many are waiting, the one that has waited longest is closed, so that a client that opens
    connections to block others (the probes, too) loses its own first.
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
        self._is_handed_over = False  # the connection is a WebSocket now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it
        self.client = _unmap(self.client)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._unwatch()  # a new wait begins: for the client to read the answer and to send the next request
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

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own text
        self._answer_error(BAD_REQUEST)

    def _should_upgrade_to_ws(self) -> bool:
        at = self._limits.sockets_at
        return at is not None and self.scope["path"].startswith(at) and super()._should_upgrade_to_ws()

    def _unsupported_upgrade_warning(self) -> None:
        """A request for another protocol is answered like one without it; uvicorn would log each."""

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._is_handed_over = True
        self._unwatch()
        super().handle_websocket_upgrade(event)

    def _watch(self) -> None:
        """Start the timer if the connection waits for its client; stop it if the application works on a request."""
        if self._is_handed_over:
            return
        if self.flow.write_paused:  # the client does not read; it may have sent more requests already
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
        if self.transport.is_closing() or self.flow.write_paused:  # there is an unread answer
            self.transport.abort()
            return
        self._answer_error(TOO_LATE)
        self._timer = self.loop.call_later(self._limits.request_limit_s, self.transport.abort)

    def _answer_error(self, response: ErrorResponse) -> None:
        """
        Answer instead of the application, unless an answer has begun, and close the connection.

        uvicorn's own `send_400_response` raises if an answer has begun.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # drops what the application still answers
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            log.info("http_refused", status=response.status, address=self.client[0] if self.client else "")
            self._write(response)
        self.transport.close()

    def _write(self, response: ErrorResponse) -> None:
        answer = response.answer()
        is_head = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
        head = h11.Response(
            status_code=response.status,
            headers=[*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")],
            reason=HTTPStatus(response.status).phrase.encode(),
        )
        for event in (head, h11.Data(data=b"" if is_head else bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")


def _unmap(client: tuple[str, int] | None) -> tuple[str, int] | None:
    """
    The address of a client of IPv4 as IPv4. A socket for both families has it in IPv6 form, which matches no range of
    `KNS_TRUSTED_PROXIES` and gives one client two addresses.

    >>> _unmap(("::ffff:10.0.0.7", 4242))
    ('10.0.0.7', 4242)
    """
    if client is None or not client[0].startswith(_MAPPED):
        return client
    return client[0].removeprefix(_MAPPED), client[1]
