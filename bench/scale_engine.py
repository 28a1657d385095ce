"""
How many lives a second the engine alone can do: queue, workers' turn, reconciler and all stages, over the fakes of the
tests. No API server, no JSON, no thread; the time within the fakes is measured and left out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kns.model.job.conditions import ConditionType
from kns.model.job.job import StopReason
from tests.builders import a_job
from tests.flow.conftest import SITE
from tests.simulation.faults import Gate, no_fault
from tests.simulation.installation import IdleError, Installation
from tests.simulation.lives import serves

_AT_ONCE = 10
_NUMBER = 7


@dataclass(frozen=True, slots=True)
class Engine:
    """`seconds` is the time of the engine and the stages, `fakes_s` that of the simulated world."""

    lives: int
    reconciles: int
    calls: int
    seconds: float
    fakes_s: float

    @property
    def lives_per_s(self) -> float:
        return self.lives / self.seconds


class _TimedGate(Gate):
    """Measures the time that the calls to the outside take."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = no_fault
        self.outside_s = 0.0

    def pass_through(self, call: str, act: Callable[[], Any], anew: Callable[[], Any]) -> Any:
        begun = time.process_time()
        try:
            return super().pass_through(call, act, anew)
        finally:
            self.outside_s += time.process_time() - begun


class _TimedInstallation(Installation):
    """`idle_s` is the time of the simulated controllers and of the clock."""

    idle_s = 0.0

    def go_on(self, seconds: float) -> None:
        begun = time.process_time()
        super().go_on(seconds)
        self.idle_s += time.process_time() - begun


def measure_engine(lives: int) -> Engine:
    """So many lives, some at a time: submitted, served, terminated, removed."""
    world = _TimedInstallation(SITE)
    gate = _TimedGate()
    world.gate = gate
    world.restart()
    begun, started, finished = time.process_time(), 0, 0
    running: set[str] = set()
    while finished < lives:
        while len(running) < _AT_ONCE and started < lives:
            record = f"kns-job-{_NUMBER + started}"
            spec = a_job().with_accepted(number=_NUMBER + started).build().spec
            world.store.add_spec(spec, record=record)
            running.add(record)
            started += 1
        try:
            world.work()
        except IdleError:
            world.go_on(1)
        for record in list(running):
            job = world.store.last.get(record)
            if job is None:
                running.discard(record)
                finished += 1
            elif job.status.is_true(ConditionType.REMOVED):
                world.store.delete(job)
            elif serves(job) and job.stop_reason is None:
                world.store.request_stop(job, StopReason.TERMINATE)
    whole_s = time.process_time() - begun
    fakes_s = gate.outside_s + world.idle_s
    return Engine(lives, world.reconciles, gate.calls, whole_s - fakes_s, fakes_s)
