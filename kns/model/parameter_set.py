"""The parameters of one command together: what no parameter can know alone."""

from typing import Annotated

from pydantic import AfterValidator, Field

from kns.model.env_names import is_reserved, parameter_name
from kns.model.faults import located
from kns.model.parameters import BoolParameter, Parameter, UploadParameter
from kns.model.scalars import check_text

MAX_PARAMETERS = 500
_MAX_KEY = 253


def _check_together(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """Names that meet, conditions on what is no BOOL, more than one upload."""
    names: dict[str, str] = {}
    uploads: list[str] = []
    for key, parameter in parameters.items():
        _check_key(key, parameter)
        other = names.setdefault(parameter_name(key), key)
        if other != key:
            raise located((key,), f"is called {parameter_name(key)} like {other!r}; rename one of them")
        uploads += [key] if isinstance(parameter, UploadParameter) else []
        if len(uploads) > 1:
            raise located((key,), f"a command takes one UPLOAD, and {uploads[0]!r} is one")
        for condition, needed in (("if", parameter.if_), ("ifnot", parameter.ifnot)):
            for name in needed:
                if not isinstance(parameters.get(name), BoolParameter):
                    raise located((key, condition), f"{name!r} is not a BOOL parameter of this command")
    return parameters


def _check_key(key: str, parameter: Parameter) -> None:
    try:
        check_text(key)
    except ValueError as error:
        raise located((key,), f"the key {error}") from error
    if not key.lstrip("-") or len(key) > _MAX_KEY:
        raise located((key,), f"the key must have 1 to {_MAX_KEY} characters after its dashes")
    if parameter.variable and is_reserved(key):
        raise located((key, "variable"), f"{key} is a variable of the system's; rename the parameter")


Parameters = Annotated[dict[str, Parameter], Field(max_length=MAX_PARAMETERS), AfterValidator(_check_together)]
