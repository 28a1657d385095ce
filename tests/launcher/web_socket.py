"""The server's side of one WebSocket connection, as far as the channels of Kubernetes need it."""

import base64
import hashlib
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE = 2, 8


class ServedSocket:
    """An accepted connection with one of the client's subprotocols."""

    def __init__(self, handler: BaseHTTPRequestHandler, protocol: str) -> None:
        self._handler = handler
        key = handler.headers["Sec-WebSocket-Key"] + _MAGIC
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        handler.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        handler.send_header("Sec-WebSocket-Protocol", protocol)
        handler.end_headers()

    def send(self, stream: int, data: bytes) -> None:
        self._write(_BINARY, bytes([stream]) + data)

    def close(self) -> None:
        self._write(_CLOSE, struct.pack(">H", 1000))

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """The messages of the client as (stream, data), until it closes."""
        while (head := self._handler.rfile.read(2)) and len(head) == 2:
            length = head[1] & 127
            if length == 126:
                (length,) = struct.unpack(">H", self._handler.rfile.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._handler.rfile.read(8))
            mask = self._handler.rfile.read(4)
            raw = self._handler.rfile.read(length)
            data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(raw))
            if head[0] & 15 == _CLOSE:
                return
            yield data[0], data[1:]

    def _write(self, code: int, data: bytes) -> None:
        size = bytes([len(data)]) if len(data) < 126 else bytes([126]) + struct.pack(">H", len(data))
        self._handler.wfile.write(bytes([128 | code]) + size + data)
