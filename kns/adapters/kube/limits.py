"""
Limits of a whole HTTP call, in time and in bytes: connection, TLS handshake, headers and body.

The timeouts of urllib3 and `http.client` apply to each read of the socket, so a server that sends single bytes can
block a thread without limit. Here a timer shuts the socket down, and the current read fails at once.

Both libraries also believe what an answer says of its parts. A chunk of the size -1 is read until the server ends the
connection, into memory, before anybody can count it. Here the bytes are counted as they leave the socket.
"""

import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from typing import Any

from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_FRAME_BYTES = 64 * 1024  # of an answer, beside its body: status line, headers, sizes of chunks


class _Call:
    """The sockets of one call. They are duplicates, because TLS takes over the original and has no `dup`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
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
def limit_call(total_s: float | None, max_bytes: int) -> Iterator[Callable[[], bool]]:
    """
    Shut down the connections that this thread uses inside the block, `total_s` seconds after its start, and read no
    more than a body of `max_bytes` from each. With None there are no limits.

    Yields a function that returns whether the time is over. It works for pools prepared with `use_limits`. A call in
    progress fails as if the server had closed the connection.
    """
    if total_s is None:
        yield lambda: False
        return
    call = _Call(max_bytes)
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


def use_limits(manager: PoolManager) -> None:
    """Make every connection of `manager` obey the limits of its thread."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class _Counted(io.RawIOBase):
    """What comes from a socket, up to a number of bytes."""

    def __init__(self, source: io.RawIOBase, most: int) -> None:
        self._source = source
        self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count: int | None = self._source.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise OSError("the answer is larger than allowed")
        return count

    def close(self) -> None:
        self._source.close()
        super().close()


class _Answer(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        if _current.call is not None:
            self.fp = io.BufferedReader(_Counted(self.fp.detach(), _current.call.max_bytes + _FRAME_BYTES))


class _Connection(HTTPConnection):
    response_class = _Answer

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
