"""
The warm pool under faults: with any fault at any call of make, claim, refill and discard, no cluster goes to two jobs,
nobody gets a used one, none is left, and no number is given twice.

KNS_SIMULATION_HISTORIES=10000 tries every fault at every call. With less, every fault of every call of the pool is
tried once, and each of its writes is interrupted after it took effect.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from kns.engine.claims import Claims
from kns.engine.fence import fence
from kns.engine.judging import CLAIM_GRACE_S, CLAIM_LIMIT_S
from kns.engine.pool import INTERVAL_S, Pool, PoolRules
from kns.model.errors import KnsError
from kns.model.job.conditions import ConditionType
from kns.model.job.job import Job
from kns.model.job.pool import parse_pools
from kns.ports import Kind, Object
from kns.stages import NESTED_MEMBER
from tests.builders import a_job
from tests.flow.conftest import SITE
from tests.simulation.faults import ASKED_BY_POOL, CACHED, FAULTS, Crash, Plan, WatchedHost, WatchedRecords, no_fault
from tests.simulation.installation import Installation
from tests.simulation.scale import IS_EXHAUSTIVE
from tests.simulation.witness import WitnessedHost

SIZE = 1
JOBS = 2  # one more than there are members
SETTLED = 30 + int(CLAIM_GRACE_S)  # rounds until the pool has settled after one fault
PATIENCE = 30 + int(CLAIM_LIMIT_S)  # the same while leaders crash again and again
INTERRUPTIONS = ("crash after", "timeout after")


class PooledHost(WitnessedHost):
    """A discarded member's number may be used once more, by the record of its late claim."""

    def _finish_deletion(self, kind: Kind, namespace: str, name: str, obj: Object) -> None:
        super()._finish_deletion(kind, namespace, name, obj)
        if kind is Kind.NAMESPACE and self.read(kind, "", name) is None:
            for what in [what for what in self.made if f" {name}/" in what or what == f"{kind} /{name}"]:
                del self.made[what]


class PooledInstallation(Installation):
    """The leader keeps a pool, and a replica takes submissions. `pools` is the setting of the next process."""

    host_type = PooledHost

    def __init__(self) -> None:
        self.pools = f"any={SIZE}"
        super().__init__(replace(SITE, has_pool=True), first_number=1)

    def restart(self) -> None:
        super().restart()
        leads, ports = self.process._leads, self.process.reconciler._world
        records: Any = self.process.records
        self.pool = Pool(
            PoolRules(pools=parse_pools(self.pools), at_once=1, max_age_s=86_400, release="1"),
            kind=NESTED_MEMBER,
            site=self.site,
            world=ports,
            store=fence(records, leads),
            clock=self.clock,
            may_work=leads,
        )
        # A replica is not fenced: it needs no lead to take a submission.
        host: Any = WatchedHost("cluster", self.host, self.gate)
        self.records: Any = WatchedRecords("store", self.store, self.gate)
        self.claims = Claims(
            pools=parse_pools(self.pools),
            kind=NESTED_MEMBER,
            release="1",
            find_site=lambda: self.site,
            world=replace(ports, cluster=host),
            store=self.records,
            clock=self.clock,
            rng=random.Random(1),
        )
        lag_leader: Callable[[], None] = self.gate.lag
        self.replica = (host, self.records)

        def lag() -> None:
            lag_leader()
            for each in self.replica:
                each.lag()

        self.gate.lag = lag

    def round(self) -> None:
        """One round of the pool. A second passes, and caches that are behind come nearer."""
        try:
            self.pool.work()
        except Crash:
            self.restart()
        except KnsError:
            pass
        self.go_on(INTERVAL_S)
        self.process._lag_left -= 1
        if self.process._lag_left == 0:
            self.process.catch_up()
            for each in self.replica:
                each.catch_up()

    def round_until(self, reached: Callable[[], bool]) -> None:
        for _ in range(PATIENCE):
            if reached():
                return
            self.round()
        raise AssertionError(f"not reached: {self.members}")

    @property
    def members(self) -> list[Any]:
        return list(self.host.observe_members(self.site.system_namespace))

    def is_full(self) -> bool:
        return len(self.members) == SIZE and all(member.is_free for member in self.members)

    def submit(self, key: str) -> Job:
        """As a client that repeats its request until it gets an answer."""
        for _ in range(50):
            try:
                return self._submit_once(key)
            except Crash:
                self.restart()
            except KnsError:
                self.go_on(1)
        raise AssertionError("never answered")

    def _submit_once(self, key: str) -> Job:
        records, claims = self.records, self.claims
        first: Job | None = records.find_request(key)
        if first is not None:
            return first
        draft = a_job().build().spec
        assert draft.accepted is not None
        member = claims.claim(draft, draft.accepted)
        place = {"number": member.number, "adopted": member.adopted} if member else {"number": records.allot_number()}
        accepted = draft.accepted.model_copy(update={**place, "name": f"job of {key}"})
        stored: Job = records.create(draft.model_copy(update={"accepted": accepted}), request=key)
        return stored


