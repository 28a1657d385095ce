"""
The two kinds of answer, in exactly the bytes that published clients expect.

The Content-Type has no charset, because clients compare the whole header. JSON has an indent of four and a final
newline, because clients compare the text of errors.
"""

import json
from typing import Any

from fastapi import Response

JSON = "application/json"
TEXT = "text/plain"


class JsonAnswer(Response):
    media_type = JSON

    def render(self, content: Any) -> bytes:
        text = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False)
        # UTF-8 cannot encode a lone surrogate; the backslash form is also JSON's own escape for it.
        return f"{text}\n".encode("utf-8", "backslashreplace")


class TextAnswer(Response):
    """Plain text. The header is set by hand because the framework would add a charset."""

    def __init__(self, text: str) -> None:
        super().__init__(text.encode("utf-8", "replace"), headers={"content-type": TEXT})
