"""Members that the pool discards, and the faults that other pools had."""

from dataclasses import replace
from typing import Any

import pytest

from kns.engine.claims import TRIES
from kns.engine.judging import CLAIM_GRACE_S, CLAIM_LIMIT_S, UNFIT_S
from kns.engine.pool import SETTLE_S, YIELD_S
from kns.model import names
from kns.model.errors import ConflictError, RefusedError, UnavailableError
from kns.model.job.conditions import ConditionType
from kns.model.job.job import JobState, StopReason
from kns.ports import Kind
from tests.builders import a_catalog, a_job
from tests.flow.conftest import Simulation
from tests.flow.pool import PoolSimulation, namespace_of, world_over

RESTART_S = 30.0  # less than CLAIM_GRACE_S


@pytest.fixture
def pool(sim: Simulation) -> PoolSimulation:
    sim.configure(has_pool=True)
    return PoolSimulation(sim)


# --- discarding


@pytest.mark.proves("faults", "a client that hangs up leaks its place")
@pytest.mark.proves("security", "get a virtual cluster of the warm pool that another job has or had")
def test_a_claimed_member_without_a_record_is_discarded_after_a_while(pool: PoolSimulation) -> None:
    pool.fill()
    draft = a_job().build().spec
    assert draft.accepted is not None
    member = pool.claims.claim(draft, draft.accepted)
    assert member is not None
    pool.work(int(CLAIM_GRACE_S) - 2)
    assert member.uid in {each.uid for each in pool.members}
    pool.work(4)
    assert member.uid not in {each.uid for each in pool.members}
    assert len(pool.free) == 2


def test_leaders_that_restart_again_and_again_discard_it_as_well(pool: PoolSimulation) -> None:
    """By the time in the claim, unless the leader's own clock is wrong."""
    pool.fill()
    draft = a_job().build().spec
    assert draft.accepted is not None
    member = pool.claims.claim(draft, draft.accepted)
    assert member is not None

    def restart_for(seconds: float) -> bool:
        """Whether the member still exists afterwards."""
        for _ in range(int(seconds / RESTART_S)):
            pool.restart()
            pool.work(1, after_s=RESTART_S)
        return member.uid in {each.uid for each in pool.members}

    assert restart_for(CLAIM_LIMIT_S - RESTART_S)
    pool.sim.clock_trusted = False
    assert restart_for(CLAIM_LIMIT_S)
    pool.sim.clock_trusted = True
    assert not restart_for(3 * RESTART_S)
    assert len(pool.fill()) == 2


def test_the_cache_alone_never_says_that_a_claimed_member_has_no_record(pool: PoolSimulation) -> None:
    pool.fill()
    job = pool.submit(a_job())
    pool.sim.store.unheard.add(job.number or 0)
    pool.work(int(CLAIM_GRACE_S) + 5)
    assert job.number in {member.number for member in pool.members}
    pool.sim.store.unheard.clear()
    pool.sim.run(until="serving")


def test_a_record_stored_after_its_member_was_discarded_starts_cold_under_its_number(pool: PoolSimulation) -> None:
    """As if the process had been frozen between the claim and the creation of the record."""
    pool.fill()
    draft = a_job().build().spec
    assert draft.accepted is not None
    member = pool.claims.claim(draft, draft.accepted)
    assert member is not None
    pool.work(int(CLAIM_GRACE_S))
    pool.pool.work()  # the namespace is terminating now
    accepted = draft.accepted.model_copy(update={"number": member.number, "adopted": member.adopted})
    pool.sim.record = pool.sim.store.create(draft.model_copy(update={"accepted": accepted})).record
    assert pool.sim.step().summary == "wait"
    pool.sim.run(until="serving")
    assert namespace_of(pool.sim, member.number)["metadata"]["uid"] != member.uid


@pytest.mark.parametrize("change", ["release", "settings", "catalogue"])
def test_members_of_another_shape_are_discarded(pool: PoolSimulation, change: str) -> None:
    pool.restart(pools="kns-large=2")
    before = {member.uid for member in pool.fill()}
    if change == "release":
        pool.restart(release="2")
    elif change == "settings":
        pool.sim.configure(virtual=replace(pool.sim.site.virtual, priority_class="high"))
        pool.restart()
    else:
        machine = {"mc_cores": 8, "mc_ram": 32, "mc_properties": "appkind=kns,pool=other"}
        pool.sim.catalog.catalog = a_catalog(machines={"kns-large": machine})
    after = {member.uid for member in pool.fill()}
    assert len(after) == 2
    assert not before & after


