"""Results of the checks of `kns preflight`."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How serious a finding is. `unknown`: the account that asked has no right to see the object."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `said` is what was found, `todo` how to fix it ("" if nothing is to be done)."""

    check: str
    severity: Severity
    said: str
    todo: str = ""
