"""
From untrusted JSON to checked models: one way to turn pydantic's findings into ours.

pydantic lists every fault with the path to it; the contract wants the key path of the first. Input values are never
repeated in a message, since they may be secrets.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kns.model.errors import InvalidInputError
from kns.model.reading.problem import Location, Problem, key_path

ModelT = TypeVar("ModelT", bound=BaseModel)

_MESSAGES = {"tuple_type": "Input should be a valid list"}  # for people who write JSON
_UNKNOWN = object()  # what lies below a key that the input has under another name


def list_problems(error: ValidationError, data: Any) -> list[Problem]:
    """
    Every fault of a failed check of `data`, in pydantic's order.

    Where a value may be of several kinds, pydantic tells each kind's complaint by itself; they are one fault here.
    """
    problems: list[Problem] = []
    alternatives: Location | None = None  # of the fault before this one, if it was one of several kinds
    for item in error.errors(include_url=False, include_input=False):
        message = _MESSAGES.get(item["type"]) or item["msg"].removeprefix("Value error, ").removeprefix(
            "Assertion failed, "
        )
        location, has_kind = _drop_kinds(tuple(item["loc"]), data)
        if has_kind and location == alternatives:
            problems[-1] = Problem(location, f"{problems[-1].message}; or: {message}")
        else:
            problems.append(Problem(location, message))
        alternatives = location if has_kind else None
    return problems


def _drop_kinds(location: Location, data: Any) -> tuple[Location, bool]:
    """
    `location` without what pydantic adds to tell the kinds of a union, and the key of a map, apart.

    Returns the location and whether such a thing was dropped.
    """
    kept: list[int | str] = []
    value, has_kind = data, False
    for part in location:
        if _has(value, part):
            value = value[part]
        elif isinstance(value, Mapping) and isinstance(part, int):  # one object, where a list may stand as well
            continue
        elif value is _UNKNOWN or (isinstance(value, Mapping) and not _is_kind(part)):
            value = _UNKNOWN
        else:
            has_kind = True
            continue
        kept.append(part)
    return tuple(kept), has_kind


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)


def _is_kind(part: int | str) -> bool:
    return isinstance(part, str) and (part in {"bool", "int", "float", "str", "none"} or part.endswith("]"))


def parse_model(model: type[ModelT], data: Any, *, prefix: str = "") -> ModelT:
    """
    `data` as a checked `model`.

    Raises:
        InvalidInputError: the first fault; `prefix` is put before its key path.
    """
    if not isinstance(data, Mapping | BaseModel):
        raise InvalidInputError(prefix, "must be a JSON object")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = list_problems(error, data)[0]
        path = key_path(first.location)
        raise InvalidInputError(f"{prefix}.{path}" if prefix and path else prefix or path, first.message) from error


def check_model(model: type[ModelT], data: Any) -> tuple[ModelT | None, list[Problem]]:
    """`data` as a `model`, or every fault of it."""
    if not isinstance(data, Mapping):
        return None, [Problem((), "must be a JSON object")]
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        return None, list_problems(error, data)
