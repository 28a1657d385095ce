"""
The two forms of an answer, byte for byte as published clients expect them.

The Content-Type carries no charset: clients compare the whole header. JSON has an indent of four and a final
newline: clients compare the text of errors.
"""

import json
from typing import Any

from fastapi import Response


class JsonAnswer(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        text = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False)
        # The only thing UTF-8 cannot hold is a lone surrogate, and its backslash form is JSON's own escape.
        return f"{text}\n".encode("utf-8", "backslashreplace")


class TextAnswer(Response):
    """Plain text. The header is set by hand because the framework would add a charset."""

    def __init__(self, text: str) -> None:
        super().__init__(text.encode("utf-8", "replace"), headers={"content-type": "text/plain"})
