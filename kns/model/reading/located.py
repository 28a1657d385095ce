"""
Problems at a key below the value that a pydantic validator checks. pydantic reports only the checked value itself.
"""

from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from kns.model.reading.problem import Problem


def located_error(location: tuple[int | str, ...], problem: str) -> ValidationError:
    """An error for a validator to raise. pydantic prepends the path of the checked value to `location`."""
    return located_errors([Problem(location, problem)])


def located_errors(problems: Iterable[Problem]) -> ValidationError:
    """Like `located_error`, for several problems."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("kns", "{problem}", {"problem": problem.message}), loc=problem.location, input=None
        )
        for problem in problems
    ]
    return ValidationError.from_exception_data("value", details)
