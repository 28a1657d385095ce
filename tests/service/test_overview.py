"""What is known of all jobs together."""

from typing import Any

import pytest

from kns.model.catalog.catalog import User
from kns.model.errors import ForbiddenError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState
from kns.ports import Kind, Object, PoolState, Share
from kns.service import overview
from kns.service.errors import NotPermittedError
from kns.service.overview import KEPT_S, LEAST_SAMPLES, UsualDurations, list_all_live, read_allowance, read_overview
from tests.api.client import Api
from tests.builders import JobBuilder, a_job
from tests.fakes.pool import FakePool


def user(api: Api, name: str) -> User:
    return api.catalog.current().users[name]


def a_failed(number: int, reason: Reason) -> JobBuilder:
    return a_job().numbered(number).started().ended(JobState.FAILED).with_status(reason=reason)


def test_the_overview_adds_up_users_and_reasons() -> None:
    api = Api()
    api.add(a_job().numbered(1))
    api.add(a_job().numbered(2).exposed())
    api.add(a_job().numbered(3).owned_by("user3"))
    for number, reason in ((4, Reason.INIT_FAILED), (5, Reason.IMAGE_NOT_PULLABLE), (6, Reason.INIT_FAILED)):
        api.add(a_failed(number, reason))
    api.add(a_job().numbered(7).exposed().ended())
    found = read_overview(api.ports, user(api, "admin1"))
    assert found.by_user == (("user1", Share(2, 4, 8, 0)), ("user3", Share(1, 2, 4, 0)))
    assert found.total == Share(3, 6, 12, 0)
    assert found.by_reason == (("InitFailed", 2), ("ImageNotPullable", 1))
    assert [job.number for job in found.failed] == [6, 5, 4]


def test_the_live_jobs_of_all_users_come_in_parts() -> None:
    api = Api()
    for number in range(1, 6):
        api.add(a_job().numbered(number).owned_by("user1" if number % 2 else "user3"))
    admin = user(api, "admin1")
    parts = [list_all_live(api.ports, admin, start=start, most=2) for start in (0, 2, 4, 6)]
    assert [([job.number for job in jobs], more) for jobs, more in parts] == [
        ([5, 4], True),
        ([3, 2], True),
        ([1], False),
        ([], False),
    ]


def test_the_overview_has_the_pools() -> None:
    states = [PoolState("any", 2, ready=1, making=1), PoolState("kns-large", 1)]
    api = Api(pool=FakePool(states=states))
    assert read_overview(api.ports, user(api, "admin1")).pools == tuple(states)
    without = Api()
    assert read_overview(without.ports, user(without, "admin1")).pools == ()


def an_event(reason: str, minute: int, **changes: Any) -> Object:
    event = {"type": "Warning", "reason": reason, "message": f"Namespace kns-job-{minute} was an orphan", "count": 2}
    return {**event, "lastTimestamp": f"2026-01-05T14:{minute:02}:00Z", **changes}


def test_the_overview_has_what_the_sweeper_found() -> None:
    api = Api()
    api.namespaces.objects[Kind.EVENT, "kns-system"] = [
        an_event("OrphanRemoved", 1),
        an_event("SweepStopped", 3, count=None, message="x" * 5000),
        an_event("BackOff", 2),
        an_event("OrphanFound", 2, type="Normal"),
    ]
    orphans = read_overview(api.ports, user(api, "admin1")).orphans
    assert orphans is not None
    assert [(each.reason, each.time.minute, each.count) for each in orphans] == [
        ("SweepStopped", 3, 1),
        ("OrphanRemoved", 1, 2),
    ]
    assert len(orphans[0].message) < 1000


@pytest.mark.parametrize("fault", [ForbiddenError("403"), UnavailableError("no answer")], ids=str)
def test_an_overview_without_events_has_the_rest(fault: Exception) -> None:
    api = Api(live_jobs=5)
    api.namespaces.faults[Kind.EVENT] = fault
    for builder in (a_job().numbered(1), a_job().numbered(2), a_job().numbered(3).exposed()):
        api.add(builder)
    found = read_overview(api.ports, user(api, "admin1"))
    assert (found.orphans, found.starting, found.running, found.live_limit) == (None, 2, 1, 5)


@pytest.mark.parametrize(("limit", "used_up"), [(0, False), (2, True), (3, False)])
def test_a_user_learns_how_many_jobs_are_left(limit: int, used_up: bool) -> None:
    api = Api(live_jobs=limit)
    api.add(a_job().numbered(1))
    api.add(a_job().numbered(2).exposed())
    api.add(a_job().numbered(3).exposed().ended())
    api.add(a_job().numbered(4).owned_by("user2"))
    found = read_allowance(api.ports, user(api, "user1"))
    assert (found.live_jobs, found.limit, found.is_used_up) == (2, limit or None, used_up)


@pytest.mark.parametrize("name", ["user1", "lead1", "payer1"])
def test_both_are_for_system_admins(name: str) -> None:
    api = Api()
    with pytest.raises(NotPermittedError):
        read_overview(api.ports, user(api, name))
    with pytest.raises(NotPermittedError):
        list_all_live(api.ports, user(api, name), start=0, most=1)


def an_ended(number: int, *, spawn_s: float) -> JobBuilder:
    job = a_job().numbered(number).condition(ConditionType.NAMESPACE_READY, at_s=1).started(at_s=1 + spawn_s)
    job = job.condition(ConditionType.PREPARED, at_s=2 + spawn_s).condition(ConditionType.DEPLOYED, at_s=9 + spawn_s)
    return job.exposed(at_s=10 + spawn_s).ended(at_s=100)


def test_the_usual_durations_are_medians_of_the_last_jobs() -> None:
    api = Api()
    for number, spawn_s in enumerate((10, 30, 12), start=1):
        api.add(an_ended(number, spawn_s=spawn_s))
    usual = UsualDurations(api.clock).read(api.jobs, "hello")
    assert usual["vcluster"] == 12
    assert usual["namespace"] == 1
    assert "serve" not in usual, "how long somebody works is nobody's wait"


def test_too_few_jobs_have_no_usual_duration() -> None:
    api = Api()
    for number in range(1, LEAST_SAMPLES):
        api.add(an_ended(number, spawn_s=10))
    assert UsualDurations(api.clock).read(api.jobs, "hello") == {}


def test_few_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may ask may ask for any app, whether it exists or not."""
    monkeypatch.setattr(overview, "KEPT_APPS", 2)
    api = Api()
    usual = UsualDurations(api.clock)
    for app in ("one", "two", "three"):
        usual.read(api.jobs, app)
    assert list(usual._answers) == ["two", "three"]


def test_an_answer_is_kept_for_a_while() -> None:
    api, jobs = Api(), 3
    usual = UsualDurations(api.clock)
    assert usual.read(api.jobs, "hello") == {}
    for number in range(1, jobs + 1):
        api.add(an_ended(number, spawn_s=10))
    assert usual.read(api.jobs, "hello") == {}
    api.clock.advance(KEPT_S)
    assert usual.read(api.jobs, "hello")["vcluster"] == 10
