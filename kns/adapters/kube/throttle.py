"""
A limit on the rate of writes to the host cluster, so that a burst of new jobs leaves the API server capacity for
others, above all for the submissions of users.

It is a token bucket, as in every Kubernetes controller. The official client has none.
"""

import threading
import time
from collections.abc import Callable

from kns.model.errors import UnavailableError
from kns.ports import Clock


class Throttle:
    """Allows `per_second` writes on average and `burst` at once. Safe for use in many threads, in order of arrival."""

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
        self._next = clock.monotonic() - self._burst_s  # time of the next token; a time in the past is the burst

    def wait(self) -> None:
        """
        Wait until one more write is allowed.

        Raises:
            UnavailableError: this process lost its Lease while it waited.
        """
        now = self._clock.monotonic()
        with self._lock:
            due = self._next = max(self._next, now - self._burst_s) + self._interval_s
        if due > now:
            self._sleep(due - now)
            if not self._may_work():
                raise UnavailableError("a write was delayed, and this process does not lead any more")
