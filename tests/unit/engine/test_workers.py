"""What happens after a reconcile: its result or error determines when the key is handed out again."""

import random
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from kns.engine.queue import BASE_DELAY_S, MAX_HELD_S, WorkQueue
from kns.engine.reconciler import Reconciler
from kns.engine.result import Result
from kns.engine.workers import Workers
from kns.model.errors import ConflictError, RefusedError, UnavailableError
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S


class Shop:
    """Workers over a reconciler that a test scripts, key by key."""

    def __init__(self, count: int = 1) -> None:
        self.clock = FakeClock()
        self.queue = WorkQueue(clock=self.clock, rng=random.Random(1))
        self.seen: list[str] = []
        self.closed = threading.Event()
        self.acts: dict[str, list[Callable[[], Result]]] = {}
        self.idle: set[str] = set()
        self.died = threading.Event()
        self.workers = Workers(
            self.queue,
            cast(Reconciler, self),
            clock=self.clock,
            count=count,
            may_work=self._may_work,
            on_death=self.died.set,
        )

    def _may_work(self) -> bool:
        return not self.idle.intersection(self.queue._busy)

    def reconcile(self, record: str) -> Result:
        self.seen.append(record)
        if record == "END":
            self.queue.close()
            self.closed.set()
            return Result("end")
        acts = self.acts.get(record)
        return acts.pop(0)() if acts else Result("gone")

    def work(self) -> list[dict[str, Any]]:
        """Process all ready keys, then stop. Returns the log lines."""
        self.queue.add("END")
        with capture_logs() as logs:
            self.workers.start()
            assert self.closed.wait(PATIENCE_S)
            assert self.workers.stop(timeout_s=PATIENCE_S)
        assert not self.died.is_set()
        return [dict(line) for line in logs if line.get("outcome") != "end"]


def raising(error: Exception) -> Callable[[], Result]:
    def act() -> Result:
        raise error

    return act


@pytest.fixture
def shop() -> Shop:
    return Shop()


def planned_s(shop: Shop, key: str) -> float | None:
    due = shop.queue._due.get(key)
    return None if due is None else due - shop.clock.monotonic()


def test_a_result_says_when_to_look_again(shop: Shop) -> None:
    shop.acts = {"later": [lambda: Result("wait", 5.0, "Spawning: x")], "never": [lambda: Result("kept")]}
    for key in shop.acts:
        shop.queue.add(key)
    logs = shop.work()
    assert (planned_s(shop, "later"), planned_s(shop, "never")) == (5.0, None)
    assert [(line["event"], line["outcome"], line["requeue_after_s"], line["detail"]) for line in logs] == [
        ("reconcile_finished", "wait", 5.0, "Spawning: x"),
        ("reconcile_finished", "kept", None, ""),
    ]


def test_at_once_means_after_this_pass(shop: Shop) -> None:
    shop.acts = {"a": [lambda: Result("accepted", 0.0), lambda: Result("wait", 1.0)]}
    shop.queue.add("a")
    shop.queue.add("b")
    shop.work()
    assert shop.seen == ["a", "b", "END"]  # the second reconcile was due after the end
    assert shop.queue.depth == 1


@pytest.mark.parametrize(
    ("error", "outcome", "at_least_s"),
    [
        (UnavailableError("no answer"), "transient", 0.7 * BASE_DELAY_S),
        (UnavailableError("429", retry_after_s=33), "transient", 33),
        (ConflictError("changed"), "conflict", 0.7 * BASE_DELAY_S),
        (ZeroDivisionError("ours"), "error", 0.7 * BASE_DELAY_S),
        (RefusedError("nobody caught it"), "error", 0.7 * BASE_DELAY_S),
    ],
    ids=["unavailable", "retry-after", "conflict", "crash", "an error that no stage turned into an end"],
)
def test_an_error_requeues_the_key_after_a_delay(shop: Shop, error: Exception, outcome: str, at_least_s: float) -> None:
    shop.acts = {"a": [raising(error)]}
    shop.queue.add("a")
    shop.queue.add("b")
    logs = [line for line in shop.work() if line["event"] == "reconcile_finished"]
    delay_s = planned_s(shop, "a")
    assert delay_s is not None
    assert at_least_s <= delay_s <= max(at_least_s, 1.3 * BASE_DELAY_S)
    assert [line["outcome"] for line in logs] == [outcome, "gone"]
    assert shop.seen == ["a", "b", "END"]