def test_old_members_are_replaced_one_after_the_other(pool: PoolSimulation) -> None:
    pool.restart(pools="any=3", max_age_s=3600)
    before = {member.uid for member in pool.fill()}
    pool.sim.clock.advance(4000)
    for _ in range(60):
        pool.work()
        assert len(pool.free) >= 2 or len(pool.members) < 3
    assert len(pool.free) == 3
    assert not before & {member.uid for member in pool.free}


def test_no_member_is_old_by_a_clock_that_is_wrong(pool: PoolSimulation) -> None:
    before = {member.uid for member in pool.fill()}
    pool.sim.clock.advance(10 * 86_400)
    pool.sim.clock_trusted = False
    pool.work(5)
    assert {member.uid for member in pool.free} == before


def test_a_member_whose_control_plane_was_moved_is_discarded_at_once(pool: PoolSimulation) -> None:
    """As by a drain: the pod is evicted, and its replacement is an empty cluster."""
    first, second = pool.fill()
    name = first.namespace
    assert sim_has_no_budget(pool.sim, name)
    pool.sim.host.drop(Kind.POD, name, f"{name}-0")
    pool.sim.host.settle()
    pool.work()
    assert first.uid not in {member.uid for member in pool.free}
    assert second.uid in {member.uid for member in pool.free}


def sim_has_no_budget(sim: Simulation, namespace: str) -> bool:
    return sim.host.read(Kind.POD_DISRUPTION_BUDGET, namespace, names.CONTROL_PLANE_BUDGET) is None


def test_a_claimed_member_is_protected_from_drains(pool: PoolSimulation) -> None:
    pool.fill()
    job = pool.submit(a_job())
    pool.sim.run(until="serving")
    assert not sim_has_no_budget(pool.sim, f"kns-job-{job.number}")


def test_a_member_that_does_not_answer_is_not_given_away_and_is_discarded_if_that_lasts(pool: PoolSimulation) -> None:
    pool.fill()
    pool.sim.host.control_plane_down = True
    pool.sim.host.settle()
    assert pool.submit(a_job()).spec.accepted.adopted is None  # type: ignore[union-attr]
    pool.sim.store.force_away(pool.sim.record)
    before = {member.uid for member in pool.members}
    pool.work(5)
    assert {member.uid for member in pool.members} == before
    pool.work(int(UNFIT_S) + 2)
    assert not before & {member.uid for member in pool.members}


@pytest.mark.proves("faults", "a pool of size 0, and back")
def test_size_0_removes_all_and_a_size_brings_them_back(pool: PoolSimulation) -> None:
    pool.fill()
    for pools in ("any=0", ""):
        pool.restart(pools=pools)
        pool.work(3)
        assert pool.members == []
        assert pool.sim.host.left == []
        pool.restart(pools="any=2")
        assert len(pool.fill()) == 2


def test_without_a_pool_no_round_makes_a_request(pool: PoolSimulation) -> None:
    class CachesOnly:
        def __init__(self, host: Any) -> None:
            self._host = host

        def __getattr__(self, name: str) -> Any:
            assert name.startswith("observe"), f"{name} is a request"
            return getattr(self._host, name)

    pool.sim.host = CachesOnly(pool.sim.host)  # type: ignore[assignment]
    pool.restart(pools="")
    for _ in range(5):
        pool.pool.work()
    pool.restart(pools="any=1")
    with pytest.raises(AssertionError, match="is a request"):
        pool.pool.work()


def test_a_smaller_pool_keeps_its_youngest_members(pool: PoolSimulation) -> None:
    pool.restart(pools="any=3")
    youngest = max(pool.fill(), key=lambda member: (member.created, member.number))
    pool.restart(pools="any=1")
    pool.work(3)
    assert [member.uid for member in pool.members] == [youngest.uid]


def test_a_copy_of_a_members_namespace_is_nobodys_cluster(pool: PoolSimulation) -> None:
    """A backup restores a namespace with all its marks and another uid."""
    (member, _) = pool.fill()
    objects = pool.sim.host.dump()
    for obj in objects:
        if obj["metadata"]["name"] == member.namespace and obj["kind"] == "Namespace":
            obj["metadata"]["uid"] = "another"
    pool.sim.host.restore(objects)
    assert "another" not in {each.uid for each in pool.free}


