"""
JSON as a file of ours must be: one value per key, and numbers that are numbers.

Python's reader lets the last of two equal keys win and takes NaN; in a file that an administrator edits by hand the
first hides a mistake, and the second is nothing that any other reader takes.
"""

import codecs
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kns.model.errors import KnsError
from kns.model.reading.problem import Location, Problem


class NotJsonError(KnsError):
    """The text is no JSON at all. `problem` has the position, if it is known."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


@dataclass(frozen=True, slots=True)
class Decoded:
    """The value, and the faults that Python's reader would pass over; with one of those the value is not to be used."""

    data: Any
    problems: tuple[Problem, ...]


def decode_text(data: bytes) -> str:
    """
    The text of a file, without the byte order mark that Windows editors write. The one way from bytes to `decode_json`.

    >>> decode_text(b'\xef\xbb\xbf{"a": 1}')
    '{"a": 1}'

    Raises:
        NotJsonError: it is not UTF-8; with line and column.
    """
    # JSON begins with an ASCII character, so a zero byte among the first two is half of one.
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:2]:
        raise NotJsonError(Problem((), "is UTF-16 or UTF-32; save it as UTF-8", (1, 1)))
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        position = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"is not UTF-8, from byte {error.start + 1} on; save it as UTF-8"
        raise NotJsonError(Problem((), message, position)) from error


def decode_json(text: str) -> Decoded:
    """
    >>> [str(problem) for problem in decode_json('{"a": 1, "b": {"c": NaN}, "a": 2}').problems]
    ['a: is given twice', 'b.c: is not a number that JSON has, or one too large']

    Raises:
        NotJsonError: with line and column.
    """
    repeated: list[tuple[dict[str, Any], str]] = []

    def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key, value in pairs:
            if key in built:
                repeated.append((built, key))
            built[key] = value
        return built

    try:
        data = json.loads(text, object_pairs_hook=build_object, parse_int=_read_int)
    except json.JSONDecodeError as error:
        raise NotJsonError(Problem((), f"is not JSON: {error.msg}", (error.lineno, error.colno))) from error
    except RecursionError as error:
        raise NotJsonError(Problem((), "is not usable JSON: nested too deeply")) from error
    return Decoded(data, tuple(_find_problems(data, repeated)))


def _read_int(text: str) -> int | float:
    """Python refuses to read a longer integer, and says so without a position."""
    limit = sys.get_int_max_str_digits()
    return math.inf if limit and len(text.lstrip("-")) > limit else int(text)


def _find_problems(data: Any, repeated: list[tuple[dict[str, Any], str]]) -> Iterator[Problem]:
    """In the order of the document. With a stack of its own: the reader goes deeper than Python's calls may."""
    keys_of: dict[int, list[str]] = {}
    for found, key in repeated:
        keys_of.setdefault(id(found), []).append(key)
    waiting: list[tuple[Location, Any]] = [((), data)]
    while waiting:
        location, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield Problem(location, "is not a number that JSON has, or one too large")
        elif isinstance(value, dict):
            yield from (
                Problem((*location, key), "is given twice") for key in dict.fromkeys(keys_of.get(id(value), ()))
            )
            waiting += [((*location, key), item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [((*location, index), item) for index, item in reversed(list(enumerate(value)))]
