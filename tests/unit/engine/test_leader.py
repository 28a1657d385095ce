"""Leader election over a scripted Lease: acquire, hold, lose, release."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from kns.engine.leader import DURATION_S, PERIOD_S, RENEW_LIMIT_S, Leader
from kns.model.errors import UnavailableError
from tests.fakes.stores import FakeClock

HELD, OTHER, SILENT = "held", "other", "silent"


@dataclass
class ScriptedLease:
    """Answers from a list and then repeats the last one. Each call takes `slow_s`."""

    answers: Iterator[str]
    clock: FakeClock
    slow_s: float = 0.0
    last: str = OTHER
    released: list[str] = field(default_factory=list)
    asked: list[tuple[str, float]] = field(default_factory=list)
    unreachable_at_end: bool = False

    def try_acquire(self, *, holder: str, duration_s: float) -> bool:
        self.asked.append((holder, duration_s))
        self.clock.advance(self.slow_s)
        self.last = next(self.answers, self.last)
        if self.last == SILENT:
            raise UnavailableError("no answer")
        return self.last == HELD

    def release(self, *, holder: str) -> None:
        self.asked.append(("release", 0))
        if self.unreachable_at_end:
            raise UnavailableError("no answer")
        self.released.append(holder)


class Stop(threading.Event):
    """Waiting moves the clock. The event is set after `rounds` waits."""

    def __init__(self, clock: FakeClock, rounds: int) -> None:
        super().__init__()
        self._clock = clock
        self._left = rounds

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout == PERIOD_S
        self._clock.advance(timeout)
        self._left -= 1
        if self._left <= 0:
            self.set()
        return self.is_set()


class Life:
    """One run of a leader over these answers; `events` lists its callbacks."""

    def __init__(self, *answers: str, rounds: int = 30, slow_s: float = 0.0) -> None:
        self.clock = FakeClock()
        self.lease = ScriptedLease(iter(answers), self.clock, slow_s=slow_s)
        self.leader = Leader(self.lease, holder="me", clock=self.clock)
        self.events: list[str] = []
        self.stop = Stop(self.clock, rounds)
        self.ends_in_time = True

    def run(self) -> list[str]:
        began = self.clock.monotonic()

        def note(what: str) -> None:
            self.events.append(f"{what} at {self.clock.monotonic() - began:g} leading={self.leader.is_leading}")

        def note_stop() -> bool:
            note("stop")
            assert self.lease.asked[-1] != ("release", 0), "the work in flight ends first"
            return self.ends_in_time

        self.leader.run(self.stop, on_start=lambda: note("start"), on_loss=lambda: note("loss"), on_stop=note_stop)
        assert not self.leader.is_leading
        return self.events


def test_it_starts_once_and_gives_back_at_the_end() -> None:
    life = Life(HELD, rounds=5)
    assert life.run() == ["start at 0 leading=True", "stop at 10 leading=True"]
    assert life.lease.asked == [("me", DURATION_S)] * 5 + [("release", 0)]
    assert life.lease.released == ["me"]


def test_work_that_does_not_end_keeps_the_lease_until_it_runs_out() -> None:
    """If it were released, another replica would start while a reconcile still runs here."""
    life = Life(HELD, rounds=5)
    life.ends_in_time = False
    life.run()
    assert life.lease.released == []


@pytest.mark.proves("settings", "Both replicas answer, one reconciles jobs")
def test_it_stands_by_while_another_leads() -> None:
    life = Life(OTHER, OTHER, SILENT, HELD, rounds=5)
    assert life.run() == ["start at 6 leading=True", "stop at 10 leading=True"]


def test_who_never_led_gives_nothing_back() -> None:
    life = Life(OTHER, rounds=3)
    assert (life.run(), life.lease.released) == ([], [])


def test_silence_shorter_than_the_limit_is_survived() -> None:
    life = Life(HELD, SILENT, SILENT, SILENT, SILENT, SILENT, HELD, rounds=10)
    assert life.run() == ["start at 0 leading=True", "stop at 20 leading=True"]


def test_a_renewal_that_hangs_does_not_let_passes_start() -> None:
    """The loss is noticed only after the call; no reconcile may start before that."""
    life = Life(HELD, rounds=1)
    seen: list[bool] = []

    def look() -> bool:
        seen.append(life.leader.may_work)
        life.clock.advance(10.5)
        seen.append(life.leader.may_work)
        return True

    life.leader.run(life.stop, on_start=lambda: None, on_loss=lambda: None, on_stop=look)
    assert seen == [True, False]


def test_silence_past_the_limit_is_loss() -> None:
    """At the first try that ends after the limit, and before the Lease could expire."""
    life = Life(HELD, SILENT)
    assert life.run() == ["start at 0 leading=True", "loss at 12 leading=False"]
    assert RENEW_LIMIT_S < 12 < DURATION_S
    assert life.lease.released == []


def test_a_slow_answer_counts_from_its_question() -> None:
    """The server may have renewed the Lease at the beginning of the call."""
    life = Life(HELD, HELD, SILENT, slow_s=4)
    assert life.run() == ["start at 4 leading=True", "loss at 22 leading=False"]


def test_another_holder_is_loss_at_once() -> None:
    assert Life(HELD, HELD, OTHER).run() == ["start at 0 leading=True", "loss at 4 leading=False"]


def test_silence_at_the_end_does_not_keep_it_from_ending() -> None:
    life = Life(HELD, rounds=2)
    life.lease.unreachable_at_end = True
    assert life.run() == ["start at 0 leading=True", "stop at 4 leading=True"]


def test_a_stop_before_the_start_asks_nothing() -> None:
    life = Life(HELD)
    life.stop.set()
    assert (life.run(), life.lease.asked) == ([], [])


def test_a_fault_of_ours_is_not_swallowed() -> None:
    life = Life(HELD)

    def broken(**_: object) -> bool:
        raise ZeroDivisionError

    life.lease.try_acquire = broken  # type: ignore[method-assign]  # this one lease breaks
    with pytest.raises(ZeroDivisionError):
        life.run()
