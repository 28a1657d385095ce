"""
The two kinds of answer, in exactly the bytes that published clients expect.

The Content-Type has no charset, because clients compare the whole header. JSON has an indent of four and a final
newline, because clients compare the text of errors. No cache may store an answer: some have passwords, and a cache
that is shared does not know the headers that hold credentials.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse

JSON = "application/json"
TEXT = "text/plain"

_NO_STORE = {"Cache-Control": "no-store"}
_INDENT = 4
_CHUNK_BYTES = 64 * 1024  # rendered at a time; a longer map leaves in several parts


class JsonAnswer(Response):
    media_type = JSON

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, {**_NO_STORE, **(headers or {})})

    def render(self, content: Any) -> bytes:
        return _encode(json.dumps(content, indent=_INDENT, ensure_ascii=False, allow_nan=False) + "\n")


def answer_map(members: Iterable[tuple[str, Any]]) -> Response:
    """
    A JSON object in the same bytes as `JsonAnswer`.

    Only a part of a large one is in memory at a time: each next part is rendered when the client has read enough.
    """
    parts = _render_parts(members)
    first = next(parts)
    second = next(parts, None)
    if second is None:
        return Response(first, headers=_NO_STORE, media_type=JSON)
    return StreamingResponse(chain((first, second), parts), headers=_NO_STORE, media_type=JSON)


def _render_parts(members: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    part, comma = bytearray(b"{"), b""
    for key, value in members:
        text = json.dumps({key: value}, indent=_INDENT, ensure_ascii=False, allow_nan=False)
        part += comma + _encode(text.removeprefix("{").removesuffix("\n}"))
        comma = b","
        if len(part) >= _CHUNK_BYTES:
            yield bytes(part)
            part.clear()
    yield bytes(part) + (b"\n}\n" if comma else b"}\n")


def _encode(text: str) -> bytes:
    # UTF-8 cannot encode a lone surrogate; the backslash form is also JSON's own escape for it.
    return text.encode("utf-8", "backslashreplace")


class TextAnswer(Response):
    """Plain text. The header is set by hand because the framework would add a charset."""

    def __init__(self, text: str) -> None:
        super().__init__(text.encode("utf-8", "replace"), headers={"content-type": TEXT, **_NO_STORE})
