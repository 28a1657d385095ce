"""The reconciler runs a kind of job that exists only here: its stages, start, drain and keep rule are data."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle

import pytest

from kns.engine.result import Result
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState, Rest, StopReason, Substatus
from kns.ports import Context
from kns.stages.lifecycle import Lifecycle, Stage
from kns.stages.outcome import Done, Failed, Outcome, Wait
from tests.builders import a_job
from tests.flow.conftest import Simulation

WAIT = Wait(5, Reason.PREPARING, "not yet")


@dataclass
class Script:
    """Four stages; the second starts the job. Each verb takes its next outcome, or is Done. `calls` lists the calls."""

    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    kept: str | None = None
    have_ahead: tuple[str, ...] = ()

    def take(self, name: str) -> Outcome:
        self.calls.append(name)
        left = self.outcomes.get(name)
        return left.pop(0) if left else Done()

    def a_stage(self, name: str, condition: ConditionType) -> Stage:
        def ensure(_ctx: Context) -> Outcome:
            return self.take(f"ensure {name}")

        def remove(_ctx: Context) -> Outcome:
            return self.take(f"remove {name}")

        def ahead(_ctx: Context) -> Outcome:
            return self.take(f"ahead {name}")

        return Stage(name, condition, Substatus.PREPARING, ensure, remove, ahead if name in self.have_ahead else None)

    def lifecycle(self) -> Lifecycle:
        ground = self.a_stage("ground", ConditionType.PREPARED)
        house = self.a_stage("house", ConditionType.DEPLOYED)
        roof = self.a_stage("roof", ConditionType.KEYCLOAK_READY)
        door = self.a_stage("door", ConditionType.EXPOSED)
        return Lifecycle(
            stages=(ground, house, roof, door),
            starting=house,
            drain=lambda _ctx: self.take("drain"),
            measure=lambda _ctx, _status: (2.0, 4.0, 0.0, 0.0),
            follow=lambda _ctx: None,
            explain_kept=lambda _job, _site: self.kept,
            let_run=lambda _ctx: self.calls.append("let_run"),
            sleep=lambda _ctx: self.take("sleep"),
            wake=lambda _ctx: self.take("wake"),
            can_sleep=lambda _ctx: True,
            is_in_use=lambda _ctx: False,
        )


@dataclass
class House:
    sim: Simulation
    script: Script = field(default_factory=Script)

    def step(self) -> Result:
        self.sim.lifecycle = self.script.lifecycle()
        return self.sim.step()

    def step_until(self, summary: str) -> None:
        for _ in range(20):
            if self.step().summary == summary:
                return
        raise AssertionError(f"never {summary}: {self.script.calls}")


@pytest.fixture
def house(sim: Simulation) -> House:
    sim.submit(a_job())
    return House(sim)


def test_the_spawn_time_begins_when_the_starting_stage_is_reached(house: House) -> None:
    house.script.outcomes = {"ensure ground": [WAIT]}
    assert house.step().requeue_after_s == 5
    assert house.sim.job.status.spawn_start_time is None
    house.sim.clock.advance(5)
    house.script.outcomes = {"ensure house": [WAIT]}
    house.step()
    assert house.sim.job.status.spawn_start_time == house.sim.clock.now()


def test_the_job_starts_when_the_starting_stage_is_done(house: House) -> None:
    house.script.outcomes = {"ensure house": [WAIT]}
    house.step()
    assert house.sim.job.status.job_status is JobState.SUBMITTED
    assert house.sim.job.status.usage is None
    house.sim.clock.advance(5)
    assert house.step().summary == "serving"
    status = house.sim.job.status
    assert (status.job_status, status.start_time) == (JobState.PROCESSING, house.sim.clock.now())
    assert status.usage is not None
    assert status.usage.rates == (2.0, 4.0, 0.0, 0.0)


def test_a_shutdown_drains_until_done_and_removes_in_reverse_order(house: House) -> None:
    house.step()
    house.sim.store.request_stop(house.sim.job, StopReason.SHUTDOWN)
    house.script.calls.clear()
    house.script.outcomes = {"drain": [WAIT, WAIT]}
    house.step_until("ended")
    assert house.sim.job.status.job_status is JobState.COMPLETED
    house.step_until("removed")
    assert house.script.calls == [
        *("drain", "drain", "drain"),
        *("remove door", "remove roof", "remove house", "remove ground"),
    ]


def test_a_stage_that_waits_holds_back_those_before_it(house: House) -> None:
    house.step()
    house.sim.store.request_stop(house.sim.job, StopReason.TERMINATE)
    house.step_until("ended")
    house.script.calls.clear()
    house.script.outcomes = {"remove house": [WAIT]}
    assert house.step().summary == "removing"
    assert house.script.calls == ["remove door", "remove roof", "remove house"]


@pytest.mark.parametrize(
    ("reasons", "texts"),
    [
        ([Reason.REMOVING], [f"answer {n}" for n in range(3000)]),
        ([Reason.REMOVING], ["no answer", "pods still ending"]),
        ([Reason.KEYCLOAK_UNREACHABLE, Reason.REMOVING], ["no answer"]),
    ],
    ids=["another text each time", "two texts by turns", "two reasons by turns"],
)
def test_what_holds_a_removal_is_noted_ever_less_often(house: House, reasons: list[Reason], texts: list[str]) -> None:
    """Each note starts the next try at once, as it is a change of the record. Without a limit it would never end."""
    house.step()
    store, clock = house.sim.store, house.sim.clock
    store.request_stop(house.sim.job, StopReason.TERMINATE)
    house.step_until("ended")
    answers = zip(cycle(reasons), cycle(texts), strict=False)
    house.script.outcomes = {"remove ground": [Wait(5, *next(answers)) for _ in range(3000)]}
    store.writes.clear()
    end = clock.now() + timedelta(hours=1)
    for _ in range(2000):
        before, result = len(store.writes), house.step()
        clock.advance(0.0 if len(store.writes) > before else result.requeue_after_s or 0.0)
    assert clock.now() > end
    assert 5 < len(store.writes) < 30
    house.script.outcomes = {}
    house.step_until("removed")
    assert house.sim.job.status.stuck is None


def test_what_holds_the_removal_of_a_job_that_was_kept_long_is_noted_soon(house: House) -> None:
    house.step()
    house.sim.store.request_stop(house.sim.job, StopReason.TERMINATE)
    house.step_until("ended")
    house.sim.clock.advance(7 * 86400)
    for text in ("pods still ending", "Keycloak does not answer"):
        house.script.outcomes = {"remove ground": [Wait(5, Reason.REMOVING, text)] * 200}
        end = house.sim.clock.now() + timedelta(minutes=11)
        while house.sim.clock.now() < end:
            after_s = house.step().requeue_after_s
            assert after_s, "time would stand still"
            house.sim.clock.advance(after_s)
        removed = house.sim.job.status.condition(ConditionType.REMOVED)
        assert removed is not None
        assert removed.message == text


def test_an_ended_job_may_be_kept_as_it_is(house: House) -> None:
    house.step()
    house.script.kept = "kept for a test"
    house.sim.store.request_stop(house.sim.job, StopReason.SHUTDOWN)
    house.script.calls.clear()
    house.step_until("kept")
    removed = house.sim.job.status.condition(ConditionType.REMOVED)
    assert removed is not None
    assert (removed.reason, removed.message) == (Reason.KEPT, "kept for a test")
    assert house.script.calls == []


def test_the_walltime_counts_from_the_start_of_the_starting_stage(sim: Simulation) -> None:
    sim.submit(a_job().with_accepted(walltime_s=60))
    house = House(sim, Script({"ensure house": [WAIT]}))
    house.step()
    sim.clock.advance(100)
    house.step()
    assert sim.job.walltime_end == sim.clock.now() + timedelta(seconds=60)


@pytest.fixture
def site(house: House) -> House:
    """The house with stages that make something ahead, and whose starting stage waits."""
    house.script.have_ahead = ("ground", "house", "roof", "door")
    house.script.outcomes = {"ensure house": [WAIT] * 9}
    return house


def _list_ahead(house: House) -> list[str]:
    return [call for call in house.script.calls if call.startswith("ahead")]


def test_the_stages_after_a_waiting_one_make_things_ahead(site: House) -> None:
    """The earliest requeue counts. The record says only what the job waits for."""
    site.script.outcomes["ahead roof"] = [Done(requeue_after_s=2)]
    assert site.step() == Result("wait", 2, "Preparing: not yet")
    assert _list_ahead(site) == ["ahead roof", "ahead door"]
    status = site.sim.job.status
    assert (status.reason, status.message) == (Reason.PREPARING, "not yet")
    assert [each.type for each in status.conditions] == [ConditionType.PREPARED, ConditionType.DEPLOYED]


def test_nothing_is_made_ahead_of_the_ground(site: House) -> None:
    """Every stage needs what is before the starting one, such as a namespace that is the job's own."""
    site.script.outcomes["ensure ground"] = [WAIT]
    site.step()
    assert _list_ahead(site) == []


