"""
The difference between this machine's clock and the host API's, from the `Date` header of its answers.

Nobody can tell which of the two is wrong. So if they differ, nothing is done that only the time justifies and that
cannot be undone. A clock that jumps is noticed at once, not only at the next answer: since the last answer, the host
API's time is counted on by the monotonic clock.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from kns.ports import Clock

MAX_SKEW_S = 300.0  # above delayed answers, and below any walltime or retention that matters

# Linux's clock that also counts while the machine is suspended, as the host API's time does. The commands that an
# administrator calls run elsewhere, too.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _read_monotonic() -> float:
    return time.clock_gettime(_CLOCK)


class ServerTime:
    """Safe for use in many threads. The newest answer counts."""

    def __init__(
        self,
        wall_time: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = _read_monotonic,
    ) -> None:
        self._wall_time = wall_time
        self._monotonic = monotonic
        self._base_s: float | None = None  # the host API's time when the monotonic clock was 0

    def observe(self, headers: Mapping[str, str]) -> None:
        """Note the time of an answer that has just arrived. An answer without a readable time changes nothing."""
        try:
            answered = parsedate_to_datetime(headers["Date"])
            answered_s = answered.timestamp()
        except (KeyError, ValueError, OverflowError):  # the header may name any year and offset
            return
        self._base_s = answered_s - self._monotonic()

    @property
    def skew_s(self) -> float:
        """How far this machine's clock is ahead, in seconds; negative if it is behind, 0 before the first answer."""
        base_s = self._base_s
        return 0.0 if base_s is None else self._wall_time() - base_s - self._monotonic()

    def is_trusted(self) -> bool:
        return abs(self.skew_s) <= MAX_SKEW_S


class HostClock:
    """
    This machine's clock; while it is wrong, the time is the host API's, which also dates the records. Otherwise every
    limit and every age that is counted from a stored time would be wrong, and those that begin now even later.
    """

    def __init__(self, clock: Clock, server_time: ServerTime) -> None:
        self._clock = clock
        self._server_time = server_time

    def now(self) -> datetime:
        now, time = self._clock.now(), self._server_time
        return now if time.is_trusted() else now - timedelta(seconds=time.skew_s)

    def monotonic(self) -> float:
        return self._clock.monotonic()
