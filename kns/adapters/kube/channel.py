"""
Commands and input in a running container, by WebSocket.

Kubernetes multiplexes the streams of a process on one connection. The first byte of each message is the stream: 0
input, 1 output, 2 errors, 3 the end as a `Status`, 255 closes the stream that the second byte names. Closing a single
stream needs the protocol v5 (Kubernetes 1.30 or later); before, the input ends with the connection.

The official client's `stream` replaces the transport of a shared client under other threads, so it is not used.
"""

import contextlib
import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import websocket

from kns.adapters.kube.client import CONNECT_TIMEOUT_S, KubeClient
from kns.adapters.kube.errors import error_from_status
from kns.model.errors import RefusedError, UnavailableError, clip

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_INPUT, _OUTPUT, _ERRORS, _END, _CLOSE = 0, 1, 2, 3, 255
# Of an input. A socket takes a piece this small at once when it has room, so the deadline is checked after each wait.
_PIECE_BYTES = 8 * 1024
_MOST_OUTPUT_BYTES = 4096  # of a command, which is shown to people; the rest is read and dropped
_UNKNOWN_CODE = -1
_SWITCHED = 101


def run_command(
    client: KubeClient, path: str, *, container: str, command: Sequence[str], timeout_s: float
) -> tuple[int, str]:
    """
    Run a command in a container; `path` is that of the pod. Returns its exit code and the beginning of its output.

    Raises:
        RefusedError: the container does not run, or does not have the program.
        KnsError: no connection, no right, or no end within `timeout_s`.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", c) for c in command)]
    said = bytearray()
    deadline = time.monotonic() + timeout_s
    with _connect(client, f"{path}/exec", query, timeout_s=timeout_s) as connection:
        for stream, data in _messages(connection, f"exec in {path}", deadline):
            if stream in (_OUTPUT, _ERRORS):
                said += data[: _MOST_OUTPUT_BYTES - len(said)]
            elif stream == _END:
                return _read_end(data, path), clip(said.decode("utf-8", "replace"))
    raise UnavailableError(f"exec in {path}: the connection ended before the command")


def send_input(client: KubeClient, path: str, *, container: str, data: bytes, timeout_s: float) -> None:
    """
    Write `data` to the input of a running container that has one, then close its input; in all within `timeout_s`.

    Raises:
        RefusedError: a part of the data may be missing. The input ends with its first client, so do not repeat it.
        KnsError: no connection, or no right. Nothing was written.
    """
    query = [("container", container), ("stdin", "true"), ("stdout", "false"), ("stderr", "false")]
    deadline = time.monotonic() + timeout_s
    with _connect(client, f"{path}/attach", query, timeout_s=timeout_s) as connection:
        what = f"attach to {path}"
        try:
            for start in range(0, len(data), _PIECE_BYTES):
                _limit(connection, what, deadline)
                connection.send_binary(bytes([_INPUT]) + data[start : start + _PIECE_BYTES])
            _limit(connection, what, deadline)
            if connection.getsubprotocol() == V5:
                connection.send_binary(bytes([_CLOSE, _INPUT]))
            else:
                connection.send_close()  # in order, so it cannot overtake the data
            # The node ends the connection once it has passed everything on.
            for stream, said in _messages(connection, what, deadline):
                if stream == _END and (problem := _read_failure(said)):
                    raise RefusedError(f"{what}: {clip(problem)}")
        except (websocket.WebSocketException, OSError, UnavailableError) as error:
            raise RefusedError(f"{what}: a part of the input may be missing: {clip(str(error))}") from error


@contextmanager
def _connect(
    client: KubeClient, path: str, query: Sequence[tuple[str, str]], *, timeout_s: float
) -> Iterator[websocket.WebSocket]:
    parts = urlsplit(client.configuration.host)
    scheme = "wss" if parts.scheme == "https" else "ws"
    url = urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}{path}", urlencode(query), ""))
    what = f"GET {path}"
    try:
        connection = websocket.create_connection(
            url,
            timeout=min(timeout_s, CONNECT_TIMEOUT_S * 2),
            header=[f"{key}: {value}" for key, value in client.auth_headers().items()],
            subprotocols=[V5, V4],
            sslopt=_ssl_options(client.configuration),
            http_no_proxy=["*"],
            suppress_origin=True,
            redirect_limit=0,
            enable_multithread=False,
        )
    except websocket.WebSocketBadStatusException as error:
        headers = _read_headers(error.resp_headers)
        raise error_from_status(what, error.status_code, error.resp_body or b"", headers) from error
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise UnavailableError(f"{what}: no answer ({clip(f'{type(error).__name__}: {error}')})") from error
    try:
        status = connection.getstatus()
        if status != _SWITCHED:  # a redirect, which versions of the library below 1.9 take for a success
            raise error_from_status(what, status or 0, b"", _read_headers(connection.getheaders()))
        yield connection
    finally:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            connection.shutdown()  # type: ignore[no-untyped-call]  # the library has no types for it


def _read_headers(headers: Mapping[str, Any] | None) -> dict[str, str]:
    """The library gives names in lower case."""
    return {name.title(): str(value) for name, value in (headers or {}).items()}


def _ssl_options(configuration: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE}
    if not configuration.verify_ssl:
        options["check_hostname"] = False
    for key, value in (
        ("ca_certs", configuration.ssl_ca_cert),
        ("certfile", configuration.cert_file),
        ("keyfile", configuration.key_file),
    ):
        if value:
            options[key] = value
    return options


def _limit(connection: websocket.WebSocket, what: str, deadline: float) -> None:
    """
    Let the next call on the connection end at the deadline, in the time of `time.monotonic`.

    Raises:
        UnavailableError: it has passed.
    """
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise UnavailableError(f"{what}: no end before its deadline")
    connection.settimeout(left_s)


def _messages(connection: websocket.WebSocket, what: str, deadline: float) -> Iterator[tuple[int, bytes]]:
    """The messages until the server closes the connection."""
    while True:
        _limit(connection, what, deadline)
        try:
            code, data = connection.recv_data(control_frame=True)  # otherwise a server that pings is waited for forever
        except websocket.WebSocketTimeoutException:
            continue
        except websocket.WebSocketConnectionClosedException:
            return
        except (websocket.WebSocketException, OSError) as error:
            raise UnavailableError(f"{what}: {clip(str(error))}") from error
        if code == websocket.ABNF.OPCODE_CLOSE:
            return
        if data and code not in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
            yield data[0], data[1:]


def _read_end(data: bytes, path: str) -> int:
    status = _decode(data)
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            try:
                return int(cause.get("message", ""))
            except ValueError:
                return _UNKNOWN_CODE
    raise RefusedError(f"exec in {path}: {clip(str(status.get('message') or 'failed'))}")


def _read_failure(data: bytes) -> str:
    status = _decode(data)
    return "" if status.get("status") != "Failure" else str(status.get("message") or "failed")


def _decode(data: bytes) -> Mapping[str, Any]:
    try:
        status = json.loads(data)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