# --- faults that other pools had


@pytest.mark.parametrize("has_record", [True, False])
def test_a_number_that_is_taken_makes_no_member_of_anothers_namespace(pool: PoolSimulation, has_record: bool) -> None:
    """The counter was lowered, so the pool gets the number of a job that serves, and afterwards a free one."""
    sim = pool.sim
    sim.record = sim.store.add_spec(a_job().with_accepted(number=1).build().spec, record="kns-job-1").record
    sim.run(until="serving")
    if not has_record:  # that of another installation
        sim.store.force_away(sim.record)
    before = namespace_of(sim, 1)
    pool.fill()
    assert namespace_of(sim, 1) == before
    assert [member.number for member in pool.free] == [2, 3]


def test_the_number_of_a_record_without_a_namespace_is_taken_as_well(pool: PoolSimulation) -> None:
    sim = pool.sim
    sim.record = sim.store.add_spec(a_job().with_accepted(number=1).build().spec, record="kns-job-1").record
    sim.store.request_stop(sim.job, StopReason.TERMINATE)
    sim.run(until="retained")
    sim.host.calls.clear()
    pool.fill()
    assert "apply Namespace /kns-job-1" not in sim.host.calls
    assert [member.number for member in pool.free] == [2, 3]


@pytest.mark.proves("faults", "a deleted waiter at the head of the queue blocks all")
def test_no_deleted_waiter_blocks_others(pool: PoolSimulation) -> None:
    """There is no queue of waiters: a submission without a member starts cold at once, and leaves nothing behind."""
    first = pool.submit(a_job())
    assert first.spec.accepted is not None
    assert first.spec.accepted.adopted is None
    pool.sim.store.delete(first)
    pool.work(3)
    assert pool.members == []  # the deleted job still waits for its end
    pool.sim.run(until="released")
    members = pool.fill()
    assert pool.submit(a_job()).number in {member.number for member in members}


@pytest.mark.proves("faults", "a stale claim of a free member starves everybody")
def test_a_stale_claim_on_a_free_member_starves_nobody(pool: PoolSimulation) -> None:
    """A claimed member does not count, so the pool makes another one at once, before the stale one is discarded."""
    pool.restart(pools="any=1")
    pool.fill()
    draft = a_job().build().spec
    assert draft.accepted is not None
    assert pool.claims.claim(draft, draft.accepted) is not None
    pool.work(10)
    assert len(pool.members) == 2
    assert pool.submit(a_job()).spec.accepted.adopted is not None  # type: ignore[union-attr]


@pytest.mark.proves("faults", "a claim that waits for a pool of fixed size never expires")
def test_a_claim_never_waits(pool: PoolSimulation) -> None:
    """A pool of fixed size without a free member answers at once, with nothing written."""
    calls = list(pool.sim.host.calls)
    draft = a_job().build().spec
    assert draft.accepted is not None
    assert pool.claims.claim(draft, draft.accepted) is None
    assert pool.sim.host.calls == calls


@pytest.mark.proves("faults", "one user's burst starves the others")
def test_a_burst_of_one_user_starves_no_other(pool: PoolSimulation) -> None:
    pool.fill()
    burst = [pool.submit(a_job()) for _ in range(5)]
    assert sum(job.spec.accepted.adopted is not None for job in burst if job.spec.accepted) == 2
    other = pool.submit(a_job().owned_by("user2"))
    pool.sim.record = other.record
    pool.sim.run(until="serving")


@pytest.mark.proves("faults", "claims that ended are looked at again and again")
def test_ended_claims_cost_nothing(pool: PoolSimulation) -> None:
    """A job's namespace is no member any more, so no later round reads anything about it."""
    pool.fill()
    job = pool.submit(a_job())
    pool.sim.run(until="serving")
    pool.fill()
    asked: list[int] = []
    pool.sim.store.fetch = asked.append  # type: ignore[method-assign,assignment]
    pool.work(int(CLAIM_GRACE_S) + 10)
    assert asked == []
    assert job.number not in {member.number for member in pool.members}


