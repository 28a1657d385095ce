"""
The job's output: whole lines, each written and visible at once, and not more of them than the log can hold.

What a child prints is bytes of any kind, length and amount. It becomes UTF-8 lines of bounded length here; a child
that never prints a line break costs no memory.

kubelet keeps about 10 MiB of a container's log by default and then drops the beginning, and kns stores at most 2 MiB in
the host's etcd. So the output has a limit of its own: a burst, a rate after that, and a total. What an attempt prints
beyond the rate is held back, and of that only the end is kept: it is where a script says why it failed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Protocol

MAX_LINE_BYTES = 16 * 1024
"""Container runtimes split log lines at 16 KiB, so a longer line would be split anyway."""

LINE_OVERHEAD_BYTES = 64
"""What a line costs beside its text: the container runtime adds a time stamp, the stream's name and a tag."""

BURST_BYTES = 2 * 1024**2
"""Written at any speed; as much as kns keeps of a job's output, so an app below it never loses a line."""

RATE_BYTES_PER_S = 16 * 1024
"""After the burst. A script that prints a few lines a second never meets it."""

TOTAL_BYTES = 8 * 1024**2
"""Of a whole run: below the 10 MiB at which kubelet starts a new log file, with room for the last lines."""

HELD_BYTES = 512 * 1024
"""Of an attempt's held lines, the latest are kept: some 5000 lines of usual length."""

LAST_BYTES = 32 * 1024
"""The end of a failed last attempt, which is shown even when the total is used up."""


class Sink(Protocol):
    """An unbuffered binary stream. `write` may write only a part and returns its length."""

    def write(self, data: bytes, /) -> int | None:
        """Write, and return the number of written bytes."""


class Output:
    """
    Writes lines, from several threads, and keeps account of them.

    Unbuffered on purpose: a buffered stream can be locked by a reader thread just when the interpreter ends,
    which aborts the process.
    """

    def __init__(self, sink: Sink, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._sink = sink
        self._clock = clock
        self._lock = threading.Lock()
        self._total_left = TOTAL_BYTES
        self._burst_left = float(BURST_BYTES)
        self._counted_at = clock()

    def line(self, text: str) -> bool:
        """
        Write one line of the runner's own, at once. False: the total is used up, the line is dropped.

        Raises:
            OSError: the output was closed by its reader.
        """
        with self._lock:
            return self._write_within_total(text)

    def offer(self, lines: Iterable[str], *, cost_bytes: int) -> bool:
        """
        Write these lines, of this size, if the rate admits all of them now. False: it does not, nothing was written.

        Raises:
            OSError: the output was closed by its reader.
        """
        with self._lock:
            now = self._clock()
            earned = (now - self._counted_at) * RATE_BYTES_PER_S
            self._burst_left, self._counted_at = min(self._burst_left + earned, BURST_BYTES), now
            if cost_bytes > min(self._burst_left, self._total_left):
                return False
            for line in lines:
                self._write_within_total(line)
            return True

    def last(self, text: str) -> None:
        """
        Write one of the last lines of a run, whatever was written before.

        Raises:
            OSError: the output was closed by its reader.
        """
        with self._lock:
            self._write(text)

    def _write_within_total(self, text: str) -> bool:
        cost = _cost(text)
        if cost > self._total_left:
            if self._total_left > 0:
                self._total_left = 0
                self._write(
                    f"[output limit of {TOTAL_BYTES // 1024**2} MiB reached: "
                    "the rest is left out, except the end of an item that fails for good]"
                )
            return False
        self._total_left -= cost
        self._burst_left -= cost
        self._write(text)
        return True

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace") + b"\n"
        while data:
            data = data[self._sink.write(data) or 0 :]


class AttemptOutput:
    """
    What one attempt prints. Lines that the rate does not admit are held back; the latest of them follow when it does,
    or when the attempt ends, below a line that counts those that were left out.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._held: deque[str] = deque()
        self._held_bytes = 0
        self._left_out = 0

    @property
    def holding(self) -> bool:
        """Whether lines wait for the rate to admit them."""
        return bool(self._held)

    def line(self, text: str) -> None:
        """
        Write or hold one line.

        Raises:
            OSError: the output was closed by its reader.
        """
        with self._lock:
            cost = _cost(text)
            if not self._held and self._output.offer([text], cost_bytes=cost):
                return
            self._held.append(text)
            self._held_bytes += cost
            while self._held_bytes > HELD_BYTES:
                self._held_bytes -= _cost(self._held.popleft())
                self._left_out += 1
            self._release()

    def tick(self) -> None:
        """
        Time has passed: write what was held, if the rate admits it now.

        Raises:
            OSError: the output was closed by its reader.
        """
        with self._lock:
            self._release()

    def close(self) -> list[str]:
        """
        The attempt has ended: write what was held, whatever the rate. Returns the last lines that the total did not
        admit.

        Raises:
            OSError: the output was closed by its reader.
        """
        with self._lock:
            lines = self._take()
        written = 0
        while written < len(lines) and self._output.line(lines[written]):
            written += 1
        unwritten, size = deque[str](), 0
        for line in reversed(lines[written:]):
            size += _cost(line)
            if size > LAST_BYTES:
                break
            unwritten.appendleft(line)
        return list(unwritten)

    def _release(self) -> None:
        mark = self._mark()
        cost = self._held_bytes + sum(map(_cost, mark))
        if self._held and self._output.offer(chain(mark, self._held), cost_bytes=cost):
            self._take()

    def _take(self) -> list[str]:
        lines = [*self._mark(), *self._held]
        self._held.clear()
        self._held_bytes = self._left_out = 0
        return lines

    def _mark(self) -> list[str]:
        return [f"[{self._left_out} lines left out: too much output]"] if self._left_out else []


def _cost(text: str) -> int:
    return len(text.encode("utf-8", "replace")) + 1 + LINE_OVERHEAD_BYTES


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
