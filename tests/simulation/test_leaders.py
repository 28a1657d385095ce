"""
A leader that is frozen at any call of a reconcile and resumes after another leader has ended the job and removed it:
it writes nothing any more.
"""

import pytest

from tests.simulation.faults import FAULTS, Fault
from tests.simulation.installation import Installation
from tests.simulation.lives import LIVES, RECORD
from tests.simulation.scale import STRIDE


@pytest.mark.proves("faults", "leader frozen (SIGSTOP) past its Lease while it makes a job, then woken")
@pytest.mark.parametrize("kind", ["with vault, shell and Keycloak", "applied by hand", "templates that fail"])
def test_a_frozen_leader_writes_nothing_when_it_wakes(kind: str) -> None:
    number, world = 0, _freeze_at(kind, 0)
    while world.gate.struck:
        number += STRIDE
        world = _freeze_at(kind, number)
    assert number > 50


def _freeze_at(kind: str, number: int) -> Installation:
    """Simulate a life up to that call, or up to the point where it only waits."""
    life = LIVES[kind]
    world = Installation(life.site)
    life.prepare(world)
    world.store.add_spec(life.job.build().spec, record=RECORD)
    written: list[list[int]] = []

    def plan(n: int, call: str) -> Fault | None:
        return FAULTS[call]["frozen"] if n == number else None

    def remove_all() -> None:
        world.store.delete(world.store.last[RECORD])
        world.work_until(lambda: not world.store.last)
        world.go_on(1)
        written.append(_count_writes(world))

    world.gate.plan, world.meanwhile = plan, remove_all
    for _ in range(40):
        if written or not world.store.last:
            break
        world.work()
    if written:
        assert world.left == []
        assert _count_writes(world) == written[0]
    return world


def _count_writes(world: Installation) -> list[int]:
    return [len(writes) for writes in (world.host.calls, world.store.writes, world.realm.calls)] + [
        world.outputs.writes,
        world.tokens.made.total(),
        len(world.virtual.objects),
    ]