@pytest.mark.proves("faults", "storms of conflicts over one member")
def test_a_race_for_one_member_has_one_winner_and_ends_after_some_tries(pool: PoolSimulation) -> None:
    """Two replicas whose caches show the same members. The loser goes on to the next, and gives up after TRIES."""
    pool.restart(pools="any=5")
    pool.fill()
    behind = pool.lose_events()
    late = pool.a_replica(world=world_over(pool.sim, behind), store=pool.sim.store.snapshot())
    winners = [pool.submit(a_job()).number for _ in range(4)]
    loser = [pool.submit(a_job(), claims=late).number for _ in range(2)]
    assert len({*winners, *loser}) == 6
    assert behind.claims <= 2 * TRIES


@pytest.mark.proves("faults", "a cache that is behind adds rounds of conflicts")
def test_a_cache_that_is_behind_costs_each_conflict_once(pool: PoolSimulation) -> None:
    pool.restart(pools="any=3")
    pool.fill()
    behind = pool.lose_events()
    late = pool.a_replica(world=world_over(pool.sim, behind), store=pool.sim.store.snapshot())
    for _ in range(3):
        pool.submit(a_job())
    for _ in range(5):
        assert pool.submit(a_job(), claims=late).spec.accepted.adopted is None  # type: ignore[union-attr]
    assert behind.claims == 3


@pytest.mark.proves("faults", "the refill competes with claims and jobs for the API server")
def test_no_member_is_begun_or_written_while_a_job_waits(pool: PoolSimulation) -> None:
    pool.sim.host.schedulable = False
    pool.work(1)
    waiting = pool.submit(a_job())
    calls = [call for call in pool.sim.host.calls if call.startswith("apply")]
    pool.work(10)
    assert [call for call in pool.sim.host.calls if call.startswith("apply")] == calls
    pool.sim.store.delete(waiting)
    pool.sim.host.schedulable = True
    pool.sim.run(until="released")
    assert len(pool.fill()) == 2


@pytest.mark.proves("faults", "the refill competes with claims and jobs for the API server")
def test_no_member_is_begun_in_the_first_seconds_after_a_claim(pool: PoolSimulation) -> None:
    pool.fill()
    _claim(pool)
    pool.work(int(SETTLE_S))
    assert len(pool.members) == 2
    pool.work(1)
    assert len(pool.members) == 3


def test_a_claim_each_second_does_not_stop_the_refill(pool: PoolSimulation) -> None:
    pool.restart(pools="any=6", at_once=6)
    pool.fill()
    for _ in range(int(SETTLE_S) + 1):
        _claim(pool)
        pool.work(1)
    assert len([member for member in pool.members if member.claim is None]) > 2


def _claim(pool: PoolSimulation) -> None:
    """Claim a member for a job that no longer waits for its start."""
    job = pool.submit(a_job())
    assert job.spec.accepted is not None
    assert job.spec.accepted.adopted is not None
    pool.sim.store.write_status(job, job.status.model_copy(update={"job_status": JobState.PROCESSING}))


@pytest.mark.proves("faults", "one user's burst starves the others")
def test_jobs_that_wait_long_stop_the_pool_for_a_while_only(pool: PoolSimulation) -> None:
    """As those of a user who submits jobs that no node fits. The pool then makes one member, and gives way again."""
    waiting = pool.submit(a_job())
    pool.work(int(YIELD_S))
    assert pool.members == []
    pool.work(12)
    (member,) = pool.free
    assert pool.members == [member]
    pool.work(int(YIELD_S) - 15)
    assert pool.members == [member]
    pool.work(30)
    assert len(pool.free) == 2
    assert pool.sim.store.get(waiting.record) is not None
    assert pool.sim.store.count_waiting() == 1


def test_a_member_whose_making_gave_way_to_jobs_is_finished_later(pool: PoolSimulation) -> None:
    pool.restart(pools="any=1")
    pool.work(1)
    (begun,) = pool.members
    pool.submit(a_job())
    pool.work(int(YIELD_S) + 12)
    assert [member.uid for member in pool.free] == [begun.uid]


@pytest.mark.parametrize("error", [UnavailableError("no answer"), RefusedError("no"), ConflictError("changed")])
def test_a_claim_that_fails_is_a_cold_start(pool: PoolSimulation, error: Exception) -> None:
    pool.fill()

    def fail(*_: Any) -> None:
        raise error

    pool.sim.host.claim = fail  # type: ignore[method-assign,assignment]
    job = pool.submit(a_job())
    assert job.spec.accepted is not None
    assert job.spec.accepted.adopted is None
    pool.sim.run(until="serving")
    assert pool.sim.job.status.is_true(ConditionType.EXPOSED)