def test_a_stage_that_waits_ahead_holds_back_those_after_it(site: House) -> None:
    site.script.outcomes["ahead roof"] = [Wait(1, Reason.KEYCLOAK_UNREACHABLE, "no answer")]
    assert site.step().requeue_after_s == 1
    assert _list_ahead(site) == ["ahead roof"]
    assert site.sim.job.status.condition(ConditionType.KEYCLOAK_READY) is None


def test_a_failure_ahead_ends_the_job_with_its_reason(site: House) -> None:
    site.script.outcomes["ahead roof"] = [Failed(Reason.KEYCLOAK_OFF, "switched off")]
    assert site.step().summary == "ended"
    status = site.sim.job.status
    assert (status.job_status, status.reason) == (JobState.FAILED, Reason.KEYCLOAK_OFF)
    condition = status.condition(ConditionType.KEYCLOAK_READY)
    assert condition is not None
    assert condition.reason == Reason.KEYCLOAK_OFF


def _read_rest(house: House) -> Rest:
    return house.sim.job.status.rest


def test_a_job_that_sleeps_is_not_given_to_its_stages(house: House) -> None:
    """And the request is in its record before anything happens to it."""
    house.step()
    house.script.calls.clear()
    house.sim.store.set_sleep(house.sim.job, asleep=True)
    assert house.step().summary == "falling asleep"
    assert house.script.calls == []
    assert _read_rest(house) is Rest.FALLING_ASLEEP
    house.script.outcomes = {"sleep": [WAIT]}
    assert house.step().requeue_after_s == 5
    assert house.step().summary == "asleep"
    assert _read_rest(house) is Rest.ASLEEP
    house.sim.store.set_sleep(house.sim.job, asleep=False)
    assert house.step().summary == "waking up"
    house.script.outcomes = {"wake": [WAIT]}
    house.step()
    assert house.script.calls == ["sleep", "sleep", "wake"]
    assert house.step().summary == "serving"
    assert house.script.calls[3:] == ["wake", "ensure ground", "ensure house", "ensure roof", "ensure door"]
    assert _read_rest(house) is Rest.AWAKE


def test_a_failure_in_its_sleep_ends_the_job(house: House) -> None:
    house.step()
    house.sim.store.set_sleep(house.sim.job, asleep=True)
    house.step()
    house.script.outcomes = {"sleep": [Failed(Reason.NAMESPACE_GONE, "gone")]}
    assert house.step().summary == "ended"
    assert house.sim.job.status.reason == Reason.NAMESPACE_GONE


def test_no_usage_counts_in_a_sleep(house: House) -> None:
    house.step()
    house.sim.store.set_sleep(house.sim.job, asleep=True)
    house.step()
    house.sim.clock.advance(100)
    house.step()
    usage = house.sim.job.status.usage
    assert usage is not None
    assert (usage.seconds, usage.core_seconds, usage.rates) == (100, 200, (0, 0, 0, 0))
    house.sim.clock.advance(1000)
    house.step()
    house.sim.store.set_sleep(house.sim.job, asleep=False)
    house.step()
    house.step()
    house.sim.clock.advance(10)
    usage = house.sim.job.status.usage
    assert usage is not None
    assert usage.at(house.sim.clock.now()).seconds == 110
