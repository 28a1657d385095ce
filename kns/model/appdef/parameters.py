"""
The parameters of a command: their definition in an AppDef, and how a submitted value is checked (contract C.4).

There is one class per type. It checks submitted values and its own default by the same rules, so an AppDef with an
invalid default is refused. Readers raise ValueError. The message never contains the value, which may be secret.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from kns.model.reading.located import located_error
from kns.model.reading.scalars import (
    Flag,
    OptionalNumber,
    OptionalWhole,
    ScalarText,
    check_text,
    read_bool,
    read_number,
    read_text,
    read_whole,
    write_scalar,
)

UPLOAD_DIR = "/opt"
_MAX_TARGET = 253
_RUNNER = "kns-init"  # init-image/Dockerfile

NumberT = TypeVar("NumberT", int, float)
Value = str | int | float | bool
Text = Annotated[str, StringConstraints(max_length=65536)]
Keys = Annotated[list[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)]


@dataclass(frozen=True, slots=True)
class PublishedAs:
    """Marks a field whose type in the public API differs from the type that kns reads."""

    annotation: type


class ParameterValue(BaseModel):
    """
    The value of one parameter of a job, determined at submit and stored in the record.

    `value` is None for an UPLOAD: its content is in `spec.parameters` and becomes the file `target` below /opt.
    `needs_key`: the value still contains `%APIKEY%`, because a record never contains the key.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    key: str
    type: str
    value: Value | None = None
    positional: bool = True
    variable: bool = False
    target: str | None = None
    needs_key: bool = False

    @property
    def delivered(self) -> Value:
        """The value that the app receives: the path of an uploaded file, else the value."""
        if self.target is not None:
            return f"{UPLOAD_DIR}/{self.target}"
        return "" if self.value is None else self.value

    @property
    def text(self) -> str:
        value = self.delivered
        return value if isinstance(value, str) else write_scalar(value)


