"""
The work queue: keys (record names), each in the hands of one worker at a time, with delays and backoff.

A key that is added while a worker has it comes round again when the worker is done, so no change is missed and none is
worked on twice at once. Nothing here survives a restart, and nothing needs to: the leader starts by adding every key.
"""

import heapq
import random
import threading

from kns import metrics
from kns.ports import Clock

BASE_DELAY_S = 0.25
MAX_DELAY_S = 60.0
_LONGEST_WAIT_S = 3600.0  # a plan may lie years ahead (a walltime), which is more than a thread can wait for at once


class WorkQueue:
    def __init__(self, *, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._changed = threading.Condition()
        self._ready: dict[str, float] = {}  # key -> when it became ready; insertion order is the order of work
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._closed = False

    def add(self, key: str) -> None:
        """Look at `key` as soon as a worker is free."""
        with self._changed:
            self._due.pop(key, None)
            if key in self._busy:
                self._again.add(key)
            else:
                self._ready.setdefault(key, self._clock.monotonic())
                self._changed.notify()

    def add_after(self, key: str, delay_s: float) -> None:
        """Look at `key` after `delay_s`, or sooner if something sooner is already planned."""
        if delay_s <= 0:
            return self.add(key)
        due = self._clock.monotonic() + delay_s
        with self._changed:
            if key in self._ready or self._due.get(key, due + 1) <= due:
                return None
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.notify()
        return None

    def add_failed(self, key: str, *, at_least_s: float = 0.0) -> float:
        """
        Look again after a backoff that grows with each failure in a row; the delay chosen, in seconds.

        `at_least_s` is the wish of a server or of what stands before it, and may be any number: it counts up to
        `MAX_DELAY_S`, so that a faulty one puts no job off for days.
        """
        with self._changed:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
        delay_s = min(MAX_DELAY_S, BASE_DELAY_S * 2.0 ** min(failures, 20)) * self._rng.uniform(0.7, 1.3)
        delay_s = max(delay_s, min(at_least_s, MAX_DELAY_S))
        self.add_after(key, delay_s)
        return delay_s

    def forget_failures(self, key: str) -> None:
        with self._changed:
            self._failures.pop(key, None)

    def take(self) -> str | None:
        """The next key, when there is one; None when the queue was closed. Give it back with `done`."""
        with self._changed:
            while not self._closed:
                wait_s = self._promote_due()
                if self._ready:
                    key = next(iter(self._ready))
                    metrics.observe_queue_wait(max(0.0, self._clock.monotonic() - self._ready.pop(key)))
                    self._busy.add(key)
                    if self._ready or self._heap:  # this worker was the one that waited for them
                        self._changed.notify()
                    return key
                self._changed.wait(None if wait_s is None else min(wait_s, _LONGEST_WAIT_S))
            return None

    def done(self, key: str) -> None:
        with self._changed:
            self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self._due.pop(key, None)
                self._ready[key] = self._clock.monotonic()
                self._changed.notify()

    def close(self) -> None:
        """Hand out no further key, at once."""
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

    def _promote_due(self) -> float | None:
        """Move what is due to the ready ones; seconds until the next is due."""
        now = self._clock.monotonic()
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due:  # taken, replaced or added in between
                heapq.heappop(self._heap)
                continue
            if due > now:
                return due - now
            heapq.heappop(self._heap)
            del self._due[key]
            if key in self._busy:
                self._again.add(key)
            else:
                self._ready[key] = due
        return None
