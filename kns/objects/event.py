"""The Events that the sweeper writes, in kns's own namespace."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kns.model import names

COMPONENT = "kns"
_MESSAGE_LIMIT = 1024  # of the API server


def build_orphan_event(
    *,
    system_namespace: str,
    kind: str,
    name: str,
    key: str,
    reason: str,
    message: str,
    now: datetime,
    before: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """
    The Event about an orphan. `before` is the stored Event, if there is one; its count is raised by one.

    The API server requires an Event to be in the namespace of its subject. Subjects without a namespace get kns's own.
    """
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": names.orphan_event(kind, key, reason),
            "namespace": system_namespace,
            "labels": {names.MANAGED_BY_LABEL: "kns"},
        },
        "involvedObject": {"kind": kind, "namespace": system_namespace, "name": name, "uid": key},
        "type": "Warning",
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": (before or {}).get("firstTimestamp") or stamp,
        "lastTimestamp": stamp,
        "count": ((before or {}).get("count") or 0) + 1,
    }
