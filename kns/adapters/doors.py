"""The HTTP servers of kns, as its own pods."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kns.model import names
from kns.ports import Clock, Kind

AGE_S = 5.0  # so that a leader that reconciles thousands of sleeping jobs lists its pods every few seconds only

Lister = Callable[[Kind, str, str], Sequence[Mapping[str, Any]]]


class OwnPods:
    """Implements `ports.Doors`. `list_objects` is that of the host cluster."""

    def __init__(self, list_objects: Lister, *, namespace: str, clock: Clock) -> None:
        self._list_objects = list_objects
        self._namespace = namespace
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[float, tuple[str, ...]] | None = None

    def list_addresses(self) -> Sequence[str]:
        with self._lock:  # while one caller reads, the others wait for the same answer
            now = self._clock.monotonic()
            if self._known is None or now - self._known[0] >= AGE_S:
                self._known = (now, self._read())
            return self._known[1]

    def _read(self) -> tuple[str, ...]:
        pods = self._list_objects(Kind.POD, self._namespace, names.SCHEDULER_SELECTOR)
        return tuple(sorted(str(pod["status"]["podIP"]) for pod in pods if _serves(pod)))


def _serves(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status") or {}
    is_ready = any(
        each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or ()
    )
    return is_ready and pod["metadata"].get("deletionTimestamp") is None and bool(status.get("podIP"))
