"""
Scalar values as published AppDefs and older clients write them: numbers and booleans may be strings.

Readers raise ValueError. The message never contains the value, which may be secret.
"""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

MAX_TEXT_BYTES = 65_536  # below Linux's limit of 128 KiB for one environment variable with its name
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")
INT64_BOUND = 2**63  # Kubernetes stores JSON integers in 64 bits


def is_int64(value: int) -> bool:
    return -INT64_BOUND <= value < INT64_BOUND


def read_flag(value: Any) -> Any:
    """Convert `"true"` and `"false"`, in any case, to booleans. The type check of the field judges all other values."""
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
    if not isinstance(value, int) or isinstance(value, bool) or not is_int64(value):
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
        raise ValueError("must be a number within the range of a 64-bit float") from error
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number + 0.0  # turns -0.0 into 0.0


def read_text(value: Any) -> str:
    """
    A string that is valid in an environment variable. Numbers and booleans become text.

    >>> read_text(True), read_text(5), read_text(2.0)
    ('true', '5', '2')
    """
    return check_text(value) if isinstance(value, str) else write_scalar(value)


def write_scalar(value: Any) -> str:
    """A number or boolean as text. A whole number gets no `.0`, because JSON tools may drop it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(read_number(value)).removesuffix(".0")
    if isinstance(value, int):
        return str(read_whole(value))
    raise ValueError("must be a text")


def check_text(text: str) -> str:
    """`text`, if it is valid Unicode without a zero byte and at most `MAX_TEXT_BYTES` long."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode") from error
    if "\0" in text:
        raise ValueError("must not contain a zero byte")
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"must have at most {MAX_TEXT_BYTES} bytes")
    return text


def _or_none(value: Any, read: Any) -> Any:
    return None if value is None or value == "" else read(value)


Flag = Annotated[bool, BeforeValidator(read_flag)]
ScalarText = Annotated[str, BeforeValidator(read_text)]
OptionalWhole = Annotated[int | None, BeforeValidator(lambda v: _or_none(v, read_whole))]
OptionalNumber = Annotated[float | None, BeforeValidator(lambda v: _or_none(v, read_number))]
