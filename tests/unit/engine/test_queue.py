"""The work queue on a clock that only the test moves. Waiting uses the queue's own condition variable."""

import random
import threading

import pytest

from kns.engine.queue import BASE_DELAY_S, MAX_DELAY_S, MAX_HELD_S, WorkQueue
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> WorkQueue:
    return WorkQueue(clock=clock, rng=random.Random(1))


def drain(queue: WorkQueue) -> list[str]:
    """All keys that are ready or due, each marked done. The first END makes due keys ready."""
    taken: list[str] = []
    for _ in range(2):
        queue.add("END")
        while (key := queue.take()) != "END":
            assert key is not None
            taken.append(key)
            queue.done(key)
        queue.done("END")
    return taken


def test_keys_come_in_the_order_they_were_added_once_each(queue: WorkQueue) -> None:
    for key in ("a", "b", "a"):
        queue.add(key)
    assert queue.depth == 2
    assert drain(queue) == ["a", "b"]


def test_a_key_is_in_the_hands_of_one_worker(queue: WorkQueue) -> None:
    """
    A key added while busy is handed out after the worker is done: no change is missed, and no two workers have it.
    """
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.add("a")
    assert queue.depth == 0
    queue.done("a")
    assert drain(queue) == ["a"]


def test_a_busy_key_that_comes_due_waits_for_its_worker(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add("a")
    queue.take()
    queue.add_after("a", 5)
    clock.advance(5)
    assert drain(queue) == []
    queue.done("a")
    assert drain(queue) == ["a"]


def test_a_delay_is_kept(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add_after("a", 5)
    clock.advance(4.9)
    assert drain(queue) == []
    clock.advance(0.1)
    assert drain(queue) == ["a"]
    clock.advance(100)
    assert drain(queue) == []


@pytest.mark.parametrize(("first", "second"), [(2, 9), (9, 2)], ids=["sooner first", "sooner last"])
def test_the_sooner_of_two_plans_wins(queue: WorkQueue, clock: FakeClock, first: float, second: float) -> None:
    queue.add_after("a", first)
    queue.add_after("a", second)
    clock.advance(2)
    assert drain(queue) == ["a"]
    clock.advance(100)
    assert drain(queue) == []


def test_an_add_replaces_every_plan(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add_after("a", 5)
    queue.add("a")
    assert drain(queue) == ["a"]
    clock.advance(100)
    assert drain(queue) == []


def test_a_plan_for_a_ready_key_is_not_needed(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add("a")
    queue.add_after("a", 1)
    assert drain(queue) == ["a"]
    clock.advance(10)
    assert drain(queue) == []


def test_no_delay_is_at_once(queue: WorkQueue) -> None:
    queue.add_after("a", 0)
    assert drain(queue) == ["a"]


def test_backoff_grows_per_key_to_its_limit_and_is_forgotten(queue: WorkQueue) -> None:
    """With a jitter of 30 %, so that keys that failed together are not retried together."""
    delays = [queue.add_failed("a") for _ in range(30)]
    for failures, delay in enumerate(delays):
        middle = min(MAX_DELAY_S, BASE_DELAY_S * 2.0 ** min(failures, 20))
        assert 0.7 * middle <= delay <= 1.3 * middle
    assert len(set(delays)) == len(delays)
    assert queue.add_failed("b") < 2 * BASE_DELAY_S
    queue.forget_failures("a")
    assert queue.add_failed("a") < 2 * BASE_DELAY_S


def test_an_event_ends_the_backoff_of_one_failure(queue: WorkQueue) -> None:
    """Usually a conflict, and the event is the change that it conflicted with."""
    queue.add_failed("a")
    queue.add("a")
    assert drain(queue) == ["a"]


@pytest.mark.parametrize("busy", [True, False], ids=["while it fails", "after it failed"])
def test_an_event_does_not_end_the_backoff_of_failures_in_a_row(queue: WorkQueue, clock: FakeClock, busy: bool) -> None:
    """A reconcile that fails each time with another text causes an event each time. A user's request is an event."""
    for _ in range(9):
        queue.add_failed("a")
    clock.advance(MAX_DELAY_S)
    queue.add("a")
    assert queue.take() == "a"
    if busy:
        queue.add("a")
    assert queue.add_failed("a") > MAX_HELD_S
    queue.done("a")
    if not busy:
        queue.add("a")
    assert drain(queue) == []
    clock.advance(MAX_HELD_S - 0.1)
    queue.add("a")
    assert drain(queue) == []
    clock.advance(0.1)
    assert drain(queue) == ["a"]
    clock.advance(10 * MAX_DELAY_S)
    assert drain(queue) == []


@pytest.mark.parametrize("before", [True, False])
def test_a_delayed_event_does_not_end_it_either(queue: WorkQueue, clock: FakeClock, before: bool) -> None:
    """A tenant can change a serving job's objects all the time, and these events are delayed by a second."""
    for _ in range(9):
        queue.add_failed("a")
        clock.advance(2 * MAX_DELAY_S)
        assert drain(queue) == ["a"]
    queue.add("a")
    assert queue.take() == "a"
    if before:
        queue.add_after("a", 1.0)
    assert queue.add_failed("a") > MAX_HELD_S
    queue.done("a")
    if not before:
        queue.add_after("a", 1.0)
    clock.advance(MAX_HELD_S - 0.1)
    assert drain(queue) == []
    clock.advance(0.1)
    assert drain(queue) == ["a"]


def test_a_short_backoff_holds_an_event_no_longer_than_itself(queue: WorkQueue, clock: FakeClock) -> None:
    queue.add_failed("a")
    delay_s = queue.add_failed("a")
    queue.add("a")
    assert drain(queue) == []
    clock.advance(delay_s)
    assert drain(queue) == ["a"]


def test_an_event_after_a_success_waits_for_nothing(queue: WorkQueue) -> None:
    for _ in range(9):
        queue.add_failed("a")
    queue.forget_failures("a")
    queue.add("a")
    assert drain(queue) == ["a"]


def test_backoff_is_never_below_what_the_server_asks_for(queue: WorkQueue, clock: FakeClock) -> None:
    assert queue.add_failed("a", at_least_s=42) == 42
    clock.advance(41)
    assert drain(queue) == []
    clock.advance(1)
    assert drain(queue) == ["a"]


@pytest.mark.proves("faults", "a `Retry-After` of hours or centuries, or without a valid time")
@pytest.mark.parametrize("wish", [3600.0, 99999999999.0, float("inf")])
def test_what_a_server_asks_for_counts_up_to_the_limit_of_the_backoff(queue: WorkQueue, wish: float) -> None:
    """Any proxy between kns and the API server may set a `Retry-After`."""
    assert queue.add_failed("a", at_least_s=wish) == MAX_DELAY_S


@pytest.mark.proves("faults", "a `Retry-After` of hours or centuries, or without a valid time")
@pytest.mark.parametrize("wish", [-5.0, float("-inf"), float("nan")])
def test_what_is_no_time_to_wait_is_no_wish(queue: WorkQueue, clock: FakeClock, wish: float) -> None:
    assert 0.7 * BASE_DELAY_S <= queue.add_failed("a", at_least_s=wish) <= 1.3 * BASE_DELAY_S
    clock.advance(1)
    assert drain(queue) == ["a"]


@pytest.mark.parametrize("delay_s", [99999999999.0, float("inf")])
def test_a_plan_beyond_what_a_thread_can_wait_for_ends_no_worker(queue: WorkQueue, delay_s: float) -> None:
    queue.add_after("far", delay_s)
    threading.Timer(0.01, queue.add, ["near"]).start()
    assert queue.take() == "near"


def test_close_wakes_all_who_wait_and_hands_out_nothing(queue: WorkQueue) -> None:
    taken: list[str | None] = []
    threads = [threading.Thread(target=lambda: taken.append(queue.take()), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    queue.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert taken == [None] * 3
    queue.add("a")
    assert queue.take() is None


def test_an_add_wakes_one_who_waits(queue: WorkQueue) -> None:
    taken: list[str | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()), daemon=True)
    thread.start()
    queue.add("a")
    thread.join(PATIENCE_S)
    assert taken == ["a"]


def test_keys_that_come_due_together_wake_a_worker_each(queue: WorkQueue, clock: FakeClock) -> None:
    """Only the worker that makes keys ready knows about the others, so it must notify the next worker."""
    queue.add_after("a", 1)
    queue.add_after("b", 1)
    waiting = threading.Semaphore(0)
    wait = queue._changed.wait
    woken: list[float | None] = []

    def counted(timeout: float | None = None) -> bool:
        woken.append(timeout)
        waiting.release()
        return wait(None)  # the test's clock never ends a wait; only a notify does

    queue._changed.wait = counted  # type: ignore[method-assign]  # to count real waits
    taken: list[str | None] = []
    threads = [threading.Thread(target=lambda: taken.append(queue.take()), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=PATIENCE_S)
    clock.advance(1)
    queue.add("now")
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(filter(None, taken)) == ["a", "b", "now"]


def test_the_age_of_the_oldest_key_counts_from_the_moment_it_was_due(queue: WorkQueue, clock: FakeClock) -> None:
    assert queue.oldest_s == 0
    queue.add("a")
    clock.advance(3)
    queue.add("a")
    queue.add("b")
    clock.advance(2)
    assert queue.oldest_s == 5
    queue.take()
    assert queue.oldest_s == 2
    queue.done("a")
    queue.add_after("a", 1)
    clock.advance(10)
    assert queue.take() == "b"
    assert queue.oldest_s == 9


def test_a_replica_that_stands_by_has_nothing_that_waits(clock: FakeClock) -> None:
    """Its caches report changes all the time, and nobody takes a key. An alert looks at the age of the oldest one."""
    queue = WorkQueue(clock=clock, rng=random.Random(1), opened=False)
    queue.add("a")
    queue.add_after("b", 1.0)
    clock.advance(86_400)
    assert (queue.depth, queue.oldest_s) == (0, 0.0)
    queue.open()
    queue.add("a")
    queue.add_after("b", 1.0)
    clock.advance(2)
    assert drain(queue) == ["a", "b"]
