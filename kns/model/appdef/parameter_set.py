"""Rules between the parameters of one command."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from kns.model.appdef.env_names import is_reserved, parameter_name
from kns.model.appdef.parameters import BoolParameter, Parameter, UploadParameter
from kns.model.reading.located import located_errors
from kns.model.reading.problem import Problem
from kns.model.reading.scalars import check_text

MAX_PARAMETERS = 500
_MAX_NAME = 253  # as the key of a ConfigMap


def _check_together(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    problems = list(_find_problems(parameters))
    if problems:
        raise located_errors(problems)
    return parameters


def _find_problems(parameters: dict[str, Parameter]) -> Iterator[Problem]:
    """Parameters with the same variable name, conditions that name no BOOL parameter, and more than one upload."""
    names: dict[str, str] = {}
    uploads: list[str] = []
    for key, parameter in parameters.items():
        yield from (problem.below((key,)) for problem in _find_problems_of_key(key, parameter))
        other = names.setdefault(parameter_name(key), key)
        if other != key:
            yield Problem((key,), f"has the variable name {parameter_name(key)}, as {other!r} does; rename one of them")
        uploads += [key] if isinstance(parameter, UploadParameter) else []
        if isinstance(parameter, UploadParameter) and len(uploads) > 1:
            yield Problem((key,), f"a command can have one UPLOAD, and {uploads[0]!r} is one already")
        for condition, needed in (("if", parameter.if_), ("ifnot", parameter.ifnot)):
            for name in needed:
                if not isinstance(parameters.get(name), BoolParameter):
                    yield Problem((key, condition), f"{name!r} is not a BOOL parameter of this command")


def _find_problems_of_key(key: str, parameter: Parameter) -> Iterator[Problem]:
    try:
        check_text(key)
    except ValueError as error:
        yield Problem((), f"the key {error}")
        return
    if not key.lstrip("-") or len(parameter_name(key)) > _MAX_NAME:
        most = _MAX_NAME - len(parameter_name(""))
        yield Problem((), f"the key must have 1 to {most} characters after its dashes")
    if parameter.variable and is_reserved(key):
        yield Problem(("variable",), f"{key} is reserved for the system; rename the parameter")


Parameters = Annotated[dict[str, Parameter], Field(max_length=MAX_PARAMETERS), AfterValidator(_check_together)]
