"""
The app behind the server that main builds, on its own socket: bytes go in, an answer comes out.

A row of a table is one request and the answer that it must get. `Served.assert_unharmed` checks what must be true after
every row.
"""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from io import StringIO

import pytest
import uvicorn
from starlette.types import ASGIApp

from kns.http.server import ServerConfig, listen
from tests.api.client import Api, as_json

CREDENTIALS = "username=user1&apikey=key-user1"
TIMEOUT_S = 60
SECRETS = ("key-user", "wrong-key", "eyJ", "P" * 16)  # API keys, a guess at one, any JWT, a job's password


@dataclass(frozen=True)
class Row:
    """`sent` is a whole request; `error` is the text of the error answer."""

    sentence: str
    sent: bytes
    status: int
    error: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def get(target: str, *headers: str | bytes, method: str = "GET") -> bytes:
    """A request without a body. The server closes the connection after its answer."""
    return _head(f"{method} {target} HTTP/1.1", "Host: kns.example.org", "Connection: close", *headers)


def post(target: str, body: bytes, *headers: str | bytes) -> bytes:
    """A request with a body and its length, below /jarvice/."""
    length = f"Content-Length: {len(body)}"
    return get(f"/jarvice/{target}", length, *headers, method="POST") + body


def chunked(target: str, body: bytes, *headers: str | bytes) -> bytes:
    """The same with a chunked body, given as it is sent on the wire."""
    return get(f"/jarvice/{target}", "Transfer-Encoding: chunked", *headers, method="POST") + body


def _head(*lines: str | bytes) -> bytes:
    raw = [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    return b"\r\n".join([*raw, b"", b""])


class Served:
    """The running server. `log` is the log of kns, `libraries` has that of the libraries."""

    def __init__(self, api: Api, port: int) -> None:
        self.api = api
        self.port = port
        self.log = StringIO()
        self.libraries: pytest.LogCaptureFixture | None = None

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def ask(self, sent: bytes) -> Answer:
        with self.connect() as connection:
            connection.sendall(sent)
            answer = read_answer(connection, method=sent[:5].split(b" ")[0].decode("latin-1"))
            read_to_the_end(connection)  # the server closes last, so the log has the request's line by then
            return answer

    def assert_refused(self, row: Row) -> Answer:
        answer = self.ask(row.sent)
        assert (answer.status, answer.body) == (row.status, as_json({"error": row.error})), row.sentence
        assert answer.headers["content-type"] == "application/json"
        self.assert_unharmed()
        return answer

    def assert_unharmed(self) -> None:
        """It answers, stored nothing, raised nothing, and its log is readable and has no secret."""
        live = self.ask(get("/live"))
        assert (live.status, live.body) == (200, as_json({"status": "OK"}))
        assert self.api.jobs.writes == []
        # pytest also captures loggers without a handler, such as uvicorn's access log, which would have the keys.
        found = self.libraries.records if self.libraries else []
        records = [record for record in found if logging.getLogger(record.name).propagate]
        assert [record.getMessage() for record in records if record.exc_info or record.levelno >= logging.ERROR] == []
        lines = self.log.getvalue().splitlines(keepends=True)
        assert lines, "the request for /live at least"
        for line in lines:
            assert line.endswith("}\n")
            assert line[:-1].isascii()
            assert line[:-1].isprintable()
            assert json.loads(line)["event"] != "unhandled_exception"
        told = self.log.getvalue() + "".join(record.getMessage() for record in records)
        assert [secret for secret in SECRETS if secret in told] == []


def read_answer(connection: socket.socket, *, method: str = "GET") -> Answer:
    response = HTTPResponse(connection, method=method)
    response.begin()
    headers = {key.lower(): value for key, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def read_to_the_end(connection: socket.socket) -> bytes:
    """Read until the server closes. It may drop the rest of what it was sent, with a reset."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"(reset)")
    return b"".join(parts)


@contextmanager
def serve(
    api: Api,
    *,
    app: ASGIApp | None = None,
    request_limit_s: float = 30,
    trusted_proxies: str = "127.0.0.1",
    max_waiting: int = 1000,
) -> Iterator[Served]:
    """
    `app` is one over the stores of `api`; without it, the APIs. Clients can connect at once, because the socket listens
    before the server runs.
    """
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        config = ServerConfig(
            app or api.app,
            host="127.0.0.1",
            port=port,
            trusted_proxies=trusted_proxies,
            request_limit_s=request_limit_s,
            max_waiting=max_waiting,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield Served(api, port)
        finally:
            server.should_exit = True
            thread.join(TIMEOUT_S)
    assert not thread.is_alive()
