"""The rate limit for writes, with a clock that only sleeping advances."""

import pytest

from kns.adapters.kube.throttle import Throttle
from kns.model.errors import UnavailableError
from tests.fakes.stores import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_change_that_waited_while_the_lead_was_lost_is_not_made(clock: FakeClock) -> None:
    """The fence is checked before the wait, and the process may be frozen during the wait."""
    leads = [True]

    def freeze(seconds: float) -> None:
        clock.advance(seconds)
        leads[0] = False

    throttle = Throttle(10, burst=1, clock=clock, may_work=lambda: leads[0], sleep=freeze)
    throttle.wait()
    with pytest.raises(UnavailableError, match="does not lead any more"):
        throttle.wait()


def waits(clock: FakeClock, throttle: Throttle, count: int) -> float:
    """The seconds that a number of consecutive writes takes."""
    before = clock.monotonic()
    for _ in range(count):
        throttle.wait()
    return round(clock.monotonic() - before, 6)


def test_a_burst_is_free_and_then_each_waits_its_turn(clock: FakeClock) -> None:
    throttle = Throttle(10, burst=5, clock=clock, sleep=clock.advance)
    assert waits(clock, throttle, 5) == 0
    assert waits(clock, throttle, 10) == 1.0


def test_rest_fills_the_bucket_again_and_never_above_the_burst(clock: FakeClock) -> None:
    throttle = Throttle(10, burst=5, clock=clock, sleep=clock.advance)
    waits(clock, throttle, 15)
    clock.advance(3600)
    assert waits(clock, throttle, 5) == 0
    assert waits(clock, throttle, 1) == 0.1
