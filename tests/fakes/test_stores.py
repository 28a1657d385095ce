"""What the in-memory record store does beyond the port contracts of `tests/adapters/test_port_contracts.py`."""

from kns.model.job.job import StopReason
from tests.builders import a_job
from tests.fakes.stores import MemoryJobStore


def test_numbers_continue_above_those_of_records_that_a_test_put_there() -> None:
    store = MemoryJobStore()
    store.add(a_job().numbered(41).build())
    assert [store.allot_number(), store.allot_number()] == [42, 43]


def test_a_write_that_changes_nothing_wakes_nobody() -> None:
    store = MemoryJobStore()
    job = store.create(a_job().build().spec)
    woken: list[str] = []
    store.wake.append(woken.append)
    store.write_status(job, job.status)
    assert woken == []
    store.request_stop(job, StopReason.SHUTDOWN)
    store.request_stop(job, StopReason.SHUTDOWN)
    assert woken == [job.record]
