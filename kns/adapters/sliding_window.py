"""
A rate limit by sliding window, in this process's memory: each replica counts for itself.

Existing libraries keep every key forever. Here strangers choose the keys, so whoever tries logins could fill the
memory. This one drops a key with its last event and stores only its hash.
"""

import threading
from collections import deque
from hashlib import sha256

from kns.ports import Clock

WINDOW_S = 60.0


class SlidingWindow:
    """Implements `ports.RateLimit`."""

    def __init__(self, limit: int, *, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._events: dict[bytes, deque[float]] = {}  # oldest first; at most `limit` each
        self._swept = clock.monotonic()

    def wait_s(self, *key: str) -> float:
        with self._lock:
            return self._wait_s(self._read(_hash(key)))

    def take(self, *key: str) -> float:
        hashed = _hash(key)
        with self._lock:
            self._sweep()
            events = self._read(hashed)
            wait_s = self._wait_s(events)
            if wait_s == 0:
                events.append(self._clock.monotonic())
                self._events[hashed] = events
            return wait_s

    def give_back(self, *key: str) -> None:
        with self._lock:
            events = self._read(_hash(key))
            if events:
                events.pop()

    def _read(self, hashed: bytes) -> deque[float]:
        """The key's events inside the window."""
        events = self._events.get(hashed, deque())
        since = self._clock.monotonic() - WINDOW_S
        while events and events[0] <= since:
            events.popleft()
        return events

    def _wait_s(self, events: deque[float]) -> float:
        return events[0] + WINDOW_S - self._clock.monotonic() if len(events) >= self._limit else 0

    def _sweep(self) -> None:
        """Once per window, drop every key that has no event in it."""
        now = self._clock.monotonic()
        if now - self._swept >= WINDOW_S:
            self._events = {
                hashed: events for hashed, events in self._events.items() if events and events[-1] > now - WINDOW_S
            }
            self._swept = now


def _hash(key: tuple[str, ...]) -> bytes:
    """Different for different keys: a name may contain any character, so nothing could separate joined parts."""
    return sha256(ascii(key).encode()).digest()
