"""
Strict JSON: each key once, numbers and texts that every reader takes, bounded depth.

Python's parser keeps the last of two equal keys, which hides mistakes in a file that is edited by hand. It also accepts
NaN, which other parsers refuse. The command line, the catalogue and `POST validate` read AppDefs with this module, so
that all of them come to the same result.
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
from kns.model.reading.scalars import is_int64

REPEATED = "appears twice"  # the message of the problem of a key
MAX_DEPTH = 64  # far above any AppDef, and far below the recursion limits of Python and Kubernetes


class NotJsonError(KnsError):
    """The text is not JSON. `problem` has the position, if it is known."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded value, and the problems that Python's parser ignores. Do not use the value if there are problems."""

    data: Any
    problems: tuple[Problem, ...]


def decode_text(data: bytes) -> str:
    """
    The text of a file for `decode_json`, without the byte order mark that Windows editors write.

    >>> decode_text(b'\\xef\\xbb\\xbf{"a": 1}')
    '{"a": 1}'

    Raises:
        NotJsonError: the data is not UTF-8. The problem has line and column.
    """
    # JSON begins with an ASCII character, so a zero byte among the first two bytes means UTF-16 or UTF-32.
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:2]:
        raise NotJsonError(Problem((), "is UTF-16 or UTF-32; save it as UTF-8", (1, 1)))
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        position = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"is not valid UTF-8 at byte {error.start + 1}; save it as UTF-8"
        raise NotJsonError(Problem((), message, position)) from error


def decode_json(text: str) -> Decoded:
    """
    >>> [str(problem) for problem in decode_json('{"a": 1, "b": {"c": NaN}, "a": 2}').problems]
    ['a: appears twice', 'b.c: is not a JSON number, or is too large']

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
        raise NotJsonError(Problem((), "is nested too deeply")) from error
    return Decoded(data, tuple(_find_problems(data, repeated)))


def _read_int(text: str) -> int | float:
    """
    Read an integer. Python's own error for a too long integer has no position, so such an integer reads as infinity.
    """
    limit = sys.get_int_max_str_digits()
    return math.inf if limit and len(text.lstrip("-")) > limit else int(text)


def _find_problems(data: Any, repeated: list[tuple[dict[str, Any], str]]) -> Iterator[Problem]:
    """
    In document order. Uses its own stack, because a document may be nested deeper than Python's call stack allows.
    """
    keys_of: dict[int, list[str]] = {}
    for found, key in repeated:
        keys_of.setdefault(id(found), []).append(key)
    waiting: list[tuple[Location, Any]] = [((), data)]
    while waiting:
        location, value = waiting.pop()
        if len(location) > MAX_DEPTH:
            yield Problem(location[:1], f"is nested deeper than {MAX_DEPTH}")
            return
        if isinstance(value, float) and not math.isfinite(value):
            yield Problem(location, "is not a JSON number, or is too large")
        elif isinstance(value, int) and not is_int64(value):
            yield Problem(location, "is a larger number than 64 bits hold")
        elif isinstance(value, str) and not is_unicode(value):
            yield Problem(location, "has half of a surrogate pair, which is no text")
        elif isinstance(value, dict) and not all(map(is_unicode, value)):  # such a key cannot be shown
            yield Problem(location, "has a key with half of a surrogate pair, which is no text")
        elif isinstance(value, dict):
            yield from (Problem((*location, key), REPEATED) for key in dict.fromkeys(keys_of.get(id(value), ())))
            waiting += [((*location, key), item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [((*location, index), item) for index, item in reversed(list(enumerate(value)))]


def is_unicode(value: str) -> bool:
    """Whether the text has no half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
