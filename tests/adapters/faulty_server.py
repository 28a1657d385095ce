"""An HTTP server on 127.0.0.1 that keeps every request; `script` puts a fault before an answer."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.patience import PATIENCE_S


@dataclass(frozen=True)
class Answer:
    """A response: status, JSON object or raw bytes, headers."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """No response until the server closes."""


@dataclass(frozen=True)
class Reset:
    """The connection ends without a response."""


@dataclass(frozen=True)
class Lines:
    """A response of these lines, one by one."""

    lines: tuple[bytes, ...]


@dataclass(frozen=True)
class Meanwhile:
    """The real response; `act` runs after it was computed and before it is sent."""

    act: Callable[[], object]


@dataclass(frozen=True)
class LostAnswer:
    """The request takes effect, and the connection ends before the response."""


Fault = Answer | Hang | Reset | Lines | Meanwhile | LostAnswer


@dataclass(frozen=True)
class Seen:
    """A received request, with header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class FaultyServer:
    """
    `seen` has every request. A subclass gives the real responses. `time_s` is the time that the server says, in seconds
    since 1970; None is that of this machine.
    """

    time_s: float | None = None

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self._faults: list[tuple[str, str, Fault]] = []
        self._noted = threading.Condition()
        self._scheme = "https" if tls else "http"
        self._http = _Http(self)
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(PATIENCE_S)

    def script(self, method: str, path: str, *faults: Fault) -> None:
        """Script faults for the next requests with this method whose path ends with `path`, one each."""
        with self._noted:
            self._faults += [(method, path, fault) for fault in faults]

    def forget_faults(self) -> None:
        with self._noted:
            self._faults.clear()

    def count(self, method: str, path: str = "") -> int:
        return sum(seen.method == method and seen.path.endswith(path) for seen in list(self.seen))

    def wait_for(self, method: str, path: str) -> None:
        """Wait until such a request was read, because a client may give up before the server reads it."""
        with self._noted:
            assert self._noted.wait_for(lambda: self.count(method, path) > 0, timeout=PATIENCE_S)

    def answer(self, seen: Seen) -> Answer:
        """The real response, after the request took effect."""
        raise NotImplementedError

    def stream(self, seen: Seen, scripted: Iterator[bytes] | None) -> Iterator[bytes] | None:
        """The lines of a response that is sent line by line; None for any other request."""
        del seen
        return scripted

    def upgrade(self, seen: Seen, handler: BaseHTTPRequestHandler) -> bool:
        """Whether a subclass took over the connection, for example as a WebSocket."""
        del seen, handler
        return False

    def note(self, seen: Seen) -> Fault | None:
        """Remember a request; the fault for it, if there is one."""
        with self._noted:
            self.seen.append(seen)
            self._noted.notify_all()
            for index, (method, end, fault) in enumerate(self._faults):
                if method == seen.method and seen.path.endswith(end):
                    del self._faults[index]
                    return fault
        return None


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, faulty: FaultyServer) -> None:
        self.faulty = faulty
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: _Http

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        faulty, seen = self.server.faulty, self._read()
        fault = faulty.note(seen)
        if isinstance(fault, Hang):
            faulty.closing.wait()
            self.close_connection = True
        elif isinstance(fault, Reset | LostAnswer):
            if isinstance(fault, LostAnswer):
                faulty.answer(seen)
            self.close_connection = True
        elif isinstance(fault, Answer):
            self._send(fault)
        elif faulty.upgrade(seen, self):
            self.close_connection = True
        elif (lines := faulty.stream(seen, iter(fault.lines) if isinstance(fault, Lines) else None)) is not None:
            if isinstance(fault, Meanwhile):
                fault.act()
            self._stream(lines)
        else:
            answer = faulty.answer(seen)
            if isinstance(fault, Meanwhile):
                fault.act()
            self._send(answer)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.server.faulty.time_s if timestamp is None else timestamp)

    def _read(self) -> Seen:
        parts, raw = urlsplit(self.path), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_form = "form" in self.headers.get("Content-Type", "")
        body = _flatten(raw.decode()) if is_form else json.loads(raw) if raw else None
        headers = {key.lower(): value for key, value in self.headers.items()}
        return Seen(self.command, parts.path, _flatten(parts.query), headers, body)

    def _send(self, answer: Answer) -> None:
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for key, value in {"Content-Length": str(len(raw)), **answer.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, lines: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            self.wfile.write(b"%x\r\n%s\n\r\n" % (len(line) + 1, line))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are in `FaultyServer.seen`."""


def _flatten(text: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(text).items()}
