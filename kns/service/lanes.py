"""
How many requests to virtual clusters are open, and how many bytes they may carry.

The scheduler passes these bytes on in the process that also reconciles, so one user must not use all of it.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from kns.service.errors import TooManyRequestsError

MOST_OF_USER = 64  # open requests of one user on this replica: three programs like k9s, with 20 watches each
MOST_OF_JOB = 64  # of all users of one job
MOST_LARGE_OF_USER = 4  # of these with a large body: each holds it until its answer ends, in memory that all share
MOST = 256  # of all; each costs about 200 KiB, two connections and their buffers
BYTES_PER_S = 16 * 1024 * 1024  # of a user: answers and WebSocket messages; costs about a tenth of a core
_AGAIN_AFTER_S = 1.0


class Lanes:
    """Counts open requests and bytes. Only the event loop calls it."""

    def __init__(self) -> None:
        self._open: Counter[tuple[str, object]] = Counter()
        self._free_at: dict[str, float] = {}

    @property
    def open(self) -> int:
        return self._open["all", None]

    @contextmanager
    def enter(self, username: str, number: int, *, is_large: bool = False) -> Iterator[None]:
        """
        One request for the duration of the block. `is_large`: its body counts against what all bodies may hold.

        Raises:
            TooManyRequestsError: too many are open.
        """
        keys: dict[tuple[str, object], int] = {
            ("user", username): MOST_OF_USER,
            ("job", number): MOST_OF_JOB,
            ("all", None): MOST,
            **({("large", username): MOST_LARGE_OF_USER} if is_large else {}),
        }
        if any(self._open[key] >= most for key, most in keys.items()):
            raise TooManyRequestsError(_AGAIN_AFTER_S)
        self._open.update(keys.keys())
        try:
            yield
        finally:
            self._open.subtract(keys.keys())
            for key in [key for key in keys if not self._open[key]]:
                del self._open[key]
            if ("user", username) not in self._open:
                self._free_at.pop(username, None)

    def delay_s(self, username: str, size: int, now: float) -> float:
        """How long to wait after `size` bytes of a user. `now` is a monotonic time in seconds."""
        start = max(now, self._free_at.get(username, now))
        self._free_at[username] = start + size / BYTES_PER_S
        return start - now
