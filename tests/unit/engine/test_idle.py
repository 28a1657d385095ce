"""Who falls asleep, by the requests that the ingress controllers counted."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kns.engine.idle import MOST_AT_ONCE, DoorWatch, IdleWatch
from kns.model.errors import UnavailableError
from kns.model.job.conditions import Reason
from kns.model.job.job import Job
from kns.ports import Context
from kns.stages import NESTED_JOB
from tests.builders import JobBuilder, a_job, a_site
from tests.fakes.stores import FakeClock, MemoryJobStore

LIMIT_S = 60


class FakeTraffic:
    """The port `Traffic`."""

    def __init__(self) -> None:
        self.requests: dict[str, float] = {}
        self.fault: UnavailableError | None = None

    def count_requests(self) -> Mapping[str, float]:
        if self.fault is not None:
            raise self.fault
        return dict(self.requests)


class Leader:
    """One leadership over one installation."""

    def __init__(self, *builders: JobBuilder, default_s: int = LIMIT_S) -> None:
        self.clock = FakeClock()
        self.store = MemoryJobStore(self.clock)
        for builder in builders:
            self.store.add(builder.build())
        self.traffic = FakeTraffic()
        self.in_use: set[str] = set()
        self.without_volume: set[str] = set()
        self.default_s = default_s
        self.clock.advance(10_000)
        self.take_over()

    def take_over(self) -> None:
        world: Any = None
        self.watch = IdleWatch(
            self.default_s,
            traffic=self.traffic,
            lifecycle=replace(
                NESTED_JOB,
                can_sleep=lambda ctx: ctx.job.record not in self.without_volume,
                is_in_use=self._is_in_use,
            ),
            site=a_site(),
            world=world,
            store=self.store,
            clock=self.clock,
        )

    def _is_in_use(self, ctx: Context) -> bool:
        return ctx.job.record in self.in_use

    def go_on(self, seconds: float) -> None:
        """As the periodic task does it."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.clock.advance(self.watch.step())

    @property
    def asleep(self) -> list[int]:
        return sorted(job.number or 0 for job in self.store.list_jobs() if job.spec.sleep)


def serving(number: int = 7, **nested: Any) -> JobBuilder:
    return a_job().numbered(number).with_nested(**nested).started().exposed()


def test_a_job_without_requests_falls_asleep() -> None:
    leader = Leader(serving())
    leader.go_on(LIMIT_S - 20)
    assert leader.asleep == []
    leader.go_on(40)
    assert leader.asleep == [7]


def test_requests_keep_a_job_awake() -> None:
    leader = Leader(serving(7), serving(8))
    for count in range(10):
        leader.traffic.requests = {"kns-job-7": 5.0 + count, "kns-job-8": 5.0}
        leader.go_on(30)
    assert leader.asleep == [8]


@pytest.mark.parametrize(
    ("builder", "default_s"),
    [
        (serving(), 0),
        (serving(idle_sleep="never"), LIMIT_S),
        (serving(idle_sleep="10:00:00"), LIMIT_S),
        (a_job().started(), LIMIT_S),
        (a_job().started().exposed(url=None), LIMIT_S),
        (serving().stopping(), LIMIT_S),
        (serving().resting(Reason.SLEEP_NOT_POSSIBLE, sleep=False), LIMIT_S),
        (serving().ended(), LIMIT_S),
    ],
    ids=["site never", "app never", "app later", "not serving", "no page", "ending", "refused", "ended"],
)
def test_it_stays_awake(builder: JobBuilder, default_s: int) -> None:
    leader = Leader(builder, default_s=default_s)
    leader.go_on(1000)
    assert leader.asleep == []


def test_an_apps_own_time_counts_where_the_site_has_none() -> None:
    leader = Leader(serving(7, idle_sleep="00:01:00"), serving(8), default_s=0)
    leader.go_on(200)
    assert leader.asleep == [7]


def test_an_open_shell_or_a_missing_volume_keeps_it_awake() -> None:
    leader = Leader(serving(7), serving(8), serving(9))
    leader.in_use, leader.without_volume = {leader.store.find(7).record}, {leader.store.find(8).record}  # type: ignore[union-attr]  # both exist
    leader.go_on(300)
    assert leader.asleep == [9]
    leader.in_use = set()
    leader.go_on(300)
    assert leader.asleep == [7, 9]


