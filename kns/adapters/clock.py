"""The real clock."""

import time
from datetime import UTC, datetime


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that go on while the machine is suspended: a Lease runs out meanwhile."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
