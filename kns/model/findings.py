"""What a look at a site before its first job finds."""

from dataclasses import dataclass
from enum import StrEnum


class Judgement(StrEnum):
    """`unknown`: whoever asked lacks the right to see it."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and what to do about it ("" if nothing)."""

    check: str
    verdict: Judgement
    said: str
    todo: str = ""
