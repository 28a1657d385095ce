"""
Many lives in one installation, with faults at random calls: afterwards the host, the realm and the process's memory
contain as much as before.

Each run simulates a tenth of KNS_SIMULATION_HISTORIES lives.
"""

import gc
import random
import sys
from collections import Counter
from collections.abc import Sequence

import pytest

from kns.model.job.job import StopReason
from kns.model.reading.json_text import read_json
from tests.builders import a_job
from tests.simulation.faults import FAULTS, Fault
from tests.simulation.installation import Installation
from tests.simulation.scale import HISTORIES

LIVES = max(20, HISTORIES // 10)
WARM_UP = 20 + LIVES // 4
AT_ONCE = 4
ONE_CALL_IN = 30
ONE_DEATH_IN = 10
BOUNDED = {"Room"}  # in a cache of the newest 8 jobs, which each process fills anew
KINDS = (
    a_job(),
    a_job().with_nested(enable_gotty_shell=True),
    a_job().with_nested(keycloak={"namespace": "lab"}),
    a_job().with_vault(),
)


@pytest.mark.parametrize("deaths", [False, True], ids=["one process", "many processes"])
def test_lives_with_faults_leave_nothing_behind(deaths: bool) -> None:
    chance = random.Random(20260105)

    def plan(number: int, call: str) -> Fault | None:
        if chance.randrange(ONE_CALL_IN):
            return None
        name = chance.choice(list(FAULTS[call]))
        deadly = name.startswith(("crash", "frozen"))
        return None if deadly and (not deaths or chance.randrange(ONE_DEATH_IN)) else FAULTS[call][name]

    world = Installation(first_number=1)
    world.gate.plan = plan
    first = world.process
    _live(world, chance, range(1, WARM_UP))  # objects that are created once, at first use, exist by now
    for number in range(100_000):  # the parser keeps short strings in a table of 16 384, which lives fill slowly
        read_json(b'"%d"' % number)
    objects, blocks = _count_objects(), sys.getallocatedblocks()
    _live(world, chance, range(WARM_UP, WARM_UP + LIVES))
    assert world.gate.struck > LIVES
    assert (world.process is first) is not deaths
    grown = _count_objects() - objects  # fewer is possible if other tests left some
    assert not {kind: count for kind, count in grown.items() if kind not in BOUNDED}
    # A block is a Python object or a part of one; the libraries' own caches fill with some hundreds in all.
    assert sys.getallocatedblocks() - blocks < max(500, LIVES)


def _live(world: Installation, chance: random.Random, numbers: Sequence[int]) -> None:
    """Simulate all jobs, some at a time, and stop each at a random moment."""
    for start in range(0, len(numbers), AT_ONCE):
        for number in numbers[start : start + AT_ONCE]:
            job = chance.choice(KINDS).numbered(number).build()
            world.store.add_spec(job.spec, record=job.record)
        for record in list(world.store.last):
            for _ in range(chance.randrange(40)):
                world.work()
            if record not in world.store.last:
                continue
            if chance.randrange(4):
                reason = chance.choice([StopReason.SHUTDOWN, StopReason.TERMINATE])
                job = world.store.last[record]
                world.ask(lambda records: records.request_stop(job, reason))  # noqa: B023 - used at once
            else:
                world.store.delete(world.store.last[record])
        world.work_until(lambda: not world.store.last, limit=2000)
        world.process.catch_up()
        world.go_on(1)
        assert world.left == []
        _check_queue(world)
        world.process.catch_up()  # a cache that lags keeps what it shows
        world.forget()


def _check_queue(world: Installation) -> None:
    """Keys of deleted jobs become due once more and then disappear."""
    world.clock.advance(world.site.retention_s)
    # The process may die here, and another one starts.
    world.work_until(lambda: not (world.process.queue._ready or world.process.queue._due))
    queue = world.process.queue
    queue._promote_due()
    kept = (queue._heap, queue._due, queue._busy, queue._again, queue._failures)
    assert not any(kept), kept


def _count_objects() -> Counter[str]:
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("kns."))
