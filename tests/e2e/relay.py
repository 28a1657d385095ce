"""A loopback port that leads to a server elsewhere, for programs that send secrets by TLS or over loopback only."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

from tests.e2e.waiting import PATIENCE

_CHUNK_BYTES = 64 * 1024
_TIMEOUT_S = 60.0 * PATIENCE  # for a connection without data, so that no thread stays


@contextlib.contextmanager
def open_relay(url: str) -> Iterator[str]:
    """The address that leads to that server while the block runs."""
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    target = place.hostname, place.port

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(target, _TIMEOUT_S) as there:
                self.request.settimeout(_TIMEOUT_S)
                back = threading.Thread(target=_copy, args=(there, self.request), daemon=True)
                back.start()
                _copy(self.request, there)
                back.join(_TIMEOUT_S)

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until the source has no more, or one of the two is gone."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
