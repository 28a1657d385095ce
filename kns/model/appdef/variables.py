"""
Account variables: values of a user's account that an app requests by name (contract C.4).

An AppDef contains only the names. The values are in the catalogue and never in a record. kns reads them when it creates
the init job.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from kns.model.appdef.env_names import is_legal, is_reserved
from kns.model.reading.located import located_errors
from kns.model.reading.problem import Problem
from kns.model.reading.scalars import Flag

MAX_VARIABLES = 200

Text = Annotated[str, StringConstraints(max_length=65536)]


class Variable(BaseModel):
    """`inherit`: the value may come from the payer's account. `userowned` is stored and has no effect."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    name: Text = ""
    description: Text = ""
    userowned: Flag = False
    inherit: Flag = False
    required: Flag = False


def _check_names(variables: dict[str, Variable]) -> dict[str, Variable]:
    problems = [Problem((name,), problem) for name in variables if (problem := _find_problem(name))]
    if problems:
        raise located_errors(problems)
    return variables


def _find_problem(name: str) -> str:
    if not is_legal(name):
        return "is not a variable name; use letters, digits and '_', and do not begin with a digit"
    return "is reserved for the system; use another name" if is_reserved(name) else ""


Variables = Annotated[dict[str, Variable], Field(max_length=MAX_VARIABLES), AfterValidator(_check_names)]