def test_a_crash_is_logged_with_its_traceback(shop: Shop) -> None:
    shop.acts = {"a": [raising(ZeroDivisionError("ours"))]}
    shop.queue.add("a")
    assert [line["event"] for line in shop.work()] == ["reconcile_crashed", "reconcile_finished"]


def test_a_success_ends_the_backoff(shop: Shop) -> None:
    for _ in range(8):
        shop.queue.add_failed("a")
    shop.clock.advance(MAX_HELD_S)
    shop.queue.add("a")
    shop.work()
    assert shop.queue.add_failed("a") <= 1.3 * BASE_DELAY_S


def test_a_failure_lets_it_grow(shop: Shop) -> None:
    shop.queue.add_failed("a")
    shop.queue.add_failed("a")
    shop.acts = {"a": [raising(UnavailableError("x"))]}
    shop.clock.advance(MAX_HELD_S)
    shop.queue.add("a")
    shop.work()
    assert (planned_s(shop, "a") or 0) >= 0.7 * 4 * BASE_DELAY_S


def test_keys_wait_while_the_lease_is_not_fresh(shop: Shop) -> None:
    """No reconcile starts, and no key is lost."""
    shop.idle = {"kns-job-7"}
    shop.queue.add("kns-job-7")
    shop.work()
    assert shop.seen == ["END"]
    assert planned_s(shop, "kns-job-7") == 1.0


def test_workers_work_at_the_same_time_never_on_the_same_key() -> None:
    """Two keys meet at a barrier; a second reconcile of one of them waits for the first."""
    shop = Shop(count=3)
    barrier, inside = threading.Barrier(2), threading.Lock()

    def meet() -> Result:
        assert inside.acquire(blocking=False), "twice at once"
        shop.queue.add("a")
        inside.release()
        barrier.wait(PATIENCE_S)
        return Result("met")

    def other() -> Result:
        barrier.wait(PATIENCE_S)
        return Result("met")

    def end() -> Result:
        shop.closed.set()
        return Result("end")

    shop.acts = {"a": [meet, end], "b": [other]}
    shop.queue.add("a")
    shop.queue.add("b")
    shop.workers.start()
    assert shop.closed.wait(PATIENCE_S)
    assert shop.workers.stop(timeout_s=PATIENCE_S)
    assert sorted(shop.seen) == ["a", "a", "b"]


def test_stop_lets_a_pass_end_and_tells_of_one_that_does_not() -> None:
    """The Lease is released only afterwards, so no reconcile overlaps with the next leader."""
    shop, inside, go_on = Shop(), threading.Event(), threading.Event()

    def slow() -> Result:
        inside.set()
        go_on.wait(PATIENCE_S)
        return Result("wait", 1.0)

    shop.acts = {"a": [slow]}
    shop.queue.add("a")
    shop.workers.start()
    assert inside.wait(PATIENCE_S)
    assert not shop.workers.stop(timeout_s=0)
    go_on.set()
    assert shop.workers.stop(timeout_s=PATIENCE_S)
    assert shop.seen == ["a"]


@pytest.mark.proves("faults", "a worker thread dies")
@pytest.mark.parametrize(
    "error", [OverflowError("timestamp out of range"), SystemExit(1)], ids=lambda e: type(e).__name__
)
def test_a_worker_that_dies_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Whatever the error: the process ends and another one leads."""

    def take() -> str:
        raise error

    monkeypatch.setattr(shop.queue, "take", take)
    with capture_logs() as logs:
        shop.workers.start()
        assert shop.died.wait(PATIENCE_S)
        assert shop.workers.stop(timeout_s=PATIENCE_S)
    assert [line["event"] for line in logs] == ["worker_died"]
