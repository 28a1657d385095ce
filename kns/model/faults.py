"""A fault at a place below the value that a pydantic validator looks at: pydantic by itself only knows the value."""

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


def located(location: tuple[int | str, ...], problem: str) -> ValidationError:
    """To be raised inside a validator; pydantic puts the path of the checked value before `location`."""
    error = PydanticCustomError("kns", "{problem}", {"problem": problem})
    return ValidationError.from_exception_data("value", [InitErrorDetails(type=error, loc=location, input=None)])