def live(plan: Plan, *, meanwhile: Callable[[PooledInstallation], None] | None = None) -> PooledInstallation:
    """The pool is filled, jobs claim members, it is filled again, the jobs end, and the pool is switched off."""
    world = PooledInstallation()
    if meanwhile is not None:
        world.meanwhile = lambda: meanwhile(world)
    world.gate.plan = plan
    world.round_until(world.is_full)
    submitted = [world.submit(f"k{number}") for number in range(JOBS)]
    world.work_until(lambda: all(_serves(world.store.last[job.record]) for job in submitted))
    world.round_until(world.is_full)
    served = [world.store.last[job.record] for job in submitted]
    for job in served:
        world.store.delete(world.store.last[job.record])
    world.work_until(lambda: not world.store.last)
    world.pools = ""
    world.restart()
    world.round_until(lambda: not world.members)
    world.go_on(1)
    check(world, served)
    return world


def _serves(job: Job) -> bool:
    return job.status.is_true(ConditionType.EXPOSED)


def check(world: PooledInstallation, served: list[Job]) -> None:
    accepted = [job.spec.accepted for job in world.store.gone.values() if job.spec.accepted is not None]
    adopted = [each.adopted.uid for each in accepted if each.adopted is not None]
    assert len(accepted) == JOBS
    assert len(set(adopted)) == len(adopted)
    assert len({each.number for each in accepted}) == JOBS
    assert len({job.status.control_plane_uid for job in served}) == JOBS
    assert world.left == []


@cache
def _list_calls() -> tuple[str, ...]:
    calls: list[str] = []
    world = live(lambda _, call: calls.append(call))
    adopted = [job.spec.accepted.adopted for job in world.store.gone.values() if job.spec.accepted is not None]
    assert sum(each is not None for each in adopted) == SIZE
    return tuple(calls)


def _choose() -> list[tuple[int, str]]:
    calls = _list_calls()
    everything = [(number, name) for number, call in enumerate(calls) for name in FAULTS[call]]
    if IS_EXHAUSTIVE:
        return everything
    chance = random.Random(20260105)
    places: dict[tuple[str, str], list[int]] = {}
    for number, name in everything:
        if calls[number] in ASKED_BY_POOL:
            places.setdefault((calls[number], name), []).append(number)
    chosen = [(chance.choice(numbers), name) for (_, name), numbers in places.items()]
    # Making a member and its claim come first, and end with the second record.
    made = calls.index("store.create")
    writes = [n for n, call in enumerate(calls[:made]) if FAULTS[call] is not CACHED and "crash after" in FAULTS[call]]
    return chosen + [(number, chance.choice(INTERRUPTIONS)) for number in writes[:: max(1, len(writes) // 12)]]


def test_the_pool_makes_every_call_that_only_it_makes() -> None:
    """A claim that nobody uses is looked up at the API server, so a life without faults does not make that call."""
    assert set(_list_calls()) >= ASKED_BY_POOL - {"store.fetch"}


@pytest.mark.proves(
    "faults",
    "any fault at any call of make, claim, refill and discard: no virtual cluster goes to two jobs, none was used "
    "before, none is left, no number is given twice",
)
def test_one_fault_at_any_call_gives_no_cluster_twice_and_leaves_none() -> None:
    for number, name in _choose():
        try:
            live(lambda n, call: FAULTS[call][name] if n == number else None)  # noqa: B023 - used at once
        except (Exception, AssertionError) as error:
            error.add_note(f"{name} at call {number}, {_list_calls()[number]}")
            raise


def test_a_submission_frozen_until_its_member_was_discarded_still_gets_its_job() -> None:
    """From every call of the submission on; the claim it made, or never made, is long over when it wakes."""
    calls = _list_calls()
    first = calls.index("store.find_request")
    last = calls.index("store.create")

    def discard(world: PooledInstallation) -> None:
        plan, world.gate.plan = world.gate.plan, no_fault
        for _ in range(SETTLED):
            world.round()
        world.gate.plan = plan

    for number in range(first, last + 1):
        live(lambda n, call: FAULTS[call]["frozen"] if n == number else None, meanwhile=discard)  # noqa: B023


def test_many_faults_at_random_calls() -> None:
    chance = random.Random(20261128)
    for _ in range(200 if IS_EXHAUSTIVE else 5):
        one_in = chance.choice([20, 50, 100])

        def plan(_: int, call: str, one_in: int = one_in) -> Any:
            return None if chance.randrange(one_in) else chance.choice(list(FAULTS[call].values()))

        live(plan)
