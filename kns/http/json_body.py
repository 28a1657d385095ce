"""
Decode JSON that a stranger sent, with bounds on its size, depth and numbers.
"""

import json
import math
import re
from typing import Any, NoReturn

from kns.model.errors import InvalidInputError
from kns.model.reading.problem import key_path
from kns.model.reading.scalars import is_int64
from kns.model.reading.strict_json import MAX_DEPTH, REPEATED, NotJsonError, decode_text
from kns.model.reading.strict_json import decode_json as decode_strictly

MAX_VALUES = 50_000  # in one body; a long AppDef has two thousand

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # also an unclosed one; possessive, so never read twice
_DIGITS = 30  # a longer integer is cut: it stays too large, and decoding a million digits takes seconds


def decode_json(body: bytes, *, parameters: bool = False) -> Any:
    """
    Decode JSON of UTF-8 strings, finite numbers, 64-bit integers, bounded depth and a bounded number of values.

    If a key appears twice, the last value wins, as in a form. With `parameters` the integers of the outermost object
    are not bounded: such a parameter is refused when it is read as an integer.

    Raises:
        InvalidInputError: the body is not such JSON.
    """
    try:
        _check_count(body)
        text = body.decode("utf-8-sig")
        data = json.loads(text, parse_constant=_refuse_constant, parse_int=lambda digits: int(digits[:_DIGITS]))
        _check_value(_without_integers(data) if parameters else data, depth=0)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("", "is not JSON that can be read") from error
    return data


def decode_appdef(body: bytes) -> Any:
    """
    Decode an AppDef, or JSON that contains one, as the command line and the catalogue do: each key once. The number of
    values is bounded as in `decode_json`.

    Raises:
        InvalidInputError: with the path of the first key that appears twice, or without a path if the body is not such
            JSON otherwise.
    """
    try:
        _check_count(body)
        decoded = decode_strictly(decode_text(body))
    except (ValueError, NotJsonError) as error:
        raise InvalidInputError("", "is not JSON that can be read") from error
    if any(problem.message != REPEATED for problem in decoded.problems):
        raise InvalidInputError("", "is not JSON that can be read")
    for problem in decoded.problems:
        raise InvalidInputError(key_path(problem.location), problem.message)
    return decoded.data


def _check_count(body: bytes) -> None:
    """Before decoding: four MiB of `[]` become a hundred in memory and stop every other thread for a second."""
    between = _STRING.sub(b"", body)
    if sum(map(between.count, (b",", b"[", b"{"))) >= MAX_VALUES:  # each value but one has its own comma or bracket
        raise ValueError(f"more than {MAX_VALUES} values")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


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
    elif isinstance(value, int) and not is_int64(value):
        raise ValueError("an integer is too large")
