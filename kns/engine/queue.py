"""
The work queue: keys (record names) with delays and backoff. At most one worker has a key at a time.

A key that is added while a worker has it is handed out again after that worker is done, so no change is missed. After
failures in a row a key that is added waits a while: a failing reconcile writes why, and its own write is a change, too.
The queue is not stored: a new leader opens it and adds every key. Before that it takes none, because nobody would take
them out, and they would seem to wait forever.
"""

import heapq
import random
import threading

from kns import metrics
from kns.ports import Clock

BASE_DELAY_S = 0.25
MAX_DELAY_S = 60.0
MAX_HELD_S = 5.0  # the longest wait of a user's request behind failures
_LONGEST_WAIT_S = 3600.0  # a walltime may end years ahead, which is more than a thread can wait in one call


class WorkQueue:
    def __init__(self, *, clock: Clock, rng: random.Random, opened: bool = True) -> None:
        self._clock = clock
        self._rng = rng
        self._changed = threading.Condition()
        self._ready: dict[str, float] = {}  # key -> when it became ready; insertion order is the order of work
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._held: dict[str, float] = {}  # key -> when it may be handed out at the earliest
        self._opened = opened
        self._closed = False

    def open(self) -> None:
        """Take keys from now on."""
        with self._changed:
            self._opened = True

    def add(self, key: str) -> None:
        """
        Hand out `key` as soon as a worker is free. After failures in a row, it first waits for their backoff, but at
        most `MAX_HELD_S`.
        """
        with self._changed:
            if not self._opened:
                return
            if key in self._busy:
                self._due.pop(key, None)
                self._again.add(key)
            else:
                self._make_ready(key)

    def add_after(self, key: str, delay_s: float) -> None:
        """Hand out `key` after `delay_s`, or earlier if it is already due earlier. Failures in a row as for `add`."""
        if delay_s <= 0:
            self.add(key)
            return
        with self._changed:
            if self._opened:
                self._plan(key, self._clock.monotonic() + delay_s)

    def add_failed(self, key: str, *, at_least_s: float = 0.0) -> float:
        """
        Hand out `key` again after a backoff that grows with each failure in a row. Returns the delay in seconds.

        `at_least_s` is a server's Retry-After. It counts up to `MAX_DELAY_S`, so that a wrong value cannot delay a job
        for days.
        """
        with self._changed:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            delay_s = min(MAX_DELAY_S, BASE_DELAY_S * 2.0 ** min(failures, 20)) * self._rng.uniform(0.7, 1.3)
            delay_s = max(delay_s, min(at_least_s, MAX_DELAY_S))
            if failures:  # one alone is usually a conflict, which is over with the event of the change
                self._held[key] = self._clock.monotonic() + min(delay_s, MAX_HELD_S)
            self._plan(key, self._clock.monotonic() + delay_s)
        return delay_s

    def forget_failures(self, key: str) -> None:
        with self._changed:
            self._failures.pop(key, None)
            self._held.pop(key, None)

    def take(self) -> str | None:
        """Wait for the next key; None after `close`. The caller must call `done` with the key."""
        with self._changed:
            while not self._closed:
                wait_s = self._promote_due()
                if self._ready:
                    key = next(iter(self._ready))
                    metrics.observe_queue_wait(max(0.0, self._clock.monotonic() - self._ready.pop(key)))
                    self._busy.add(key)
                    if self._ready or self._heap:  # no other worker waits for these keys yet
                        self._changed.notify()
                    return key
                self._changed.wait(None if wait_s is None else min(wait_s, _LONGEST_WAIT_S))
            return None

    def done(self, key: str) -> None:
        with self._changed:
            self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self._make_ready(key)

    def close(self) -> None:
        """Hand out no more keys, effective immediately."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def depth(self) -> int:
        with self._changed:
            return len(self._ready)

    @property
    def oldest_s(self) -> float:
        """How long the key that waits longest for a worker has waited; 0 if none waits."""
        with self._changed:
            return max(0.0, self._clock.monotonic() - next(iter(self._ready.values()))) if self._ready else 0.0

    def _make_ready(self, key: str) -> None:
        now = self._clock.monotonic()
        held_until = self._held.get(key, now)
        if held_until > now:
            self._plan(key, held_until)
            return
        self._due.pop(key, None)
        self._ready.setdefault(key, now)
        self._changed.notify()

    def _plan(self, key: str, due: float) -> None:
        """Make `key` due, unless it is due earlier."""
        if key in self._ready or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._changed.notify()

    def _promote_due(self) -> float | None:
        """Make all due keys ready. Returns the seconds until the next key is due."""
        now = self._clock.monotonic()
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due:  # handed out, rescheduled or added in the meantime
                heapq.heappop(self._heap)
                continue
            if due > now:
                return due - now
            heapq.heappop(self._heap)
            del self._due[key]
            held_until = self._held.get(key, now)
            if held_until > now:  # it was planned for a change, before or after the last failure
                self._plan(key, held_until)
            elif key in self._busy:
                self._again.add(key)
            else:
                self._ready[key] = due
        return None
