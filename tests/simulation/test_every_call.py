"""
One fault at one call: with any fault at any call of a life, the job reaches the same end, nothing is left, and nothing
happens twice.

KNS_SIMULATION_HISTORIES=10000 tries every fault at every call of every life. With less, every fault of every call is
tried once, and the life with the most writes is interrupted after each of them, by a crash and by a lost response. An
interruption before a write equals one after the call before it.
"""

import random
from collections import defaultdict
from dataclasses import replace
from functools import cache

import pytest

from kns.model.job.job import EXIT_CODES
from kns.model.job.output import JobOutput
from tests.simulation.faults import ASKED_BY_POOL, FAULTS
from tests.simulation.installation import Installation
from tests.simulation.lives import ASKED_BY_SUBMIT, LINES, LIVES, RECORD, Life
from tests.simulation.scale import IS_EXHAUSTIVE

Choice = list[tuple[int, str]]  # number of the call in the life; name of the fault
RICHEST = "with vault, shell and Keycloak"
INTERRUPTIONS = ("crash after", "timeout after")


@cache
def _list_calls(kind: str) -> tuple[list[str], JobOutput]:
    """
    The calls of a life without faults, and the job's output. A life with a fault makes the same calls up to the fault.
    """
    calls: list[str] = []
    world = LIVES[kind].live(lambda _, call: calls.append(call))
    output = world.outputs.final.get(RECORD, JobOutput())
    _check(world, LIVES[kind], output=output)
    return calls, output


def _choose_all() -> dict[str, Choice]:
    return {
        kind: [(number, name) for number, call in enumerate(_list_calls(kind)[0]) for name in FAULTS[call]]
        for kind in LIVES
    }


def _choose_some() -> dict[str, Choice]:
    """The choice is the same in every run; the position of each fault in its life is random."""
    chance = random.Random(20260105)
    chosen: dict[str, Choice] = {kind: [] for kind in LIVES}
    places = defaultdict(list)
    for kind, faults in _choose_all().items():
        for number, name in faults:
            places[_list_calls(kind)[0][number], name].append((kind, number))
    for (_, name), found in places.items():
        kind, number = chance.choice(found)
        chosen[kind].append((number, name))
    for number, call in enumerate(_list_calls(RICHEST)[0]):
        chosen[RICHEST] += [(number, name) for name in INTERRUPTIONS if {*INTERRUPTIONS} <= FAULTS[call].keys()]
    return chosen


@pytest.fixture(scope="module")
def chosen() -> dict[str, Choice]:
    return _choose_all() if IS_EXHAUSTIVE else _choose_some()


def test_the_lives_make_every_call_that_can_fail() -> None:
    """A call that no life makes would never meet a fault, and no other test would notice."""
    elsewhere = ASKED_BY_SUBMIT | ASKED_BY_POOL
    assert {call for kind in LIVES for call in _list_calls(kind)[0]} == FAULTS.keys() - elsewhere


@pytest.mark.proves("faults", "leader killed (SIGKILL, pod and all) at the stage boundaries of one job")
@pytest.mark.proves(
    "main",
    "A fault at any call, in any kind of life, and 10 000 random histories: one end, nothing left, nothing twice",
)
@pytest.mark.parametrize("kind", LIVES)
def test_one_fault_at_any_call_changes_nothing(kind: str, chosen: dict[str, Choice]) -> None:
    life, (calls, output) = LIVES[kind], _list_calls(kind)
    assert chosen[kind]
    for number, name in chosen[kind]:
        try:
            world = life.live(lambda n, call: FAULTS[call][name] if n == number else None)  # noqa: B023 - used at once
            _check(world, life, output=output)
        except Exception as error:
            error.add_note(f"{kind}: {name} at call {number}, {calls[number]}")
            raise


def _check(world: Installation, life: Life, *, output: JobOutput) -> None:
    status = world.store.gone[RECORD].status
    assert (life.state, EXIT_CODES[life.state], life.reason) == (status.job_status, status.exit_code, status.reason)
    assert status.message == LINES[life.reason]
    # When the log was read differs: a fault costs time.
    assert replace(world.outputs.final.get(RECORD, JobOutput()), log_time=output.log_time) == output
    assert world.left == []
