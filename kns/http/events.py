"""Kubernetes events as text, one per line."""

from collections.abc import Iterable

from kns.service.insight import JobEvent


def render_events(events: Iterable[JobEvent]) -> str:
    """`<RFC 3339 time> <event>` for each event."""
    times_and_lines = (
        (event.time.isoformat(timespec="seconds").replace("+00:00", "Z"), event.line) for event in events
    )
    return "".join(f"{time} {line}\n" for time, line in times_and_lines)
