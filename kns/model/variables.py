"""
Account variables: values of a user's account that an app asks for by name (contract C.4).

An AppDef only names them. The values are the catalogue's and never part of a record; they are read when the init job
is made.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from kns.model.env_names import is_legal, is_reserved
from kns.model.faults import located
from kns.model.scalars import Flag

MAX_VARIABLES = 200

Text = Annotated[str, StringConstraints(max_length=65536)]


class Variable(BaseModel):
    """`inherit`: the payer's account may have it instead. `userowned` is stored and has no effect, as published."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    name: Text = ""
    description: Text = ""
    userowned: Flag = False
    inherit: Flag = False
    required: Flag = False


def _check_names(variables: dict[str, Variable]) -> dict[str, Variable]:
    for name in variables:
        if not is_legal(name):
            raise located((name,), "is not a name for a variable (letters, digits and '_', no digit first)")
        if is_reserved(name):
            raise located((name,), "is a variable of the system's; rename it")
    return variables


Variables = Annotated[dict[str, Variable], Field(max_length=MAX_VARIABLES), AfterValidator(_check_names)]
