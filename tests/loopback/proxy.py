"""
An HTTP proxy on loopback between one replica and the API server. What it does is set while it runs.

It ends TLS, so that it sees each request: it counts writes, can silence watches alone, and can stop in an answer. It
connects from an address of its own, by which the API server's audit log tells the replicas apart.
"""

import asyncio
import contextlib
import ssl
import threading
import time
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from tests.adapters.certificates import make_certificate
from tests.patience import PATIENCE_S

DELAY_S = 0.4
_LINGER_S = 5.0  # for an answer that the replica does not wait for any more, so that the API server finishes the call
_CHUNK_BYTES = 65_536
_HEAD_END = b"\r\n\r\n"
_WRITES = {"POST", "PUT", "PATCH", "DELETE"}


class Mode(Enum):
    """
    SLOW: every piece, in both directions, is late by `DELAY_S`. SILENT: connections stay open, nothing goes through,
    and what was held goes on afterwards. HALF: half of an answer arrives, and its connection never continues; watches
    do. NO_EVENTS: open watches stay open and never say anything again; what is opened later works. CUT: connections are
    closed, new ones are refused.
    """

    PASS = auto()
    SLOW = auto()
    SILENT = auto()
    HALF = auto()
    NO_EVENTS = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class Write:
    """A request of the replica that changes something other than its Lease, and when it arrived (monotonic)."""

    moment: float
    method: str
    path: str


@dataclass(slots=True, eq=False)
class _Connection:
    """`era` is that of the proxy when the current request arrived."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    back_reader: asyncio.StreamReader
    back_writer: asyncio.StreamWriter
    era: int = 0
    is_watch: bool = False


class Proxy:
    """`address` is one of the loopback interface. `hindered` counts what the current mode held back or closed."""

    def __init__(self, folder: Path, *, port: int, authority: str, address: str) -> None:
        """`port` is that of the API server, `authority` its certificate authority as PEM."""
        certificate, key = folder / "proxy.crt", folder / "proxy.key"
        make_certificate(certificate, key)
        self.authority = certificate
        self.address = address
        self.writes: list[Write] = []
        self.hindered = 0
        self.wrote = threading.Event()  # set at each write, for whoever waits for one
        self._identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._identity.load_cert_chain(certificate, key)
        self._trust = ssl.create_default_context(cadata=authority)
        self._target = port
        self._mode, self._era = Mode.PASS, 0
        self._open: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{address}", daemon=True)
        self._thread.start()
        self._call(self._prepare())

    def set_mode(self, mode: Mode) -> None:
        self._call(self._change(mode))

    def close(self) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def _call(self, action: Any) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(PATIENCE_S)

    async def _prepare(self) -> None:
        self._changed = asyncio.Condition()
        self._never = asyncio.Event()
        self.port = 0
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._identity, limit=2**20, reuse_address=True
        )
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _change(self, mode: Mode) -> None:
        async with self._changed:
            before, self._mode = self._mode, mode
            self._era += 1
            self.hindered = 0
            self._changed.notify_all()
        if mode is Mode.CUT:
            self._server.close()
            self.hindered += len(self._open)
            for connection in self._open:
                _abort(connection)
        elif before is Mode.CUT:
            await self._listen()

    async def _end(self) -> None:
        self._server.close()
        for connection in self._open:
            _abort(connection)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back = await asyncio.open_connection(
                "127.0.0.1", self._target, ssl=self._trust, local_addr=(self.address, 0)
            )
        except (OSError, asyncio.CancelledError):  # no API server, or the proxy is closed
            writer.transport.abort()
            return
        connection = _Connection(reader, writer, *back)
        self._open.add(connection)
        requests = asyncio.create_task(self._pass_requests(connection))
        answers = asyncio.create_task(self._pass_answers(connection))
        with contextlib.suppress(asyncio.CancelledError):  # the proxy is closed
            await asyncio.wait((requests, answers), return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                await asyncio.wait((answers,), timeout=_LINGER_S)
        requests.cancel()
        answers.cancel()
        self._open.discard(connection)
        _abort(connection)

    async def _pass_requests(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await connection.reader.readuntil(_HEAD_END)
                method, target = head.split(b" ", 2)[:2]
                body = await connection.reader.readexactly(_read_length(head))
                connection.era, connection.is_watch = self._era, b"watch=true" in target
                self._note(method.decode(), target.decode())
                await self._pass(connection.back_writer, head + body)

    def _note(self, method: str, path: str) -> None:
        if method in _WRITES and "/leases" not in path:
            self.writes.append(Write(time.monotonic(), method, path))
            self.wrote.set()

    async def _pass_answers(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):
            while data := await connection.back_reader.read(_CHUNK_BYTES):
                if connection.is_watch:
                    if self._mode is Mode.NO_EVENTS and connection.era < self._era:
                        self.hindered += 1
                        await self._never.wait()
                elif self._mode is Mode.HALF:
                    self.hindered += 1
                    connection.writer.write(_halve(data))
                    await connection.writer.drain()
                    await self._never.wait()
                await self._pass(connection.writer, data)

    async def _pass(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        if self._mode is Mode.SLOW:
            self.hindered += 1
            await asyncio.sleep(DELAY_S)
        if self._mode is Mode.SILENT:
            self.hindered += 1
            async with self._changed:
                await self._changed.wait_for(lambda: self._mode is not Mode.SILENT)
        sink.write(data)
        await sink.drain()


def _read_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _halve(data: bytes) -> bytes:
    """Half of the body; half of the head if there is no body here."""
    head, end, body = data.partition(_HEAD_END)
    return head + end + body[: len(body) // 2] if body else data[: len(data) // 2]


def _abort(connection: _Connection) -> None:
    connection.writer.transport.abort()
    connection.back_writer.transport.abort()
