"""
A deadline for a whole HTTP call: connection, TLS handshake, headers and body.

The timeouts of urllib3 and `http.client` apply to each read of the socket, so a server that sends single bytes can
block a thread without limit. Here a timer shuts the socket down, and the current read fails at once.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _Call:
    """The sockets of one call. They are duplicates, because TLS takes over the original and has no `dup`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._over = False
        self._lock = threading.Lock()

    def watch(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.append(socket.socket(fileno=os.dup(sock.fileno())))
            over = self._over
        if over:
            self.end()

    def is_over(self) -> bool:
        with self._lock:
            return self._over

    def end(self) -> None:
        """Shut down the sockets of this call, and all that are added later."""
        with self._lock:
            self._over = True
            for sock in self._sockets:
                with suppress(OSError):  # already closed
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()


class _Current(threading.local):
    call: _Call | None = None


_current = _Current()


@contextmanager
def deadline(total_s: float | None) -> Iterator[Callable[[], bool]]:
    """
    Shut down the connections that this thread uses inside the block, `total_s` seconds after its start; None: never.

    Yields a function that returns whether the time is over. It works for pools prepared with `use_deadlines`. A call in
    progress fails as if the server had closed the connection.
    """
    if total_s is None:
        yield lambda: False
        return
    call = _Call()
    timer = threading.Timer(total_s, call.end)
    timer.daemon = True
    _current.call = call
    timer.start()
    try:
        yield call.is_over
    finally:
        _current.call = None
        timer.cancel()
        call.close()


def use_deadlines(manager: PoolManager) -> None:
    """Make every connection of `manager` register its socket with the deadline of its thread."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _watched(super()._new_conn())

    def request(self, *args: Any, **options: Any) -> None:
        if self.sock is not None:  # it was opened by an earlier call, or TLS is established
            _watched(self.sock)
        super().request(*args, **options)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls: Any = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls: Any = _TlsConnection


def _watched(sock: socket.socket) -> socket.socket:
    if _current.call is not None:
        _current.call.watch(sock)
    return sock
