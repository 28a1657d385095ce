"""
How a run ends: the exit codes, the failures that lead to them, and the termination message that kubelet hands
on.

The message is JSON. Kubernetes keeps 4096 bytes of it, so everything of unknown length is clipped before it
goes in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, unique
from pathlib import Path

MAX_MESSAGE_BYTES = 4096
"""What kubelet keeps of a termination message."""

MAX_ITEM_BYTES = 300
MAX_REASON_BYTES = 1500
"""Clips that hold `MAX_MESSAGE_BYTES` even if JSON has to escape every character with a backslash."""


@unique
class ExitCode(IntEnum):
    """Exit codes of the runner; frozen, because kns and operators read them."""

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


class Failure(Exception):  # noqa: N818  # an ending, of which an error is only one kind
    """The run ends here, with this exit code; `details` go into the termination message as they are."""

    code = ExitCode.INTERNAL_ERROR

    def __init__(self, message: str, *, details: Mapping[str, str | int] | None = None) -> None:
        super().__init__(message)
        self.details: Mapping[str, str | int] = details or {}


class PlanRefused(Failure):
    """The plan cannot be read, has another version, or asks for something that must not be."""

    code = ExitCode.PLAN_REFUSED


class ApiUnreachable(Failure):
    """The nested API did not answer in time."""

    code = ExitCode.API_UNREACHABLE


class ItemOutOfRetries(Failure):
    """An item failed in its last attempt."""

    code = ExitCode.ITEM_OUT_OF_RETRIES


class Terminated(Failure):
    """The pod was told to end (SIGTERM)."""

    code = ExitCode.TERMINATED


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exit code and termination message of a run."""

    code: ExitCode
    document: Mapping[str, str | int] = field(default_factory=dict)

    def message(self) -> str:
        """The termination message: one JSON object, shorter than `MAX_MESSAGE_BYTES`."""
        return json.dumps(dict(self.document), ensure_ascii=False)


def succeeded(steps: int) -> Outcome:
    """All steps of the plan are done."""
    return Outcome(ExitCode.OK, {"result": "ok", "steps": steps})


def failed(failure: Failure) -> Outcome:
    """The run ended with this failure."""
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
    Put the message where kubelet looks for it.

    Raises:
        OSError: the file cannot be written; the exit code still tells how the run ended.
    """
    path.write_bytes(outcome.message().encode())


def printable(text: str, *, limit_bytes: int) -> str:
    """
    The text on one line, without control characters, at most `limit_bytes` long in UTF-8.

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
