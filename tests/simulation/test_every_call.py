"""
One fault at one call: for every kind of life, every call of it and everything that can go wrong there, the end is the
same, nothing is left, and nothing happened twice.

All of them are tried with KNS_SIMULATION_HISTORIES at 10 000; below that, every so many-th.
"""

from collections.abc import Iterator

import pytest

from kns.model.job import EXIT_CODES
from tests.simulation.faults import FAULTS, Fault
from tests.simulation.installation import Installation
from tests.simulation.lives import LIVES, RECORD, Life
from tests.simulation.scale import HISTORIES, ALL_HISTORIES

STRIDE = max(1, min(12, ALL_HISTORIES // HISTORIES))


@pytest.mark.parametrize("kind", LIVES)
def test_one_fault_at_any_call_changes_nothing(kind: str) -> None:
    life = LIVES[kind]
    faults = [(number, name) for number, call in enumerate(_list_calls(life)) for name in FAULTS[call]]
    for number, name in faults[::STRIDE]:
        try:
            _check(life.live(lambda n, call: FAULTS[call][name] if n == number else None), life)  # noqa: B023
        except Exception as error:
            error.add_note(f"{kind}: {name} at call {number}")
            raise


def _list_calls(life: Life) -> list[str]:
    """Of a life without faults: one with a single fault is the same up to there."""
    calls: list[str] = []

    def note(number: int, call: str) -> Fault | None:
        calls.append(call)
        return None

    _check(life.live(note), life)
    return calls


def _check(world: Installation, life: Life) -> None:
    status, output = world.store.gone[RECORD].status, world.outputs.final[RECORD]
    assert (life.state, EXIT_CODES[life.state], life.reason) == (status.job_status, status.exit_code, status.reason)
    assert output.lines()[-1].startswith(life.line)
    assert world.left == []
