"""
The parameters of a request, merged from query, form and JSON body in this one place.

A body that looks like JSON is read as JSON whatever its Content-Type says, because published clients post JSON with
`curl -d`. An empty body has no parameters. The query wins over the body. An empty value counts as absent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from kns.http.dependencies import RawBody
from kns.http.errors import BAD_REQUEST, INVALID_PARAMETERS, HttpError
from kns.http.json_body import decode_json
from kns.model.errors import InvalidInputError
from kns.model.reading.scalars import is_int64

MAX_FIELDS = 1000  # of a form or a query
DEFAULT_LINES = 100

_QUICK_BYTES = 64 * 1024  # a body up to this size is read on the event loop; four MiB of `%` take a second
_INTEGER = re.compile(r"-?[0-9]{1,100}")


@dataclass(frozen=True, slots=True)
class Params:
    """Merged parameters. They hold API keys, so they must never be logged."""

    values: Mapping[str, Any] = field(repr=False)

    def text(self, key: str) -> str | None:
        """
        Raises:
            HttpError: the value is not a string.
        """
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value or None
        raise HttpError(INVALID_PARAMETERS)

    def integer(self, key: str) -> int | None:
        """
        A decimal number of 64 bits, as JSON integer or as text.

        Raises:
            HttpError: the value is neither.
        """
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not is_int64(value):
            raise HttpError(INVALID_PARAMETERS)
        return value

    def lines(self) -> int:
        """
        The parameter `lines`: how many of the last lines to return, 0 for all.

        Raises:
            HttpError: the value is not an integer, or negative.
        """
        lines = self.integer("lines")
        if lines is not None and lines < 0:
            raise HttpError(INVALID_PARAMETERS)
        return DEFAULT_LINES if lines is None else lines

    def is_non_zero(self, key: str) -> bool:
        """True for an integer other than 0, as JSON or as text. Any other value is false."""
        value = self.values.get(key)
        text = "" if isinstance(value, bool) else str(value)
        return _INTEGER.fullmatch(text) is not None and int(text) != 0

    def flag(self, key: str) -> bool:
        """True for JSON `true` and for the exact text `true`. Any other value is false."""
        value = self.values.get(key)
        return value is True or value == "true"


async def _read_params(request: Request, body: RawBody) -> Params:
    """
    Raises:
        HttpError: the body is neither a form nor a JSON object, or there are too many fields.
    """
    if len(body) + len(request.scope["query_string"]) > _QUICK_BYTES:
        return await run_in_threadpool(_merge_params, request, body)
    return _merge_params(request, body)


def _merge_params(request: Request, body: bytes) -> Params:
    query = request.scope["query_string"].decode("utf-8", "replace")
    is_json = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") or (
        "json" in request.headers.get("content-type", "").lower() and body.strip()
    )
    posted = _decode_object(body) if is_json else _decode_form(body)
    return Params({**posted, **_decode_pairs(query)})


def _decode_object(body: bytes) -> dict[str, Any]:
    try:
        data = decode_json(body, parameters=True)
    except InvalidInputError as error:
        raise HttpError(BAD_REQUEST) from error
    if not isinstance(data, dict):
        raise HttpError(BAD_REQUEST)
    return data


def _decode_form(body: bytes) -> dict[str, str]:
    try:
        text = body.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise HttpError(BAD_REQUEST) from error
    return _decode_pairs(text)


def _decode_pairs(text: str) -> dict[str, str]:
    """
    Urlencoded pairs without the empty ones. If a name appears twice, the last value wins. Bytes that are not UTF-8
    become U+FFFD and match nothing.

    Raises:
        HttpError: there are too many pairs.
    """
    try:
        return dict(parse_qsl(text, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise HttpError(BAD_REQUEST) from error


Given = Annotated[Params, Depends(_read_params)]
