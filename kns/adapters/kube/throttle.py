"""
A bound on how fast the engine changes the host cluster, so that a burst of new jobs leaves the API server room for
everybody else: users whose submits wait for it first of all.

A token bucket, as in every Kubernetes controller; nothing in the official client has one.
"""

import threading
import time
from collections.abc import Callable

from kns.model.errors import UnavailableError
from kns.ports import Clock


class Throttle:
    """`per_second` on average, `burst` at once. Safe to use from many threads; who comes first goes first."""

    def __init__(
        self,
        per_second: float,
        *,
        burst: int,
        clock: Clock,
        may_work: Callable[[], bool] = lambda: True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = 1.0 / per_second
        self._burst_s = burst * self._interval_s
        self._clock = clock
        self._may_work = may_work
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = clock.monotonic() - self._burst_s  # when the next token is due; the past holds the burst

    def wait(self) -> None:
        """
        Return when one more change may be made.

        Raises:
            UnavailableError: it may not, for this process has lost the lead while it waited here.
        """
        now = self._clock.monotonic()
        with self._lock:
            due = self._next = max(self._next, now - self._burst_s) + self._interval_s
        if due > now:
            self._sleep(due - now)
            if not self._may_work():
                raise UnavailableError("a change was put off, and this process does not lead any more")
