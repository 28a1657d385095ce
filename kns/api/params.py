"""
The parameters of a request: the one place that merges query, form and JSON body.

A body that looks like JSON is read as JSON whatever the Content-Type says, because published clients post JSON with
`curl -d`; an empty body is no parameters. The query wins. An empty value counts as absent.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from kns.api.errors import BAD_REQUEST, INVALID_PARAMETERS, ApiError
from kns.model.errors import InvalidInputError

MAX_VALUES = 50_000  # of a JSON body; a long AppDef has two thousand
MAX_FIELDS = 1000  # of a form or a query
MAX_DEPTH = 64  # far above any AppDef, far below where a recursive reader of ours or of Kubernetes gives up
_QUICK_BYTES = 64 * 1024  # of a body that is read on the event loop; four mebibytes of `%` take a second
_INT64 = 2**63
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # an open one too: nothing is ever read twice
_INTEGER = re.compile(r"-?[0-9]{1,100}")
_DIGITS = 30  # what is longer is too large, and still is when it is cut; reading a million digits takes seconds


@dataclass(frozen=True, slots=True)
class Params:
    """Merged parameters; they hold API keys, so nothing may print them."""

    values: Mapping[str, Any] = field(repr=False)

    def text(self, key: str) -> str | None:
        """
        Raises:
            ApiError: given, but not a string.
        """
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value or None
        raise ApiError(INVALID_PARAMETERS)

    def integer(self, key: str) -> int | None:
        """
        A decimal number of 64 bits, as JSON integer or as text.

        Raises:
            ApiError: given, but neither.
        """
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not _is_int64(value):
            raise ApiError(INVALID_PARAMETERS)
        return value

    def is_non_zero(self, key: str) -> bool:
        """True for an integer other than 0, as JSON or as text; anything else is false."""
        value = self.values.get(key)
        text = "" if isinstance(value, bool) else str(value)
        return _INTEGER.fullmatch(text) is not None and int(text) != 0

    def flag(self, key: str) -> bool:
        """True for JSON `true` and for the exact text `true`; anything else is false."""
        value = self.values.get(key)
        return value is True or value == "true"


def decode_json(body: bytes, *, parameters: bool = False) -> Any:
    """
    Untrusted bytes as JSON that every later step can hold: UTF-8 strings, finite numbers, 64-bit integers, bounded
    depth and number of values. Of a key given twice the last counts, as in a form.

    With `parameters`, an integer that is itself a parameter may be larger: it is refused when it is read as one.

    Raises:
        InvalidInputError: not such JSON.
    """
    try:
        _check_count(body)
        text = body.decode("utf-8-sig")
        data = json.loads(text, parse_constant=_refuse_constant, parse_int=lambda digits: int(digits[:_DIGITS]))
        _check_value(_without_integers(data) if parameters else data, depth=0)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("", "is not JSON that can be read") from error
    return data


def _check_count(body: bytes) -> None:
    """Before they are made: four mebibytes of `[]` fill a hundred, and stop every other thread for a second."""
    between = _STRING.sub(b"", body)
    if sum(map(between.count, (b",", b"[", b"{"))) >= MAX_VALUES:  # each value but one has its own comma or bracket
        raise ValueError(f"more than {MAX_VALUES} values")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_int64(value: int) -> bool:
    return -_INT64 <= value < _INT64


def _without_integers(data: Any) -> Any:
    return {key: 0 if isinstance(each, int) else each for key, each in data.items()} if isinstance(data, dict) else data


def _check_value(value: Any, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _check_value(item, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_value(item, depth=depth + 1)
    elif isinstance(value, str):
        value.encode()  # raises on a lone surrogate
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large")
    elif isinstance(value, int) and not _is_int64(value):
        raise ValueError("an integer is too large")


async def _read_body(request: Request) -> bytes:
    """The body as the middleware read it; that of a GET is ignored."""
    body: bytes = request.state.body
    return body


RawBody = Annotated[bytes, Depends(_read_body)]


async def _read_params(request: Request, body: RawBody) -> Params:
    """
    Raises:
        ApiError: the body is neither a form nor a JSON object, or too much of either.
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
        raise ApiError(BAD_REQUEST) from error
    if not isinstance(data, dict):
        raise ApiError(BAD_REQUEST)
    return data


def _decode_form(body: bytes) -> dict[str, str]:
    try:
        text = body.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise ApiError(BAD_REQUEST) from error
    return _decode_pairs(text)


def _decode_pairs(text: str) -> dict[str, str]:
    """
    Urlencoded pairs less the empty ones; of a name given twice the last counts. Bytes that are not UTF-8 become U+FFFD
    and match nothing.

    Raises:
        ApiError: too many of them.
    """
    try:
        return dict(parse_qsl(text, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise ApiError(BAD_REQUEST) from error


Given = Annotated[Params, Depends(_read_params)]
