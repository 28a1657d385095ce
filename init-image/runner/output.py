"""
The job's output: complete lines, each written at once.

The output of a child process may be any bytes. This module converts it to UTF-8 lines of limited length, so that a
child that never prints a line break uses no memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Protocol

MAX_LINE_BYTES = 16 * 1024
"""Container runtimes split log lines at 16 KiB, so a longer line would be split anyway."""


class Sink(Protocol):
    """An unbuffered binary stream. `write` may write only a part and returns its length."""

    def write(self, data: bytes, /) -> int | None:
        """Write, and return the number of written bytes."""


class Output:
    """
    Writes lines, from several threads.

    The stream has no buffer, because a thread may hold the lock of a buffered stream when the interpreter ends, which
    aborts the process.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """
        Write one line.

        Raises:
            OSError: the output was closed by its reader.
        """
        data = text.encode("utf-8", "replace") + b"\n"
        with self._lock:
            while data:
                data = data[self._sink.write(data) or 0 :]


def split_lines(chunks: Iterable[bytes], *, limit_bytes: int = MAX_LINE_BYTES) -> Iterator[str]:
    """
    The lines in a stream of chunks, each as soon as it is complete.

    Bytes that are not UTF-8 are replaced. The part of a line beyond `limit_bytes` is replaced by a note with its
    length.

    >>> list(split_lines([b"one\\ntw", b"o\\n", b"three"]))
    ['one', 'two', 'three']
    >>> list(split_lines([b"12345", b"6789\\n"], limit_bytes=6))
    ['123456 [line cut, 3 bytes left out]']
    """
    line, dropped = bytearray(), 0
    for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            dropped += _add(line, part, limit_bytes)
            yield _shown(line, dropped)
            line, dropped = bytearray(), 0
        dropped += _add(line, rest, limit_bytes)
    if line or dropped:
        yield _shown(line, dropped)


def _add(line: bytearray, part: bytes, limit_bytes: int) -> int:
    """Add as much of `part` as the limit allows. Returns the number of dropped bytes."""
    room = limit_bytes - len(line)
    line += part[:room]
    return max(len(part) - room, 0)


def _shown(line: bytearray, dropped: int) -> str:
    text = line.decode("utf-8", "replace").removesuffix("\r")
    return f"{text} [line cut, {dropped} bytes left out]" if dropped else text
