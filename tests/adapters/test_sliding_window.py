"""Events per minute: what is counted, how long callers wait, and that clients cannot fill the memory."""

import pytest

from kns.adapters.sliding_window import SlidingWindow
from kns.ports import RateLimit
from tests.fakes.stores import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def window(clock: FakeClock) -> SlidingWindow:
    window = SlidingWindow(3, clock=clock)
    _port: RateLimit = window  # mypy compares them
    return window


def test_so_many_are_taken_and_no_more(window: SlidingWindow) -> None:
    assert [window.take("a") for _ in range(4)] == [0, 0, 0, 60]


def test_the_window_moves_with_each_event(window: SlidingWindow, clock: FakeClock) -> None:
    for _ in range(3):
        window.take("a")
        clock.advance(10)
    assert window.wait_s("a") == 30
    clock.advance(29)
    assert window.take("a") == 1
    clock.advance(1)
    assert [window.take("a"), window.take("a")] == [0, 10]


def test_what_was_refused_does_not_count(window: SlidingWindow, clock: FakeClock) -> None:
    """Otherwise a client that keeps trying would be refused without end."""
    for _ in range(50):
        window.take("a")
    clock.advance(60)
    assert window.take("a") == 0


def test_asking_counts_nothing(window: SlidingWindow) -> None:
    assert [window.wait_s("a") for _ in range(9)] == [0] * 9
    assert window.take("a") == 0


def test_what_was_given_back_was_never_counted(window: SlidingWindow, clock: FakeClock) -> None:
    window.take("a")
    clock.advance(10)
    for _ in range(9):
        assert window.take("a") == 0
        window.give_back("a")
    assert [window.take("a") for _ in range(3)] == [0, 0, 50]
    window.give_back("unknown")


def test_keys_do_not_mix(window: SlidingWindow) -> None:
    for _ in range(3):
        window.take("a", "b")
    assert [window.wait_s(*key) for key in (("a", "b"), ("a",), ("b", "a"), ("ab",))] == [60, 0, 0, 0]


def test_a_name_that_contains_a_separator_is_not_a_key_of_more_parts(window: SlidingWindow) -> None:
    """The failures of a login by key must not count for the upstream system or for the sign-in by Keycloak."""
    for _ in range(3):
        window.take("page\0keycloak", "192.0.2.1")
    assert window.wait_s("page", "keycloak", "192.0.2.1") == 0


def test_keys_without_events_are_forgotten(window: SlidingWindow, clock: FakeClock) -> None:
    for number in range(1000):
        window.take(f"user{number}", "192.0.2.1")
    clock.advance(60)
    window.take("last")
    assert len(window._events) == 1


@pytest.mark.parametrize("key", ["\ud800", "x" * 1_000_000, "\u0000", ""])
def test_any_text_is_a_key_and_costs_the_same(window: SlidingWindow, key: str) -> None:
    assert window.take(key) == 0
    assert [len(kept) for kept in window._events] == [32]


def test_a_key_that_was_only_looked_at_again_goes_with_the_sweep(window: SlidingWindow, clock: FakeClock) -> None:
    window.take("a")
    clock.advance(61)
    assert window.wait_s("a") == 0
    assert window.take("b") == 0
