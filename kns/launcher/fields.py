"""
Fields of the Launcher's JSON, by type. A wrong one is an InvalidInputError with the field's path and what it is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kns.model.errors import InvalidInputError
from kns.model.reading.strict_json import is_unicode

Json = Mapping[str, Any]

MOST_ITEMS = 1000  # of one list of a job; a Job of Kubernetes with more does not fit etcd's 1.5 MiB anyway
MOST_DEPTH = 32  # lists and objects in one another; a volume of Kubernetes has fewer than 10
_NUMBERS = range(-(2**63), 2**64)  # other readers of JSON refuse larger whole numbers


def read_text(data: Json, key: str, *, path: str = "") -> str:
    """
    The text of a key; "" if it is missing or null.

    Raises:
        InvalidInputError: another type, or a zero byte, which no process can receive.
    """
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInputError(path or key, f"is {describe_type(value)}; write a text")
    if not is_text(value):
        raise InvalidInputError(path or key, "contains a zero byte or half of a surrogate pair; remove it")
    return value


def is_text(value: Any) -> bool:
    """Whether a process and a file can receive it."""
    return isinstance(value, str) and "\0" not in value and is_unicode(value)


def replace_halves(text: str) -> str:
    """
    The text with a question mark for each half of a surrogate pair, which other readers of JSON refuse.

    >>> replace_halves("a\\ud800b")
    'a?b'
    """
    return text.encode("utf-8", "replace").decode()


def read_list(data: Json, key: str) -> Sequence[Any]:
    """The list of a key; empty if it is missing or null. Raises InvalidInputError for another type."""
    value = data.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidInputError(key, f"is {describe_type(value)}; write a list")
    if len(value) > MOST_ITEMS:
        raise InvalidInputError(key, f"has {len(value)} items; at most {MOST_ITEMS} are allowed")
    return value


def read_texts(data: Json, key: str) -> tuple[str, ...]:
    texts = read_list(data, key)
    for text in texts:
        if not is_text(text):
            raise InvalidInputError(key, f"has {describe_type(text)} as an item that is no text without zero bytes")
    return tuple(texts)


def read_objects(data: Json, key: str) -> Sequence[Json]:
    items = read_list(data, key)
    for item in items:
        if not isinstance(item, dict):
            raise InvalidInputError(key, f"has {describe_type(item)} as an item; write objects")
    return items


def read_number(data: Json, key: str, *, path: str) -> int | None:
    """A whole number, which S000 writes as a text and the SDK as a number; None if missing, null or ""."""
    value = data.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInputError(path, f"is {describe_type(value)}; write a whole number")
    return value


def check_reported(items: Sequence[Json], key: str) -> None:
    """
    Whether every reader of JSON can take what is reported back as it was submitted. One job with NaN or half of a
    surrogate pair would make each list of all jobs unreadable.

    Raises:
        InvalidInputError: a number, a text or a depth that is not portable.
    """
    left: list[tuple[Any, int]] = [(item, 1) for item in items]
    while left:
        value, depth = left.pop()
        if depth > MOST_DEPTH:
            raise InvalidInputError(key, f"has more than {MOST_DEPTH} lists and objects in one another")
        if isinstance(value, dict):
            left += ((each, depth + 1) for pair in value.items() for each in pair)
        elif isinstance(value, list):
            left += ((each, depth + 1) for each in value)
        elif isinstance(value, str) and not is_unicode(value):
            raise InvalidInputError(key, "contains half of a surrogate pair; remove it")
        elif (isinstance(value, float) and not math.isfinite(value)) or (
            isinstance(value, int) and value not in _NUMBERS
        ):
            raise InvalidInputError(key, "contains a number that is too large or is none")


def describe_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
