"""
Leader election: the holder of the Lease reconciles; the other replicas stand by. All replicas serve HTTP.

A Lease does not stop an old leader. So the leader gives up well before another replica may take over: if it could not
renew for `RENEW_LIMIT_S`, it hands out no more keys and the process exits. A reconcile of a frozen leader is stopped
before its next call (`engine/fence.py`).
"""

import threading
from collections.abc import Callable
from datetime import datetime

from kns import metrics
from kns.logs import get_logger
from kns.model.errors import KnsError
from kns.ports import Clock, Lease

log = get_logger(__name__)

DURATION_S = 15.0
RENEW_LIMIT_S = 10.0
PERIOD_S = 2.0


class Leader:
    def __init__(self, lease: Lease, *, holder: str, clock: Clock) -> None:
        self._lease = lease
        self._holder = holder
        self._clock = clock
        self._leading = threading.Event()
        self._renewed_at = 0.0
        self._leading_since: datetime | None = None

    @property
    def leading_since(self) -> datetime | None:
        """When this replica took the Lease; None if it never did."""
        return self._leading_since

    @property
    def is_leading(self) -> bool:
        return self._leading.is_set()

    @property
    def may_work(self) -> bool:
        """
        Whether the Lease was renewed recently enough to reconcile. A renewal that hangs does not delay the answer.
        """
        return self.is_leading and self._clock.monotonic() - self._renewed_at <= RENEW_LIMIT_S

    def run(
        self,
        stop: threading.Event,
        *,
        on_start: Callable[[], None],
        on_loss: Callable[[], None],
        on_stop: Callable[[], bool],
    ) -> None:
        """
        Wait for the Lease, then hold it until `stop` is set or it is lost.

        `on_loss` must stop the work immediately. `on_stop` waits for the work and returns whether it ended. Only then
        is the Lease released, so that no reconcile of this leader overlaps with the next leader; otherwise it expires.
        """
        while not stop.is_set():
            began = self._clock.monotonic()
            held = self._try()
            if held:
                self._renewed_at = began
                if not self.is_leading:
                    self._leading_since = self._clock.now()
                    self._leading.set()
                    metrics.set_leader(leading=True)
                    log.info("leading", holder=self._holder)
                    on_start()
            elif self.is_leading and (held is False or not self.may_work):
                self._leading.clear()
                metrics.set_leader(leading=False)
                log.error("lease_lost", holder=self._holder)
                on_loss()
                return
            stop.wait(PERIOD_S)
        if self.is_leading:
            ended = on_stop()
            self._leading.clear()
            if ended:
                self._release()

    def _try(self) -> bool | None:
        """True: held; False: another replica holds it; None: no answer."""
        try:
            return self._lease.try_acquire(holder=self._holder, duration_s=DURATION_S)
        except KnsError as error:
            log.warning("lease_unreachable", error=str(error))
            return None

    def _release(self) -> None:
        try:
            self._lease.release(holder=self._holder)
        except KnsError as error:  # it expires by itself
            log.warning("lease_not_released", error=str(error))
