"""Readiness: the records can be read and the host API answered a moment ago. Probes ask; nothing is polled for them."""

import threading

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.watch import WatchCache
from kns.model.errors import KnsError
from kns.ports import Clock

FRESH_S = 30.0
_PROBE_TIMEOUT_S = 2.0  # the probes' own limit is 3 s


class HostHealth:
    """Implements `ports.Health`."""

    def __init__(self, client: KubeClient, records: WatchCache, *, clock: Clock) -> None:
        self._client = client
        self._records = records
        self._clock = clock
        self._answered_at: float | None = None
        self._lock = threading.Lock()

    def is_ready(self) -> bool:
        return self._records.is_synced and self._host_answers()

    def _host_answers(self) -> bool:
        """True without a call if the host answered in the last ten seconds; the answer may be as old as `FRESH_S`."""
        with self._lock:
            if self._age() > FRESH_S / 3:
                try:
                    self._client.request_raw("GET", "/readyz", read_timeout_s=_PROBE_TIMEOUT_S)
                except KnsError:
                    return self._age() <= FRESH_S
                self._answered_at = self._clock.monotonic()
            return True

    def _age(self) -> float:
        return float("inf") if self._answered_at is None else self._clock.monotonic() - self._answered_at
