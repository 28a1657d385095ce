"""Putting a job to sleep and waking it: who may, and when."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kns.model.errors import NotFoundError
from kns.model.job.conditions import Reason
from kns.service.control import put_to_sleep, wake, wake_visited
from kns.service.errors import (
    CannotSleepError,
    InactiveAccountError,
    JobGoneError,
    NotRunningError,
    TooManyRequestsError,
)
from kns.service.explain import Standing, explain
from kns.service.ports import ServicePorts
from tests.builders import JobBuilder, a_catalog, a_job
from tests.fakes.stores import MemoryJobStore

USERS = a_catalog().users
USER = USERS["user1"]


@pytest.fixture
def with_volume(ports: ServicePorts) -> ServicePorts:
    return replace(ports, has_volume=lambda _job: True)


def test_a_job_sleeps_and_wakes_and_repeated_calls_change_nothing(
    with_volume: ServicePorts, store: MemoryJobStore
) -> None:
    job = store.add(a_job().exposed().build())
    for ask, expected in ((put_to_sleep, True), (wake, False)):
        for _ in range(2):
            ask(with_volume, USER, job)
        stored = store.find(7)
        assert stored is not None
        assert stored.spec.sleep is expected
    assert store.writes.count("set_sleep kns-job-7") == 2


def test_turns_of_sleep_and_wake_are_limited(with_volume: ServicePorts, store: MemoryJobStore) -> None:
    """Each is a write. A visit, which is nobody's, writes only after a sleep."""
    job = store.add(a_job().exposed().build())
    for _ in range(5):
        put_to_sleep(with_volume, USER, job)
        wake(with_volume, USER, job)
    for ask in (put_to_sleep, wake):
        with pytest.raises(TooManyRequestsError):
            ask(with_volume, USER, job)
    assert store.writes.count("set_sleep kns-job-7") == 10
    wake_visited(with_volume, job)
    put_to_sleep(with_volume, USERS["admin1"], job)


def test_a_visit_wakes(with_volume: ServicePorts, store: MemoryJobStore) -> None:
    job = store.add(a_job().exposed().with_spec(sleep=True).build())
    wake_visited(with_volume, job)
    stored = store.find(7)
    assert stored is not None
    assert stored.spec.sleep is False


def test_a_job_without_a_volume_does_not_sleep(ports: ServicePorts, store: MemoryJobStore) -> None:
    with pytest.raises(CannotSleepError, match="job 7 cannot sleep: its virtual cluster has no volume"):
        put_to_sleep(ports, USER, store.add(a_job().exposed().build()))
    assert "set_sleep kns-job-7" not in store.writes


@pytest.mark.parametrize(
    ("builder", "why"),
    [
        (a_job(), "does not serve yet"),
        (a_job().started(), "does not serve yet"),
        (a_job().exposed().stopping(), "has ended or is ending"),
        (a_job().exposed().ended(), "has ended or is ending"),
    ],
)
def test_only_a_job_that_serves_sleeps(
    with_volume: ServicePorts, store: MemoryJobStore, builder: JobBuilder, why: str
) -> None:
    with pytest.raises(NotRunningError, match=f"job 7 {why}"):
        put_to_sleep(with_volume, USER, store.add(builder.build()))


def test_an_ended_job_is_not_woken(with_volume: ServicePorts, store: MemoryJobStore) -> None:
    with pytest.raises(NotRunningError, match="cannot be woken"):
        wake(with_volume, USER, store.add(a_job().exposed().ended().build()))


@pytest.mark.parametrize("ask", [put_to_sleep, wake])
@pytest.mark.parametrize("builder", [a_job().exposed().ended(), a_job().exposed().stopping()])
def test_no_wish_is_confirmed_that_the_end_forestalled(
    with_volume: ServicePorts, store: MemoryJobStore, builder: JobBuilder, ask: Callable[..., None]
) -> None:
    """The replica has not heard of the end, and the write had no effect."""
    job = store.add(a_job().exposed().build())
    store.add(builder.build())
    with pytest.raises(NotRunningError, match="job 7 has ended or is ending"):
        ask(with_volume, USER, job)
    assert "set_sleep kns-job-7" not in store.writes


def test_an_inactive_account_may_put_to_sleep_and_not_wake(with_volume: ServicePorts, store: MemoryJobStore) -> None:
    job = store.add(a_job().exposed().build())
    put_to_sleep(with_volume, USERS["idle1"], job)
    with pytest.raises(InactiveAccountError):
        wake(with_volume, USERS["idle1"], job)


def test_a_record_that_went_meanwhile_is_gone(with_volume: ServicePorts, store: MemoryJobStore) -> None:
    job = store.add(a_job().exposed().build())
    store.faults["set_sleep"] = NotFoundError("404")
    for ask in (put_to_sleep, wake):
        with pytest.raises(JobGoneError):
            ask(with_volume, USER, job)


def test_a_sleeping_job_is_explained(ports: ServicePorts, store: MemoryJobStore) -> None:
    found = explain(ports, store.add(a_job().resting(Reason.ASLEEP).build()))
    assert found.standing is Standing.ASLEEP
    assert found.summary.startswith("Job 7 is asleep, for ")
    assert "a request of its page or kns wake wakes it" in found.summary