def test_nobody_falls_asleep_while_the_traffic_is_unknown() -> None:
    """And the time before does not count afterwards: there may have been requests that nobody saw."""
    leader = Leader(serving())
    leader.go_on(LIMIT_S - 20)
    leader.traffic.fault = UnavailableError("GET http://traefik: refused")
    leader.go_on(1000)
    assert leader.asleep == []
    leader.traffic.fault = None
    leader.go_on(LIMIT_S - 20)
    assert leader.asleep == []
    leader.go_on(40)
    assert leader.asleep == [7]


def test_a_new_leader_begins_anew_and_nothing_was_written_before() -> None:
    leader = Leader(serving())
    writes = len(leader.store.writes)
    leader.go_on(LIMIT_S - 20)
    assert len(leader.store.writes) == writes
    leader.take_over()
    leader.go_on(LIMIT_S - 20)
    assert leader.asleep == []


def test_a_controller_that_restarts_keeps_jobs_awake_for_once() -> None:
    leader = Leader(serving())
    leader.traffic.requests = {"kns-job-7": 50.0}
    leader.go_on(LIMIT_S - 20)
    leader.traffic.requests = {}
    leader.go_on(LIMIT_S - 20)
    assert leader.asleep == []
    leader.go_on(60)
    assert leader.asleep == [7]


def test_a_job_that_was_just_woken_is_not_idle() -> None:
    leader = Leader(serving())
    leader.go_on(200)
    assert leader.asleep == [7]
    leader.go_on(LIMIT_S * 10 - 5)
    woken = _wake(leader)
    assert woken.spec.sleep is False
    leader.go_on(LIMIT_S - 20)
    assert leader.asleep == []
    leader.go_on(3 * LIMIT_S)
    assert leader.asleep == [7]


def _wake(leader: Leader) -> Job:
    job = leader.store.find(7)
    assert job is not None
    since = (leader.clock.now() - job.created).total_seconds()
    return leader.store.add(serving().resting(Reason.OK, sleep=False, at_s=since).build())


def test_wrong_counters_cannot_end_all_pods_together() -> None:
    leader = Leader(*(serving(number) for number in range(1, MOST_AT_ONCE + 6)))
    leader.go_on(LIMIT_S - 20)
    for _ in range(100):
        leader.clock.advance(leader.watch.step())
        if leader.asleep:
            break
    assert len(leader.asleep) == MOST_AT_ONCE
    leader.watch.step()
    assert len(leader.asleep) == MOST_AT_ONCE + 5


def test_a_job_that_cannot_be_stored_does_not_stop_the_others() -> None:
    leader = Leader(serving(7))
    leader.store.faults["set_sleep"] = UnavailableError("injected")
    leader.go_on(300)
    assert leader.asleep == []
    del leader.store.faults["set_sleep"]
    leader.go_on(LIMIT_S + 40)
    assert leader.asleep == [7]


def test_a_job_that_is_used_during_a_slow_round_stays_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logs of two web shells on a lost node take their time, and the counters are from before."""
    leader = Leader(serving(7), serving(8), serving(9))

    def wait_in_vain(ctx: Context) -> bool:
        if ctx.job.number == 9:
            return False
        leader.clock.advance(10.0)
        raise UnavailableError("GET log: no answer")

    monkeypatch.setattr(leader, "_is_in_use", wait_in_vain)
    leader.take_over()
    leader.go_on(15)
    leader.traffic.requests = {"kns-job-9": 1.0}
    leader.go_on(15)
    leader.clock.advance(30)  # 7 and 8 are idle now, and 9 after another 15 s
    leader.watch.step()
    assert leader.asleep == []
    leader.go_on(LIMIT_S + 40)
    assert leader.asleep == [9]


def test_a_job_that_meets_a_bug_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    leader = Leader(serving(7), serving(8))
    is_in_use = leader._is_in_use

    def crash(ctx: Context) -> bool:
        if ctx.job.number == 7:
            raise ValueError("Exceeds the limit (4300 digits) for integer string conversion")
        return is_in_use(ctx)

    monkeypatch.setattr(leader, "_is_in_use", crash)
    leader.take_over()
    leader.go_on(LIMIT_S + 20)
    assert leader.asleep == [8]


def test_sleeping_jobs_are_looked_at_when_the_pods_of_kns_change() -> None:
    addresses, sleeping, looked = [["a", "b"]], ["kns-job-7"], list[str]()
    watch = DoorWatch(lambda: addresses[0], lambda: sleeping, look_again=looked.append)
    watch.step()
    watch.step()
    assert looked == ["kns-job-7"]
    addresses[0] = ["a", "c"]
    watch.step()
    watch.step()
    assert looked == ["kns-job-7"] * 2
    sleeping.clear()
    watch.step()
    addresses[0] = ["d"]
    watch.step()
    assert looked == ["kns-job-7"] * 2
