"""A repeated task of the leader: only while it leads, and whatever it raises."""

import threading

import pytest

from kns.engine.periodic import RETRY_S, Periodic
from kns.model.errors import UnavailableError
from tests.patience import PATIENCE_S


def test_the_task_says_when_it_is_called_again() -> None:
    assert Periodic("t", lambda: 7.0, may_work=lambda: True).call() == 7.0


def test_a_replica_that_may_not_work_does_not_call_it() -> None:
    def task() -> float:
        raise AssertionError

    assert Periodic("t", task, may_work=lambda: False).call() == RETRY_S


@pytest.mark.parametrize("error", [UnavailableError("no answer"), ZeroDivisionError()])
def test_an_error_does_not_stop_later_calls(error: Exception) -> None:
    def task() -> float:
        raise error

    assert Periodic("t", task, may_work=lambda: True).call() == RETRY_S


def test_it_runs_in_a_thread_until_it_is_stopped() -> None:
    called = threading.Event()

    def task() -> float:
        called.set()
        return 3600.0

    periodic = Periodic("t", task, may_work=lambda: True)
    periodic.start()
    assert called.wait(PATIENCE_S)
    assert periodic.stop(timeout_s=PATIENCE_S)


def test_one_that_never_started_can_be_stopped() -> None:
    assert Periodic("t", lambda: 1.0, may_work=lambda: True).stop(timeout_s=1)
