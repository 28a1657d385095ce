"""Readiness: the record cache has synced and the host API answered recently. Probes cause the calls, not a timer."""

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.watch import WatchCache
from kns.logs import get_logger
from kns.model.errors import KnsError
from kns.ports import Clock

log = get_logger(__name__)

FRESH_S = 30.0
_PROBE_TIMEOUT_S = 1.4  # to connect, and again to answer; the limit of the probes is 3 s


class HostHealth:
    """Implements `ports.Health`. `others` are the watches besides that of the records."""

    def __init__(
        self, client: KubeClient, records: WatchCache[Any], *, clock: Clock, others: Sequence[WatchCache[Any]] = ()
    ) -> None:
        self._client = client
        self._records = records
        self._caches = (records, *others)
        self._clock = clock
        self._asked_at = float("-inf")  # end of the last call
        self._answered_at = float("-inf")
        self._lock = threading.Lock()

    def is_ready(self) -> bool:
        return self._records.is_synced and self._host_answers()

    def watch_ages(self) -> Mapping[str, float | None]:
        ages = {cache.kind: cache.age_s for cache in self._caches}
        return {kind: round(age_s, 1) if math.isfinite(age_s) else None for kind, age_s in ages.items()}

    def _host_answers(self) -> bool:
        """
        Whether the host answered within `FRESH_S`. A call is made only if the last answer is older than ten seconds.

        A thread that waited for the call of another thread uses its result. Otherwise, each would wait for a full
        timeout.
        """
        came_at = self._clock.monotonic()
        with self._lock:
            if self._age() > FRESH_S / 3 and self._asked_at <= came_at:
                self._ask()
            return self._age() <= FRESH_S

    def _ask(self) -> None:
        try:
            self._client.read_bytes("/readyz", read_timeout_s=_PROBE_TIMEOUT_S)
            self._answered_at = self._clock.monotonic()
        except KnsError as error:
            log.info("host_not_ready", error=str(error))
        finally:
            self._asked_at = self._clock.monotonic()

    def _age(self) -> float:
        return self._clock.monotonic() - self._answered_at
