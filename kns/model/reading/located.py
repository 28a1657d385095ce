"""A fault at a place below the value that a pydantic validator looks at: pydantic by itself only knows the value."""

from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from kns.model.reading.problem import Problem


def located(location: tuple[int | str, ...], problem: str) -> ValidationError:
    """To be raised inside a validator; pydantic puts the path of the checked value before `location`."""
    return located_all([Problem(location, problem)])


def located_all(problems: Iterable[Problem]) -> ValidationError:
    """The same for several at once."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("kns", "{problem}", {"problem": problem.message}), loc=problem.location, input=None
        )
        for problem in problems
    ]
    return ValidationError.from_exception_data("value", details)
