"""
A kns that dies after any call, and one whose call took effect without an answer: the job ends up the same, once.
"""

from collections.abc import Callable
from typing import Any

import pytest

from kns.model.errors import UnavailableError
from kns.model.job.job import JobState, StopReason
from tests.builders import JobBuilder
from tests.flow.conftest import Simulation

WRITES = ("apply", "delete", "delete_pods")
RECORD_WRITES = ("write_status", "set_finalizer")


class Crash(BaseException):
    """The process is gone; nothing in it may catch this."""


def interrupt(target: Any, method: str, call: int, *, before: bool, error: type[BaseException]) -> Callable[[], int]:
    """Make the `call`-th use of `method` raise, before or after it took effect; how often it was used, to ask later."""
    original = getattr(target, method)
    count = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == call and before:
            raise error("injected")
        result = original(*args, **kwargs)
        if count == call:
            raise error("injected")
        return result

    setattr(target, method, wrapped)
    return lambda: count


def _live(sim: Simulation, job: JobBuilder) -> None:
    """A whole life; a crash is a restart, since `step` keeps nothing."""
    sim.submit(job)
    run_on(sim, "serving")
    sim.store.request_stop(sim.job, StopReason.SHUTDOWN)
    run_on(sim, "retained")


def run_on(sim: Simulation, until: str) -> None:
    for _ in range(20):
        try:
            sim.run(until=until)
        except Crash:
            continue
        return
    raise AssertionError(f"never came to {until}")


@pytest.mark.parametrize("error", [Crash, UnavailableError], ids=["crash", "lost answer"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("method", [*WRITES, *RECORD_WRITES, "outputs", "tokens"])
@pytest.mark.parametrize("extra", ["plain", "with a shell", "with a vault"])
def test_an_interruption_at_every_single_write_changes_nothing(
    sim: Simulation, job: JobBuilder, method: str, before: bool, error: type[BaseException], extra: str
) -> None:
    """Every use of every writing call, one after the other, over a whole life."""
    if extra == "with a vault":
        job = job.with_vault()
    if extra == "with a shell":
        sim.configure(shell_image="registry.example.org/kns-gotty:1")
        job = job.with_nested(enable_gotty_shell=True)
    call = 0
    while True:
        call += 1
        one = Simulation(**{**vars(sim), **fresh(sim)})
        one.host.claims = {"data-x-lab-x-kns-job-7": "user1-data", "scratch-x-lab-x-kns-job-7": "user1-data"}
        target, name = _find(one, method)
        used = interrupt(target, name, call, before=before, error=error)
        _live(one, job)
        assert one.job.status.job_status is JobState.COMPLETED
        assert one.host.left == []
        assert one.outputs.read(one.record).lines()[-1] == "the job was shut down"
        if used() < call:
            break
    assert call > 1 or method == "set_finalizer"


def _find(sim: Simulation, method: str) -> tuple[Any, str]:
    if method in WRITES:
        return sim.host, method
    return {"outputs": (sim.outputs, "write"), "tokens": (sim.tokens, "ensure")}.get(method, (sim.store, method))


def fresh(sim: Simulation) -> dict[str, Any]:
    clock = type(sim.clock)()
    return {
        "clock": clock,
        "store": type(sim.store)(clock),
        "host": type(sim.host)(clock),
        "outputs": type(sim.outputs)(),
        "tokens": type(sim.tokens)(),
        "virtual": type(sim.virtual)(),
    }