class Parameter(BaseModel):
    """The keys that all types have. Validation returns an instance of the class for `type` (default `STR`)."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, populate_by_name=True)

    BLANK_IS_ABSENT: ClassVar[bool] = True  # forms send "" for an empty field

    type: str = "STR"
    name: Text = ""
    description: Text = ""
    required: Flag = False
    positional: Flag = True
    variable: Flag = False
    if_: Keys = Field([], alias="if")
    ifnot: Keys = []
    value: Any = None

    @model_validator(mode="wrap")
    @classmethod
    def _become_kind(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Any:
        if cls is not Parameter or not isinstance(data, Mapping):
            return handler(data)
        kind, type_name = find_kind(data)
        return kind.model_validate({**data, "type": type_name})

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        self.check_keys()
        try:
            self.default()
        except ValueError as error:
            raise located_error(("value",), str(error)) from error
        return self

    @property
    def may_be_absent(self) -> bool:
        return not self.required

    def check_keys(self) -> None:
        """Check the rules between the keys. Raises an error created with `located_error`."""

    def is_absent(self, given: Any) -> bool:
        return given is None or (given == "" and self.BLANK_IS_ABSENT)

    def default(self) -> Value | None:
        return None if self.is_absent(self.value) else self.read(self.value)

    def read(self, given: Any) -> Value | None:
        """The checked value; None omits the parameter."""
        raise NotImplementedError  # each type has its own rules

    def build_value(self, key: str, value: Value) -> ParameterValue:
        return ParameterValue(key=key, type=self.type, value=value, positional=self.positional, variable=self.variable)


class ConstParameter(Parameter):
    """A fixed text of the author. Placeholders in it are replaced at submit."""

    @property
    def template(self) -> str:
        return read_text(self.value)

    def default(self) -> Value | None:
        if self.value is None:
            raise ValueError("is required for type CONST")
        return self.template

    def read(self, given: Any) -> Value | None:
        return read_text(given)


class TextParameter(Parameter):
    BLANK_IS_ABSENT = False

    def default(self) -> Value | None:
        """A required text with an empty default has no default: the user must give a value."""
        return None if self.required and self.value == "" else super().default()

    def read(self, given: Any) -> Value | None:
        return read_text(given)


class IntParameter(Parameter):
    min: OptionalWhole = None
    max: OptionalWhole = None

    def check_keys(self) -> None:
        _check_bounds(self.min, self.max)

    def read(self, given: Any) -> Value | None:
        return _in_bounds(read_whole(given), self.min, self.max)


class RangeParameter(IntParameter):
    """`step` counts from `min`, or from 0 without `min`: min 1 and step 2 allow the odd numbers."""

    step: Annotated[OptionalWhole, PublishedAs(str)] = None

    def check_keys(self) -> None:
        super().check_keys()
        if self.step is not None and self.step < 1:
            raise located_error(("step",), "must be at least 1")

    def read(self, given: Any) -> Value | None:
        number = _in_bounds(read_whole(given), self.min, self.max)
        start = self.min or 0
        if self.step is not None and (number - start) % self.step:
            raise ValueError(f"must be {start} plus a multiple of {self.step}")
        return number


class FloatParameter(Parameter):
    """`precision` is the number of decimals. Further decimals are cut off before the bounds are checked."""

    min: OptionalNumber = None
    max: OptionalNumber = None
    precision: OptionalWhole = None

    def check_keys(self) -> None:
        _check_bounds(self.min, self.max)
        if self.precision is not None and not 0 <= self.precision <= 30:
            raise located_error(("precision",), "must be from 0 to 30")

    def read(self, given: Any) -> Value | None:
        return _in_bounds(self._truncate(read_number(given)), self.min, self.max)

    def _truncate(self, number: float) -> float:
        exact = Decimal(repr(number))
        if self.precision is None or exact.as_tuple().exponent >= -self.precision:  # type: ignore[operator]  # finite
            return number
        return float(exact.quantize(Decimal(1).scaleb(-self.precision), rounding=ROUND_DOWN)) + 0.0


class BoolParameter(Parameter):
    """Always has a value, like a checkbox in a form."""

    def default(self) -> Value | None:
        return False if self.is_absent(self.value) else self.read(self.value)

    def read(self, given: Any) -> bool:
        return read_bool(given)


class SelectionParameter(Parameter):
    """`mvalues` has the value to deliver in place of each entry of `values`. The choice `""` omits the parameter."""

    BLANK_IS_ABSENT = False

    values: Annotated[list[ScalarText], Field(min_length=1, max_length=10_000)]
    mvalues: list[ScalarText] | None = None

    @property
    def may_be_absent(self) -> bool:
        return not self.required or "" in self.values

    def check_keys(self) -> None:
        if self.mvalues and len(self.mvalues) != len(self.values):
            raise located_error(
                ("mvalues",), f"has {len(self.mvalues)} entries and values has {len(self.values)}; give one per value"
            )

    def default(self) -> Value | None:
        return self.read(self.values[0] if self.value in (None, "") else self.value)

    def read(self, given: Any) -> Value | None:
        text = read_text(given)
        if text == "" and self.may_be_absent:
            return None
        if text not in self.values:
            raise ValueError(f"must be one of {_quote_some(self.values)}")
        return (self.mvalues or self.values)[self.values.index(text)]


class FileParameter(Parameter):
    """A path in the vault. `filter` applies to the file name only, as in a file picker."""

    filter: str | None = None

    @property
    def patterns(self) -> list[str]:
        return [part.strip() for part in (self.filter or "").split("|") if part.strip()]

    def default(self) -> Value | None:
        """
        `filter` is for the user's choice. Anybody may have an AppDef checked, and each wildcard becomes a regular
        expression, which takes half a millisecond and stays in a cache of the library.
        """
        return None if self.is_absent(self.value) else self._read_path(self.value)

    def read(self, given: Any) -> Value | None:
        path, patterns = self._read_path(given), self.patterns
        if path == self.value or not patterns:
            return path
        if not any(fnmatchcase(PurePosixPath(path).name, pattern) for pattern in patterns):
            raise ValueError(f"must be a file like {' or '.join(patterns)}")
        return path

    @staticmethod
    def _read_path(given: Any) -> str:
        if not isinstance(given, str):
            raise ValueError("must be a path")  # noqa: TRY004 - pydantic collects ValueErrors only
        return check_text(given)


class UploadParameter(Parameter):
    """A file's content in base64. `filter` is for file pickers only, because a submission has no file name."""

    target: str
    size: Annotated[OptionalWhole, PublishedAs(str)] = None

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: str) -> str:
        path = PurePosixPath(target)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"must be a relative path of a file below {UPLOAD_DIR}, without '..'")
        if len(target) > _MAX_TARGET or re.fullmatch(r"[A-Za-z0-9._/-]+", target) is None or target.endswith("/"):
            raise ValueError(f"must consist of at most {_MAX_TARGET} letters, digits, '.', '_', '-' and '/'")
        if path.parts[0] == _RUNNER:
            raise ValueError(f"must not be in {UPLOAD_DIR}/{_RUNNER}, which contains the program of kns")
        return str(path)

    def check_keys(self) -> None:
        if self.size is not None and self.size < 0:
            raise located_error(("size",), "must be at least 0")

    def default(self) -> Value | None:
        return None

    def read(self, given: Any) -> Value | None:
        size = len(decode_upload(given))
        if self.size is not None and size > self.size:
            raise ValueError(f"has {size} bytes, at most {self.size} are allowed")
        return self.target

    def build_value(self, key: str, value: Value) -> ParameterValue:
        return ParameterValue(
            key=key, type=self.type, positional=self.positional, variable=self.variable, target=str(value)
        )


