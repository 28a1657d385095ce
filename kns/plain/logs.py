"""
A job's log as bytes, from its beginning to its end, whatever happens to the connection.

Each line of the API's answer begins with the time at which the node received it. A node takes the times of stdout and
stderr independently, so in a log of both a line may be older than the line before it.

If a connection breaks or is silent for too long, the next one begins some lines earlier, and what was passed on already
is skipped: as many lines of each time as were passed on, and the beginning of a line that was cut.
"""

import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

_LONGEST_TIME = 64  # bytes; a longer first word is no time
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT")
_RECENT = 64  # times that are remembered


@dataclass(slots=True)
class LogReader:
    """
    Removes the times, and remembers where to continue.

    Use one for a whole log: call `restart` before each further connection, and `read` with each piece of it.
    """

    _recent: deque[tuple[bytes, int]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """The last times that were passed on, each with its number of lines, one after the other."""
    _before: bytes = b""  # the greatest time that is no longer remembered
    _since: bytes = b""  # the least of the remembered times, once there is an earlier one
    _left: Counter[bytes] = field(default_factory=Counter)  # after `restart`: the lines to be skipped, by their time
    _head: bytes = b""  # an incomplete time at the beginning of a line
    _line: "_Line | None" = None  # what the current line is; None until its time was read
    _cut: int = -1  # the bytes that were passed on of the last line, if its end is missing; -1 if it is complete
    _drop: int = 0  # bytes of the current line that were passed on before

    @property
    def has_read(self) -> bool:
        return bool(self._recent)

    @property
    def since(self) -> str:
        """The time to continue from after `restart`; "" for the beginning, while all lines are remembered."""
        return self._since.decode("ascii", "replace")

    def restart(self) -> None:
        self._head, self._line, self._drop = b"", None, 0
        self._left.clear()
        for time, lines in self._recent:
            self._left[time] += lines
        self._since = min(self._left, key=_order) if self._before else b""

    def read(self, data: bytes) -> bytes:
        return b"".join(self._pieces(data))

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(data):
            if self._line is None:
                position, word = self._read_time(data, position)
                yield word
                continue
            end = data.find(b"\n", position)
            stop = len(data) if end < 0 else end + 1
            if self._line is not _Line.KNOWN:
                dropped = min(self._drop, stop - position)
                self._drop -= dropped
                yield data[position + dropped : stop]
                if self._line is _Line.TIMED:
                    self._cut = -1 if end >= 0 else self._cut + stop - position - dropped
            position = stop
            if end >= 0:
                self._line, self._drop = None, 0

    def _read_time(self, data: bytes, position: int) -> tuple[int, bytes]:
        """
        Read the time of a line, which may come in pieces. Returns the position after its space, and the first word if
        it is no time and is passed on.
        """
        end = data.find(b" ", position)
        stop = len(data) if end < 0 else end
        self._head += data[position:stop]
        if end < 0 and len(self._head) <= _LONGEST_TIME:
            return stop, b""
        time, self._head = self._head, b""
        self._line = self._judge(time)
        return stop + 1, time + data[stop : stop + 1] if self._line is _Line.UNTIMED else b""

    def _judge(self, time: bytes) -> "_Line":
        """
        What was passed on comes before everything else. So a line is new when all that are remembered were skipped, or
        when it is newer than all before them: then those are gone, because the node has begun a new file.
        """
        if not _TIME.match(time):
            return _Line.KNOWN if self._left else _Line.UNTIMED
        if time in self._left:
            self._left[time] -= 1
            if self._left[time]:
                return _Line.KNOWN
            del self._left[time]
            if self._cut < 0 or time != self._recent[-1][0]:
                return _Line.KNOWN
            self._drop = self._cut
            return _Line.TIMED
        if self._left and _order(time) <= _order(self._before):
            return _Line.KNOWN
        self._left.clear()
        self._remember(time)
        self._cut = 0
        return _Line.TIMED

    def _remember(self, time: bytes) -> None:
        if self._recent and self._recent[-1][0] == time:
            self._recent.append((time, self._recent.pop()[1] + 1))
            return
        if len(self._recent) == _RECENT:
            self._before = max(self._before, self._recent[0][0], key=_order)
        self._recent.append((time, 1))


class _Line(Enum):
    KNOWN = auto()  # passed on before
    TIMED = auto()  # is passed on, or the rest of it, and remembered
    UNTIMED = auto()  # an error of the node, or the rest of a line whose beginning is older than `since`


def _order(time: bytes) -> tuple[bytes, bytes]:
    """
    A key that sorts times of one node, whose fractions of a second may have different lengths.

    >>> _order(b"2026-01-05T14:15:30Z") < _order(b"2026-01-05T14:15:30.5Z")
    True
    """
    seconds, _, fraction = time.rstrip(b"Z").partition(b".")
    return seconds, fraction.ljust(9, b"0")
