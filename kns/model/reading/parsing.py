"""
Check untrusted JSON with a model, and convert pydantic's errors into `Problem`s with key paths.

A message never contains the input value, which may be secret.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kns.model.errors import InvalidInputError
from kns.model.reading.problem import Location, Problem, key_path

ModelT = TypeVar("ModelT", bound=BaseModel)

_MESSAGES = {"tuple_type": "Input should be a valid list"}  # the input is JSON, which has no tuples
_UNKNOWN = object()  # the value below a key that the input spells in another way


def list_problems(error: ValidationError, data: Any) -> list[Problem]:
    """
    Every problem that pydantic found in `data`, in its order.

    For a union, pydantic reports one error per member. They are joined into one problem.
    """
    problems: list[Problem] = []
    alternatives: Location | None = None  # location of the previous problem, if it came from a union
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
    `location` without the parts that pydantic adds for the members of a union and for the keys of a map.

    Returns the location, and whether it was inside a union.
    """
    kept: list[int | str] = []
    value, has_kind = data, False
    for part in location:
        if _has(value, part):
            value = value[part]
        elif isinstance(value, Mapping) and isinstance(part, int):  # one object in place of a list of objects
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
        InvalidInputError: with the first problem. Its key path begins with `prefix`.
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
    """`data` as a checked `model` and no problem, or None and every problem."""
    if not isinstance(data, Mapping):
        return None, [Problem((), "must be a JSON object")]
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        return None, list_problems(error, data)
