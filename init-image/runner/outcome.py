"""
The end of a run: exit codes, the failures that cause them, and the termination message that kubelet reports.

The message is JSON. Kubernetes keeps 4096 bytes of it, so values of unknown length are clipped before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, unique
from pathlib import Path

MAX_MESSAGE_BYTES = 4096
"""Length of a termination message that kubelet keeps."""

MAX_ITEM_BYTES = 300
MAX_REASON_BYTES = 1500
"""Limits that respect `MAX_MESSAGE_BYTES` even if JSON escapes every character with a backslash."""


@unique
class ExitCode(IntEnum):
    """Exit codes of the runner. They must not change, because kns and operators read them."""

    OK = 0
    ITEM_OUT_OF_RETRIES = 1
    API_UNREACHABLE = 2
    PLAN_REFUSED = 64
    INTERNAL_ERROR = 70
    TERMINATED = 143


_REASONS: Mapping[ExitCode, str] = {
    ExitCode.ITEM_OUT_OF_RETRIES: "ItemOutOfRetries",
    ExitCode.API_UNREACHABLE: "NestedApiUnreachable",
    ExitCode.PLAN_REFUSED: "PlanRefused",
    ExitCode.INTERNAL_ERROR: "InternalError",
    ExitCode.TERMINATED: "Terminated",
}


class Failure(Exception):  # noqa: N818  # not every end is an error
    """The run ends with this exit code. `details` are added to the termination message unchanged."""

    code = ExitCode.INTERNAL_ERROR

    def __init__(self, message: str, *, details: Mapping[str, str | int] | None = None) -> None:
        super().__init__(message)
        self.details: Mapping[str, str | int] = details or {}


class PlanRefused(Failure):
    """The plan is not readable, has another version, or has invalid content."""

    code = ExitCode.PLAN_REFUSED


class ApiUnreachable(Failure):
    """The API of the virtual cluster did not answer in time."""

    code = ExitCode.API_UNREACHABLE


class ItemOutOfRetries(Failure):
    """An item failed in its last attempt."""

    code = ExitCode.ITEM_OUT_OF_RETRIES


class Terminated(Failure):
    """The pod received SIGTERM."""

    code = ExitCode.TERMINATED


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit code and the termination message of a run."""

    code: ExitCode
    document: Mapping[str, str | int] = field(default_factory=dict)

    def message(self) -> str:
        """The termination message: one JSON object, shorter than `MAX_MESSAGE_BYTES`."""
        return json.dumps(dict(self.document), ensure_ascii=False)


def succeeded(steps: int) -> Outcome:
    """The outcome if all steps of the plan are finished."""
    return Outcome(ExitCode.OK, {"result": "ok", "steps": steps})


def failed(failure: Failure) -> Outcome:
    """The outcome if the run ended with a failure."""
    return Outcome(
        failure.code,
        {
            "result": "failed",
            **failure.details,
            "reason": _REASONS[failure.code],
            "message": printable(str(failure), limit_bytes=MAX_REASON_BYTES),
        },
    )


def write_termination_message(outcome: Outcome, path: Path) -> None:
    """
    Write the message to the file that kubelet reads.

    Raises:
        OSError: the file could not be written. The exit code still reports the result.
    """
    path.write_bytes(outcome.message().encode())


def printable(text: str, *, limit_bytes: int) -> str:
    """
    The text on one line without control characters, at most `limit_bytes` long in UTF-8.

    >>> printable("two\\nlines", limit_bytes=100)
    'two lines'
    >>> printable("abcdefgh", limit_bytes=6)
    'abc…'
    """
    line = "".join(char if char.isprintable() else " " for char in text)
    raw = line.encode("utf-8", "replace")
    if len(raw) <= limit_bytes:
        return raw.decode()
    ellipsis = "…"
    return raw[: limit_bytes - len(ellipsis.encode())].decode("utf-8", "ignore") + ellipsis