KINDS: dict[str, type[Parameter]] = {
    "CONST": ConstParameter,
    "STR": TextParameter,
    "INT": IntParameter,
    "RANGE": RangeParameter,
    "FLOAT": FloatParameter,
    "BOOL": BoolParameter,
    "selection": SelectionParameter,
    "FILE": FileParameter,
    "UPLOAD": UploadParameter,
}
_KINDS_BY_ANY_CASE = {name.upper(): (kind, name) for name, kind in KINDS.items()}


def find_kind(data: Mapping[str, Any]) -> tuple[type[Parameter], str]:
    """
    The class and the name of the parameter type that an AppDef entry requests, in any case.

    Raises:
        ValidationError: the type does not exist.
    """
    wanted = "STR" if data.get("type") in (None, "") else data["type"]
    found = _KINDS_BY_ANY_CASE.get(wanted.upper()) if isinstance(wanted, str) else None
    if found is None:
        raise located_error(("type",), f"must be one of {', '.join(KINDS)}")
    return found


def decode_upload(given: Any) -> bytes:
    """
    The content of an uploaded file. Line breaks inside the base64 are allowed.

    Raises:
        ValueError: `given` is not base64.
    """
    try:
        return base64.b64decode("".join(given.split()), validate=True)
    except (AttributeError, binascii.Error, ValueError) as error:
        raise ValueError("must be the file's content in base64") from error


def _check_bounds(low: float | None, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise located_error(("min",), "is above max")


def _in_bounds(number: NumberT, low: NumberT | None, high: NumberT | None) -> NumberT:
    if low is not None and number < low:
        raise ValueError(f"must be at least {write_scalar(low)}")
    if high is not None and number > high:
        raise ValueError(f"must be at most {write_scalar(high)}")
    return number


def _quote_some(values: list[str]) -> str:
    some = ", ".join(repr(value[:40]) for value in values[:10])
    return some if len(values) <= 10 else f"{some} and {len(values) - 10} more"
