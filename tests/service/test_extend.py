"""Extending a job's walltime: who may, how far, and in which states."""

from dataclasses import replace

import pytest

from kns.model.errors import InvalidInputError, NotFoundError
from kns.model.reading.duration import MAX_WALLTIME_S
from kns.service.control import extend
from kns.service.errors import InactiveAccountError, JobGoneError, NotRunningError
from kns.service.ports import ServicePorts
from tests.builders import JobBuilder, a_catalog, a_job
from tests.fakes.stores import MemoryJobStore

CATALOG = a_catalog()
USER = CATALOG.users["user1"]


def with_walltime() -> JobBuilder:
    return a_job().with_accepted(walltime_s=3600)


def test_a_walltime_counts_from_the_start_so_a_repeated_call_has_no_effect(
    ports: ServicePorts, store: MemoryJobStore
) -> None:
    job = store.add(with_walltime().exposed().build())
    for _ in range(2):
        assert extend(ports, USER, job, "02:00:00") == 7200
    stored = store.find(7)
    assert stored is not None
    assert stored.walltime_s == 7200
    assert stored.walltime_end is not None
    assert job.walltime_end is not None
    assert (stored.walltime_end - job.walltime_end).total_seconds() == 3600
    assert store.writes.count("extend_walltime kns-job-7") == 1


def test_a_job_that_has_not_started_may_be_extended(ports: ServicePorts, store: MemoryJobStore) -> None:
    assert extend(ports, USER, store.add(with_walltime().build()), "99999:59:59") == MAX_WALLTIME_S


@pytest.mark.parametrize("walltime", ["00:59:59", "", "1h", "100000:00:00", "-1:00:00"])
def test_a_walltime_is_longer_than_before_and_has_the_form_of_a_submission(
    ports: ServicePorts, store: MemoryJobStore, walltime: str
) -> None:
    with pytest.raises(InvalidInputError):
        extend(ports, USER, store.add(with_walltime().exposed().build()), walltime)


def test_a_job_without_a_walltime_needs_no_extension(ports: ServicePorts, store: MemoryJobStore) -> None:
    with pytest.raises(InvalidInputError, match="it needs no extension"):
        extend(ports, USER, store.add(a_job().exposed().build()), "02:00:00")


@pytest.mark.parametrize("builder", [with_walltime().exposed().ended(), with_walltime().exposed().stopping()])
def test_a_job_that_ends_is_not_extended(ports: ServicePorts, store: MemoryJobStore, builder: JobBuilder) -> None:
    with pytest.raises(NotRunningError):
        extend(ports, USER, store.add(builder.build()), "02:00:00")
    assert "extend_walltime kns-job-7" not in store.writes


def test_an_inactive_account_extends_nothing(ports: ServicePorts, store: MemoryJobStore) -> None:
    job = store.add(with_walltime().owned_by("idle1").exposed().build())
    with pytest.raises(InactiveAccountError):
        extend(ports, CATALOG.users["idle1"], job, "02:00:00")


def test_a_record_that_went_is_reported(ports: ServicePorts, store: MemoryJobStore) -> None:
    job = store.add(with_walltime().exposed().build())
    store.faults["extend_walltime"] = NotFoundError("404")
    with pytest.raises(JobGoneError):
        extend(ports, USER, replace(job), "02:00:00")


@pytest.mark.parametrize("builder", [with_walltime().exposed().ended(), with_walltime().exposed().stopping()])
def test_no_extension_is_confirmed_that_the_end_forestalled(
    ports: ServicePorts, store: MemoryJobStore, builder: JobBuilder
) -> None:
    """The replica has not heard of the end, and the write had no effect."""
    job = store.add(with_walltime().exposed().build())
    store.add(builder.build())
    with pytest.raises(NotRunningError, match="its walltime cannot be extended"):
        extend(ports, USER, job, "02:00:00")
    assert "extend_walltime kns-job-7" not in store.writes
