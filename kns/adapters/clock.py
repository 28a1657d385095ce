"""The real clock."""

import time
from datetime import UTC, datetime


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that also count while the machine is suspended, because a Lease expires meanwhile."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
