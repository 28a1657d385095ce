"""The time of a Kubernetes Event. Tenants can write Events, so it may be any that the API server stores."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # sorts an event without a time first


def read_event_time(event: Mapping[str, Any]) -> datetime:
    """
    When it happened last. Each generation of the events API has its own key for this.

    >>> read_event_time({"eventTime": "0000-01-01T00:00:00Z", "firstTimestamp": "2026-01-05T14:15:00Z"}).isoformat()
    '2026-01-05T14:15:00+00:00'
    """
    series = event.get("series") or {}
    meta = event.get("metadata") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        meta.get("creationTimestamp"),
    )
    for time in filter(None, times):
        try:
            return datetime.fromisoformat(time)
        except ValueError:  # the API server stores years that Python does not know
            continue
    return _NEVER
