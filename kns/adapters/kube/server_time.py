"""
The difference between this machine's clock and the host API's, from the `Date` header of its answers.

Nobody can tell which of the two is wrong. So if they differ, nothing is done that only the time justifies and that
cannot be undone.
"""

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

MAX_SKEW_S = 300.0  # above delayed answers, and below any walltime or retention that matters


class ServerTime:
    """Safe for use in many threads. The newest answer counts."""

    def __init__(self, wall_time: Callable[[], float] = time.time) -> None:
        self._wall_time = wall_time
        self._skew_s = 0.0

    def observe(self, headers: Mapping[str, str]) -> None:
        """Note the time of an answer that has just arrived. An answer without a readable time changes nothing."""
        try:
            answered = parsedate_to_datetime(headers["Date"])
        except (KeyError, ValueError):
            return
        self._skew_s = self._wall_time() - answered.timestamp()

    @property
    def skew_s(self) -> float:
        """How far this machine's clock is ahead, in seconds; negative if it is behind, 0 before the first answer."""
        return self._skew_s

    def is_trusted(self) -> bool:
        return abs(self._skew_s) <= MAX_SKEW_S
