"""What this process stands on: time, leadership, limits, and its own health."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall-clock time with a time zone, for stored times."""
        ...

    def monotonic(self) -> float:
        """Seconds that never decrease, for waiting."""
        ...


class Lease(Protocol):
    """The object that decides which replica is the leader."""

    def try_acquire(self, *, holder: str, duration_s: float) -> bool:
        """Acquire or renew the Lease; False while another holder has it."""
        ...

    def release(self, *, holder: str) -> None: ...


class RateLimit(Protocol):
    """A limit of events per minute for each key, over a sliding window."""

    def wait_s(self, *key: str) -> float:
        """Seconds until one more event is allowed; 0 if it is allowed now."""
        ...

    def take(self, *key: str) -> float:
        """Count one event and return 0. Over the limit, count nothing and return the seconds to wait."""
        ...

    def give_back(self, *key: str) -> None:
        """Uncount the newest event, after what was counted in advance turned out not to be one."""
        ...


class Health(Protocol):
    def is_ready(self) -> bool:
        """Whether the record cache is filled and the host API answered in the last 30 s."""
        ...

    def watch_ages(self) -> Mapping[str, float | None]:
        """Seconds since the last data of each watch, by the plural of its kind; None if it has had none yet."""
        ...
