"""Bounds of one answer in bytes and in time. A server, or somebody in its place, must not fill or hold this program."""

import time
from collections.abc import Iterator
from typing import Any

import httpx

MAX_BYTES = 64 * 1024 * 1024  # the list of all jobs of a large site has 20 MiB
MAX_S = 120.0  # a timeout of httpx is for each read, so an answer could arrive byte by byte
_PLAIN = {"", "identity"}


class _Bounded(httpx.SyncByteStream):
    def __init__(self, stream: Any, request: httpx.Request) -> None:
        self._stream, self._request = stream, request
        self._until = time.monotonic() + MAX_S

    def __iter__(self) -> Iterator[bytes]:
        total = 0
        for part in self._stream:
            total += len(part)
            if total > MAX_BYTES:
                raise httpx.ReadError(f"the answer has more than {MAX_BYTES} bytes", request=self._request)
            if time.monotonic() > self._until:
                raise httpx.ReadTimeout(f"the answer took more than {MAX_S:.0f} s", request=self._request)
            yield part

    def close(self) -> None:
        self._stream.close()


def _bound(response: httpx.Response) -> None:
    if response.headers.get("content-encoding", "").lower() not in _PLAIN:  # a small one may become a large one
        raise httpx.DecodingError("the answer is compressed, which was not asked for", request=response.request)
    response.stream = _Bounded(response.stream, response.request)


def bound_answers() -> dict[str, Any]:
    """Options of `httpx.Client`."""
    return {"event_hooks": {"response": [_bound]}, "headers": {"Accept-Encoding": "identity"}}
