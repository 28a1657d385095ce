"""
The Launcher's framing: a length of four bytes, big-endian, then that many bytes of JSON. Nothing is between two frames,
and a pipe may split and join them anywhere.
"""

import json
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from kns.model.errors import KnsError

_LENGTH = struct.Struct(">I")
_SMALL_BYTES = 4096  # a state, an error, a single job; a list of many jobs is larger
_PATIENCE_S = 1.0  # for which small frames may overtake a large one
_LONGEST_ENVELOPE = 200  # bytes: the names and the 20 digits of messageType, requestId and responseId
HEARTBEAT, ERROR = 0, -1  # message types of responses without a number of their own


class FrameTooLargeError(KnsError):
    """A frame is larger than both sides allow. Its end cannot be found, so the connection is unusable."""


class FrameReader:
    """Puts frames together from the pieces that arrive."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        The complete frames, without their lengths.

        Raises:
            FrameTooLargeError: the next frame is too large.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self._max_bytes:
                raise FrameTooLargeError(f"a message of {length} bytes is larger than {self._max_bytes} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield frame


def encode_frame(message: Mapping[str, Any]) -> bytes:
    """ASCII alone: JSON escapes the rest, so that no text can make invalid UTF-8."""
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class _Turns:
    """
    A lock that small frames get before large ones, so that a change of a state does not wait for 50 lists of a
    megabyte each. A large one that has waited for a while is next.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._is_held = False
        self._small = 0  # that wait

    @contextmanager
    def hold(self, *, is_small: bool) -> Iterator[None]:
        with self._condition:
            if not is_small:
                self._condition.wait_for(lambda: not self._is_held and not self._small, _PATIENCE_S)
            self._small += 1
            try:
                self._condition.wait_for(lambda: not self._is_held)
            finally:
                self._small -= 1
            self._is_held = True
        try:
            yield
        finally:
            with self._condition:
                self._is_held = False
                self._condition.notify_all()


class Outbox:
    """
    Writes responses, each whole, from any thread. It numbers them: `responseId` is one counter for all of them, which
    heartbeats and errors neither have nor use up.
    """

    def __init__(self, stream: IO[bytes], *, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self.room = max_bytes - _LONGEST_ENVELOPE
        """Bytes that fit in one response beside its type and its numbers."""
        self._turns = _Turns()
        self._next = 0
        self.closed = threading.Event()
        """Set once the Launcher no longer reads."""

    def send(self, message_type: int, body: Mapping[str, Any]) -> None:
        """
        Raises:
            FrameTooLargeError: nothing was sent, and no number was used.
        """
        self.send_pieces(message_type, [json.dumps(body, separators=(",", ":"), allow_nan=False).encode("ascii")[1:-1]])

    def send_pieces(self, message_type: int, members: Sequence[bytes]) -> None:
        """
        As `send`, of the members of a JSON object, without braces, in pieces. The body is not encoded again.

        Raises:
            FrameTooLargeError: nothing was sent, and no number was used.
        """
        head, size = b'{"messageType":%d,' % message_type, sum(map(len, members))
        with self._turns.hold(is_small=size <= _SMALL_BYTES):
            tail = b',"responseId":%d}' % self._next
            length = len(head) + size + len(tail)
            if length > self._max_bytes:
                raise FrameTooLargeError(
                    f"the response has {length} bytes, and the Launcher takes {self._max_bytes}; ask for less"
                )
            self._next += 1
            self._write(b"".join((_LENGTH.pack(length), head, *members, tail)))

    def send_error(self, request_id: int, code: int, message: str) -> None:
        body = {
            "messageType": ERROR,
            "requestId": request_id,
            "responseId": 0,
            "errorCode": code,
            "errorMessage": message,
        }
        with self._turns.hold(is_small=True):
            self._write(encode_frame(body))

    def send_heartbeat(self) -> None:
        with self._turns.hold(is_small=True):
            self._write(encode_frame({"messageType": HEARTBEAT, "requestId": 0, "responseId": 0}))

    def _write(self, frame: bytes) -> None:
        if self.closed.is_set():
            return
        try:
            self._stream.write(frame)
            self._stream.flush()
        except (OSError, ValueError):  # the Launcher has ended; end of file on our input follows
            self.closed.set()
