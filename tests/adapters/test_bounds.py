"""A hostile server: endless bodies, single bytes, nested JSON. No response fills the memory or blocks a thread."""

import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import Configuration

from kns.adapters.kube.client import Bounds, KubeClient
from kns.adapters.kube.connect import connect_to
from kns.adapters.kube.virtual import KubeVirtualClusters
from kns.model.errors import UnavailableError
from tests.adapters.certificates import make_certificate
from tests.adapters.conftest import kubeconfig_for
from tests.patience import PATIENCE_S

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Talk = Callable[[socket.socket, threading.Event], None]


@contextmanager
def liar(talk: Talk, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server that reads a request and then sends what `talk` sends."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with connection if tls is None else tls.wrap_socket(connection, server_side=True) as plain:
                    plain.recv(65536)
                    talk(plain, over)
            except OSError:
                connection.close()  # the client hung up, which is what these tests want

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        with socket.create_connection(listener.getsockname()):
            pass
        listener.close()
        thread.join(PATIENCE_S)


def endless(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


def drip_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    while not over.wait(0.02):
        connection.sendall(b" ")


def drip_head(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.02):
        connection.sendall(b"x")


def chunk_without_end(connection: socket.socket, over: threading.Event) -> None:
    """Python reads a chunk of the size -1 until the connection ends."""
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n")
    send_much(connection, over)


def size_without_end(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    send_much(connection, over)


def send_much(connection: socket.socket, over: threading.Event) -> None:
    for _ in range(64):
        if not over.is_set():
            connection.sendall(b"0" * 65536)


def nest(connection: socket.socket, _over: threading.Event) -> None:
    body = b"[" * 200_000
    connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def nest_in_an_error(connection: socket.socket, _over: threading.Event) -> None:
    body = b"[" * 200_000
    connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def pack(connection: socket.socket, _over: threading.Event) -> None:
    """The response claims to be compressed. kns requested no compression and decompresses nothing."""
    body = b"\x1f\x8b" + b"\0" * 100
    connection.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.proves("security", "answer kns slowly or never from the job's own API")
@pytest.mark.parametrize(
    "talk",
    [endless, drip_body, drip_head, chunk_without_end, size_without_end, nest, nest_in_an_error, pack],
)
def test_a_lying_virtual_cluster_is_one_that_does_not_answer(talk: Talk) -> None:
    bounds = Bounds(max_bytes=262_144, total_s=0.5)
    with liar(talk) as url:
        client = connect_to(kubeconfig_for(url), bounds=bounds)
        with pytest.raises(UnavailableError):
            client.request("GET", "/api", read_timeout_s=PATIENCE_S)
        client.close()
        assert not KubeVirtualClusters(bounds).is_ready("kns-job-7", json.dumps(kubeconfig_for(url)))


@pytest.mark.parametrize("talk", [chunk_without_end, size_without_end])
def test_no_more_is_read_than_the_limit_whatever_an_answer_says_of_its_parts(talk: Talk) -> None:
    with liar(talk) as url:
        client = bounded_client(url, Bounds(max_bytes=262_144, total_s=PATIENCE_S))
        with pytest.raises(UnavailableError, match=r"larger than allowed|exceeded maximum allowed length"):
            client.request("GET", "/api")
        client.close()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("at_once", [b"", HEAD + b"Content-Length: 200\r\n\r\n"], ids=["slow head", "slow body"])
def test_a_connection_that_stays_open_has_a_deadline_in_each_call(at_once: bytes, is_tls: bool, tmp_path: Path) -> None:
    """Otherwise a cluster that is honest once could hold a thread with its second answer, a byte at a time."""
    whole = HEAD + b"Content-Length: 200\r\n\r\n" + b"{}".ljust(200)

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
        connection.recv(65536)
        try:
            connection.sendall(at_once)
            for byte in whole.removeprefix(at_once):
                over.wait(0.02)
                connection.sendall(bytes([byte]))
        except OSError:
            ends.put("cut off")
        else:
            ends.put("whole")

    certificate, key = tmp_path / "certificate", tmp_path / "key"
    make_certificate(certificate, key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    ends: queue.Queue[str] = queue.Queue()
    with liar(talk, tls if is_tls else None) as url:
        client = bounded_client(url, Bounds(max_bytes=262_144, total_s=2.0), authority=certificate)
        assert client.request("GET", "/api") == {}
        with pytest.raises(UnavailableError, match=r"no answer|no whole answer"):
            client.request("GET", "/api", read_timeout_s=PATIENCE_S)
        assert ends.get(timeout=PATIENCE_S) == "cut off"
        client.close()


def test_a_host_that_sends_without_end_is_cut_off() -> None:
    with liar(endless) as url:
        client = bounded_client(url, Bounds(max_bytes=262_144, total_s=None))
        with pytest.raises(UnavailableError, match="the answer is larger than 262144 bytes"):
            client.request("GET", "/api")
        client.close()


def test_a_discarded_answer_is_not_read() -> None:
    """Deleting a collection answers with every object that was deleted."""
    with liar(endless) as url:
        client = bounded_client(url, Bounds(max_bytes=262_144, total_s=None))
        assert client.request("DELETE", "/api", discard=True) == {}
        client.close()


def test_a_line_of_a_watch_without_an_end_is_cut_off() -> None:
    with liar(endless) as url:
        client = bounded_client(url, Bounds(max_bytes=262_144, total_s=None))
        with pytest.raises(UnavailableError, match="a line is larger than 262144 bytes"):
            list(client.stream_lines("/api", query={}, read_timeout_s=PATIENCE_S))
        client.close()


def test_lines_of_a_watch_come_whole_wherever_chunks_end() -> None:
    def talk(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for chunk in (b'{"a"', b': 1}\n{"b": 2}\n\n{"c', b'": 3}\n', b'{"cut'):
            connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        connection.sendall(b"0\r\n\r\n")

    with liar(talk) as url:
        client = bounded_client(url, Bounds(max_bytes=1000, total_s=None))
        lines = list(client.stream_lines("/api", query={}, read_timeout_s=PATIENCE_S))
        client.close()
    assert lines == [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']


def bounded_client(url: str, bounds: Bounds, authority: Path | None = None) -> KubeClient:
    configuration: Any = Configuration()
    configuration.host = url
    configuration.ssl_ca_cert = None if authority is None else str(authority)
    return KubeClient(configuration, bounds=bounds)
