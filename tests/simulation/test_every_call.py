"""
One fault at one call: for every kind of life, every call of it and everything that can go wrong there, the end is the
same, nothing is left, and nothing happened twice.

All of them are tried with KNS_SIMULATION_HISTORIES at 10 000; below that, every so many-th.
"""

import pytest

from kns.model.job.job import EXIT_CODES
from kns.model.job.output import JobOutput
from tests.simulation.faults import FAULTS
from tests.simulation.installation import Installation
from tests.simulation.lives import ASKED_BY_SUBMIT, LINES, LIVES, RECORD, Life
from tests.simulation.scale import STRIDE


def test_the_lives_make_every_call_that_can_fail() -> None:
    """A call that no life makes would meet no fault, and nothing would tell."""
    calls: set[str] = set()
    for life in LIVES.values():
        life.live(lambda _, call: calls.add(call))
    assert calls == FAULTS.keys() - ASKED_BY_SUBMIT


@pytest.mark.parametrize("kind", LIVES)
def test_one_fault_at_any_call_changes_nothing(kind: str) -> None:
    life = LIVES[kind]
    calls: list[str] = []
    smooth = life.live(lambda _, call: calls.append(call))  # a life with one fault is the same up to there
    _check(smooth, life, output=smooth.outputs.final[RECORD])
    faults = [(number, name) for number, call in enumerate(calls) for name in FAULTS[call]]
    for number, name in faults[::STRIDE]:
        try:
            world = life.live(lambda n, call: FAULTS[call][name] if n == number else None)  # noqa: B023 - used at once
            _check(world, life, output=smooth.outputs.final[RECORD])
        except Exception as error:
            error.add_note(f"{kind}: {name} at call {number}, {calls[number]}")
            raise


def _check(world: Installation, life: Life, *, output: JobOutput) -> None:
    status = world.store.gone[RECORD].status
    assert (life.state, EXIT_CODES[life.state], life.reason) == (status.job_status, status.exit_code, status.reason)
    assert output.lines()[-1] == LINES[life.reason]
    assert world.outputs.final[RECORD] == output
    assert world.left == []
