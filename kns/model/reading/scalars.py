"""
Simple values as published AppDefs and old clients write them: numbers and booleans may stand in quotes.

What a reader refuses, it says as a ValueError without the value, which may be a secret.
"""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

MAX_TEXT_BYTES = 65_536  # Linux gives one variable of the environment 128 KiB; the name and quotes count too
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")
_INT64 = 2**63  # what JSON in Kubernetes keeps exactly


def read_flag(value: Any) -> Any:
    """`"true"` and `"false"` become booleans, whatever their case; all else stays for the type check."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def read_bool(value: Any) -> bool:
    """
    >>> read_bool("True"), read_bool(False)
    (True, False)
    """
    flag = read_flag(value)
    if not isinstance(flag, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - pydantic collects ValueErrors only
    return flag


def read_whole(value: Any) -> int:
    """
    >>> read_whole("-7"), read_whole(4.0)
    (-7, 4)
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -_INT64 <= value < _INT64:
        raise ValueError("must be a whole number")
    return value


def read_number(value: Any) -> float:
    """
    >>> read_number("1e3"), read_number(2)
    (1000.0, 2.0)
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic collects ValueErrors only
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError("must be a number that a computer can hold") from error
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number + 0.0  # no minus before a zero


def read_text(value: Any) -> str:
    """
    A text that an environment can hold; numbers and booleans are written out.

    >>> read_text(True), read_text(5), read_text(2.0)
    ('true', '5', '2')
    """
    return check_text(value) if isinstance(value, str) else write_scalar(value)


def write_scalar(value: Any) -> str:
    """A number or boolean as text. A whole number has no `.0`: a JSON number may lose it on its way."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(read_number(value)).removesuffix(".0")
    if isinstance(value, int):
        return str(read_whole(value))
    raise ValueError("must be a text")


def check_text(text: str) -> str:
    """`text`, if it is one: no zero byte, no half of a character, not too long."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode") from error
    if "\0" in text:
        raise ValueError("must not hold a zero byte")
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"must have at most {MAX_TEXT_BYTES} bytes")
    return text


def _or_none(value: Any, read: Any) -> Any:
    return None if value is None or value == "" else read(value)


Flag = Annotated[bool, BeforeValidator(read_flag)]
ScalarText = Annotated[str, BeforeValidator(read_text)]
OptionalWhole = Annotated[int | None, BeforeValidator(lambda v: _or_none(v, read_whole))]
OptionalNumber = Annotated[float | None, BeforeValidator(lambda v: _or_none(v, read_number))]
