"""The in-memory record store keeps the promises that kns leans on at the real one."""

import pytest

from kns.model.errors import AlreadyExistsError, ConflictError, NotFoundError
from kns.model.job.job import JobState, StopReason
from kns.ports import JobStore, RecordWriter
from tests.builders import a_job
from tests.fakes.stores import MemoryJobStore


@pytest.fixture
def store() -> MemoryJobStore:
    store = MemoryJobStore()
    _ports: tuple[JobStore, RecordWriter] = (store, store)  # mypy compares it with both
    return store


def test_a_created_record_reads_back_as_it_was_and_only_once(store: MemoryJobStore) -> None:
    spec = a_job().build().spec
    job = store.create(spec)
    assert (job.spec, job.status.job_status) == (spec, JobState.SUBMITTED)
    assert store.find(7) == store.get(job.record) == job
    with pytest.raises(AlreadyExistsError):
        store.create(spec)


def test_acceptance_is_frozen_into_an_applied_record(store: MemoryJobStore) -> None:
    job = store.add_spec(a_job().not_accepted().build().spec, record="by-hand")
    assert (job.number, store.find(7)) == (None, None)
    accepted = a_job().build().spec.accepted
    assert accepted is not None
    store.accept(job, accepted)
    found = store.find(7)
    assert found is not None
    assert (found.record, found.spec.accepted) == ("by-hand", accepted)


def test_a_number_is_never_given_twice(store: MemoryJobStore) -> None:
    store.add(a_job().numbered(41).build())
    assert [store.allot_number(), store.allot_number()] == [42, 43]


def test_a_write_decided_on_an_old_version_conflicts(store: MemoryJobStore) -> None:
    old = store.create(a_job().build().spec)
    store.request_stop(old, StopReason.SHUTDOWN)
    with pytest.raises(ConflictError):
        store.write_status(old, old.status.model_copy(update={"exit_code": 1}))
    with pytest.raises(ConflictError):
        store.set_finalizer(old, present=False)


def test_only_the_spec_moves_the_generation(store: MemoryJobStore) -> None:
    job = store.create(a_job().build().spec)
    store.write_status(job, job.status.model_copy(update={"message": "hello"}))
    after_status = store.get(job.record)
    assert after_status is not None
    assert after_status.generation == job.generation
    assert after_status.resource_version != job.resource_version
    store.request_stop(after_status, StopReason.SHUTDOWN)
    after_stop = store.get(job.record)
    assert after_stop is not None
    assert after_stop.generation == job.generation + 1


def test_a_write_that_changes_nothing_wakes_nobody(store: MemoryJobStore) -> None:
    job = store.create(a_job().build().spec)
    woken: list[str] = []
    store.wake.append(woken.append)
    store.write_status(job, job.status)
    assert woken == []
    store.request_stop(job, StopReason.SHUTDOWN)
    store.request_stop(job, StopReason.SHUTDOWN)
    assert woken == [job.record]


def test_a_deleted_record_waits_for_its_finalizer(store: MemoryJobStore) -> None:
    job = store.create(a_job().build().spec)
    store.delete(job)
    waiting = store.get(job.record)
    assert waiting is not None
    assert (waiting.deleting, waiting.stop_reason) == (True, StopReason.TERMINATE)
    store.set_finalizer(waiting, present=False)
    assert store.get(job.record) is None
    with pytest.raises(NotFoundError):
        store.request_stop(job, StopReason.TERMINATE)
    store.delete(job)


def test_deletion_by_an_old_uid_leaves_the_new_record_alone(store: MemoryJobStore) -> None:
    spec = a_job().build().spec
    old = store.create(spec)
    store.set_finalizer(old, present=False)
    current = store.get(old.record)
    assert current is not None
    store.delete(current)
    new = store.create(spec)
    store.delete(old)
    assert store.get(old.record) == new
