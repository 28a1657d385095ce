"""
A job's log as bytes, from its beginning to its end, whatever happens to the connection.

Each line of the API's answer begins with the time at which the node received it. If a connection breaks or is silent
for too long, the next one begins at the second of the last line, and what was passed on already is skipped: the lines
before, as many lines with the same time as were passed on, and the beginning of a line that was cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

_LONGEST_TIME = 64  # bytes; a longer first word is no time


@dataclass(slots=True)
class LogReader:
    """
    Removes the times, and remembers where to continue.

    Use one for a whole log: call `restart` before each further connection, and `read` with each piece of it.
    """

    _last: bytes = b""  # the time of the last line that was passed on
    _same: int = 0  # the number of passed lines with this time, one after the other
    _cut: int = -1  # the bytes that were passed on of the last of them, if its end is missing; -1 if it is complete
    _catching_up: bool = False
    _left: int = 0  # while catching up: the lines with the last time that are still to be skipped
    _head: bytes = b""  # an incomplete time at the beginning of a line
    _in_line: bool = False  # the time of the current line was read
    _skipping: bool = False
    _drop: int = 0  # bytes of the current line that were passed on before
    _passed: int = 0  # bytes of the current line, with the dropped ones

    @property
    def since(self) -> str:
        """The time to continue from, for the next connection; "" for the beginning."""
        return self._last.decode("ascii", "replace")

    def restart(self) -> None:
        if self._in_line and not self._skipping:
            self._cut = self._passed + self._drop
        self._head, self._in_line, self._skipping, self._drop, self._passed = b"", False, False, 0, 0
        self._catching_up, self._left = bool(self._last), self._same

    def read(self, data: bytes) -> bytes:
        return b"".join(self._pieces(data))

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(data):
            if not self._in_line:
                position = self._read_time(data, position)
                continue
            end = data.find(b"\n", position)
            stop = len(data) if end < 0 else end + 1
            if not self._skipping:
                dropped = min(self._drop, stop - position)
                self._drop -= dropped
                self._passed += stop - position
                yield data[position + dropped : stop]
            position = stop
            if end >= 0:
                self._in_line, self._passed, self._drop = False, 0, 0

    def _read_time(self, data: bytes, position: int) -> int:
        """Read the time of a line, which may come in pieces. Returns the position after its space."""
        end = data.find(b" ", position)
        stop = len(data) if end < 0 else end
        self._head += data[position:stop]
        if end < 0 and len(self._head) <= _LONGEST_TIME:
            return stop
        time, self._head = self._head, b""
        self._in_line = True
        match self._judge(time) if self._catching_up else _Line.NEW:
            case _Line.KNOWN:
                self._skipping = True
            case _Line.CUT:
                self._skipping, self._drop, self._cut = False, self._cut, -1
            case _Line.NEW:
                self._skipping = False
                self._same = self._same + 1 if time == self._last else 1
                self._last, self._cut = time, -1
        return stop + 1

    def _judge(self, time: bytes) -> "_Line":
        order, last = _order(time), _order(self._last)
        if order < last:
            return _Line.KNOWN
        if order > last or self._left == 0:
            self._catching_up = False
            return _Line.NEW
        self._left -= 1
        if self._left or self._cut < 0:
            return _Line.KNOWN
        self._catching_up = False
        return _Line.CUT


class _Line(Enum):
    KNOWN = auto()  # passed on before
    CUT = auto()  # its beginning was passed on before
    NEW = auto()


def _order(time: bytes) -> tuple[bytes, bytes]:
    """
    A key that sorts times of one node, whose fractions of a second may have different lengths.

    >>> _order(b"2026-01-05T14:15:30Z") < _order(b"2026-01-05T14:15:30.5Z")
    True
    """
    seconds, _, fraction = time.rstrip(b"Z").partition(b".")
    return seconds, fraction.ljust(9, b"0")
