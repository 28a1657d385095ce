"""A job's timeline as a table, and its times in words."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.table import Table

from kns.cli.screen import build_table
from kns.model.reading.duration import describe_duration

_MARKS = {"done": "✓", "active": "…", "failed": "✗", "stopped": "✗", "skipped": "-", "pending": ""}


def build_timeline(job: Mapping[str, Any]) -> Table:
    """The steps of a job (`Job` of the API of kns's own clients)."""
    rows = [
        (
            _MARKS.get(step["state"], ""),
            step["title"],
            step["state"],
            "" if step["began"] is None else describe_offset(job["submitted"], step["began"]),
            "" if step["seconds"] is None else describe_duration(step["seconds"]),
            step["message"] if step["state"] in ("active", "failed", "skipped") else "",
        )
        for step in job["steps"]
    ]
    return build_table(("", "STEP", "STATE", "BEGAN", "TOOK", "MESSAGE"), rows, wraps="MESSAGE")


def describe_offset(start: str, moment: str) -> str:
    """
    >>> describe_offset("2026-01-05T14:15:30Z", "2026-01-05T14:16:12Z")
    '+42 s'
    """
    return f"+{describe_duration((_read(moment) - _read(start)).total_seconds())}"


def describe_total(job: Mapping[str, Any]) -> str:
    """How long the job has lived, or lived."""
    return describe_duration((_read(job["ended"] or job["now"]) - _read(job["submitted"])).total_seconds())


def list_changes(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The steps that changed their state or their message, in order; pending ones are left out."""
    known = {step["name"]: (step["state"], step["message"]) for step in before}
    return [
        step
        for step in after
        if step["state"] != "pending" and known.get(step["name"]) != (step["state"], step["message"])
    ]


def is_serving(job: Mapping[str, Any]) -> bool:
    return any(step["name"] == "serve" and step["state"] == "active" for step in job["steps"])


def is_over(job: Mapping[str, Any]) -> bool:
    return job["ended"] is not None


def _read(moment: str) -> datetime:
    return datetime.fromisoformat(moment)
