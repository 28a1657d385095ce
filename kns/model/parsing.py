"""
From untrusted JSON to checked models: one way to turn pydantic's findings into ours.

pydantic lists every fault with the path to it; the contract wants the key path of the first. Input values are never
repeated in a message, since they may be secrets.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kns.model.errors import InvalidInputError

ModelT = TypeVar("ModelT", bound=BaseModel)


def key_path(location: tuple[int | str, ...]) -> str:
    """
    >>> key_path(("commands", "Hello", "templates", 0, "cmd"))
    'commands.Hello.templates[0].cmd'
    """
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def list_problems(error: ValidationError, *, prefix: str = "") -> list[InvalidInputError]:
    """Every fault of a failed check, in pydantic's order, each with its key path."""
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        path = key_path(tuple(item["loc"]))
        joined = f"{prefix}.{path}" if prefix and path else prefix or path
        problems.append(InvalidInputError(joined, message))
    return problems


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
        raise list_problems(error, prefix=prefix)[0] from error


def find_problems(model: type[BaseModel], data: Any) -> list[InvalidInputError]:
    """Every fault of `data` as a `model`, empty if it is good."""
    if not isinstance(data, Mapping):
        return [InvalidInputError("", "must be a JSON object")]
    try:
        model.model_validate(data)
    except ValidationError as error:
        return list_problems(error)
    return []
