"""
The API server of a job's cluster as a tenant may run it: TLS on 127.0.0.1, in a thread of its own, by the path asked.

It wants a client certificate or a token. `lines` are sent to open watches, one call of `say` each.
"""

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from tests.patience import PATIENCE_S

V5 = "v5.channel.k8s.io"
PORTS = "SPDY/3.1+portforward.k8s.io"  # that of `kubectl port-forward`
TOKEN = "inner-token"


class _Ports(ServerProtocol):
    """As the API server: it takes names that RFC 6455 does not allow. `chosen` is what it answers."""

    chosen = PORTS

    def process_subprotocol(self, headers: Headers) -> Subprotocol | None:
        return Subprotocol(self.chosen)


class _Others(_Ports):
    chosen = "SPDY/3.1+other"


def build_kubeconfig(
    server: str, certificate: Path, key: Path, *, token: str | None = None, authority: Path | None = None
) -> dict[str, Any]:
    """With the certificate as that of the client, and as the authority unless there is another one."""

    def encode(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": encode(authority or certificate)}
    user = {"client-certificate-data": encode(certificate), "client-key-data": encode(key)}
    return {
        "clusters": [{"cluster": cluster}],
        "users": [{"user": user if token is None else {"token": token}}],
    }


class TenantServer:
    def __init__(self, certificate: Path, key: Path) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []  # request line and headers
        self.lost = threading.Event()  # a client has left an open watch
        self.messages: list[bytes] = []  # the first ones of WebSockets
        self.arrived = threading.Event()  # one has
        self.objects: dict[str, Any] = {}  # what is answered at a path
        self._certificate, self._key = certificate, key
        self._says: list[asyncio.Queue[bytes | None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._is_watched = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE_S)

    def kubeconfig(self, *, token: str | None = None, authority: Path | None = None) -> dict[str, Any]:
        server = f"https://127.0.0.1:{self.port}"
        return build_kubeconfig(server, self._certificate, self._key, token=token, authority=authority)

    def say(self, line: bytes | None) -> None:
        """Send a line to all open watches; None ends them."""
        assert self._is_watched.wait(PATIENCE_S)
        for each in self._says:
            self._loop.call_soon_threadsafe(each.put_nowait, line)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate, self._key)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(self._certificate)
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context))
        self.port: int = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.seen.append((first, headers))
        has_certificate = bool(writer.get_extra_info("ssl_object").getpeercert())
        if not has_certificate and headers.get("authorization") != f"Bearer {TOKEN}":
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic\r\n\r\n")
            await writer.drain()
            return
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = first.split()[1].partition("?")[0]
        if "upgrade" in headers:
            await self._talk(raw, path, reader, writer)
            return
        answers: dict[str, Callable[[], Awaitable[None]]] = {
            "/watch": lambda: self._watch(reader, writer),
            "/silent": lambda: self._wait_for_end(reader),
            "/cut": lambda: self._write(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
            "/redirect": lambda: self._write(
                writer, f"HTTP/1.1 307 x\r\nLocation: https://127.0.0.1:{self.port}/stolen\r\n\r\n".encode()
            ),
            "/garbage": lambda: self._write(writer, b"\x00\xff not http at all\r\n\r\n"),
            "/large-head": lambda: self._write(writer, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n"),
            "/switch": lambda: self._write(writer, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello"),
        }
        if path in answers:
            await answers[path]()
            return
        said = json.dumps(self.objects.get(path, {"line": first, "headers": headers, "body": body.decode()})).encode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        head += f"Content-Length: {len(said)}\r\n\r\n"
        await self._write(writer, head.encode() + said)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    async def _wait_for_end(self, reader: asyncio.StreamReader) -> None:
        await reader.read()
        self.lost.set()

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        says: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._says.append(says)
        await self._write(
            writer, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        end = asyncio.ensure_future(self._wait_for_end(reader))
        self._is_watched.set()
        while True:
            line = asyncio.ensure_future(says.get())
            await asyncio.wait([end, line], return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                line.cancel()
                return
            part = line.result() or b""
            await self._write(writer, f"{len(part):x}\r\n".encode() + part + b"\r\n")
            if not part:
                end.cancel()
                return

    async def _talk(self, raw: bytes, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send every message back; `bye` ends it."""
        if path == "/redirect":
            location = f"https://127.0.0.1:{self.port}/exec"
            await self._write(writer, f"HTTP/1.1 302 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        protocols = {
            "/exec": ServerProtocol(subprotocols=[Subprotocol(V5)]),
            "/portforward": _Ports(),
            "/other": _Others(),
        }
        path = f"/{path.rpartition('/')[2]}"
        if path not in protocols:
            said = b'{"kind":"Status","status":"Failure","reason":"NotFound","message":"pods \\"x\\" not found"}'
            head = f"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n"
            await self._write(writer, head.encode() + said)
            return
        protocol = protocols[path]
        protocol.receive_data(raw)
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        await self._write(writer, b"".join(protocol.data_to_send()))
        while data := await reader.read(65536):
            protocol.receive_data(data)
            for event in protocol.events_received():
                assert isinstance(event, Frame)
                if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                    self.messages.append(bytes(event.data[:16]))
                    self.arrived.set()
                    send = protocol.send_text if event.opcode is Opcode.TEXT else protocol.send_binary
                    send(event.data)
                    if event.data == b"bye":
                        protocol.send_close(1000)
            await self._write(writer, b"".join(protocol.data_to_send()))
            if protocol.close_expected():
                break
        self.lost.set()
