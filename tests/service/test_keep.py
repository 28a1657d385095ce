"""Keeping a job after its end, and deleting the record of an ended one: who may, and when."""

import pytest

from kns.model.errors import ConflictError, NotFoundError
from kns.service.control import delete_record, set_keep
from kns.service.errors import JobGoneError, NotEndedError, NotPermittedError, NotRunningError
from kns.service.ports import ServicePorts
from tests.builders import a_catalog, a_job
from tests.fakes.stores import MemoryJobStore

USERS = a_catalog().users
ADMIN = USERS["admin1"]


def test_an_administrator_keeps_a_live_job(ports: ServicePorts, store: MemoryJobStore) -> None:
    job = store.add(a_job().exposed().build())
    for _ in range(2):
        set_keep(ports, ADMIN, job, keep=True)
    stored = store.find(7)
    assert stored is not None
    assert stored.spec.keep is True
    assert store.writes.count("set_keep kns-job-7") == 1


def test_it_is_too_late_to_keep_an_ended_job_but_not_to_undo_it(ports: ServicePorts, store: MemoryJobStore) -> None:
    ended = store.add(a_job().exposed().ended().build())
    with pytest.raises(NotRunningError, match="job 7 has ended"):
        set_keep(ports, ADMIN, ended, keep=True)
    kept = store.add(a_job().with_spec(keep=True).exposed().ended().build())
    set_keep(ports, ADMIN, kept, keep=True)
    set_keep(ports, ADMIN, kept, keep=False)
    stored = store.find(7)
    assert stored is not None
    assert stored.spec.keep is False


def test_a_job_that_ended_a_moment_ago_is_not_kept_in_parts(ports: ServicePorts, store: MemoryJobStore) -> None:
    """The replica has not heard of the end, and the leader may have removed a part already."""
    job = store.add(a_job().exposed().build())
    store.add(a_job().exposed().ended().build())
    with pytest.raises(NotRunningError, match="job 7 has ended"):
        set_keep(ports, ADMIN, job, keep=True)
    stored = store.find(7)
    assert stored is not None
    assert not stored.spec.keep


@pytest.mark.parametrize("name", ["user1", "lead1", "payer1"])
def test_others_keep_and_delete_nothing(ports: ServicePorts, store: MemoryJobStore, name: str) -> None:
    """The owner neither: a kept job occupies nodes, and the record is the account of what it used."""
    job = store.add(a_job().exposed().ended().build())
    with pytest.raises(NotPermittedError):
        set_keep(ports, USERS[name], job, keep=True)
    with pytest.raises(NotPermittedError):
        delete_record(ports, USERS[name], job)
    assert not [write for write in store.writes if write.startswith(("set_keep", "delete"))]


def test_the_record_of_an_ended_job_is_deleted(ports: ServicePorts, store: MemoryJobStore) -> None:
    delete_record(ports, ADMIN, store.add(a_job().exposed().ended().build()))
    assert "delete kns-job-7" in store.writes


def test_a_live_job_is_not_deleted(ports: ServicePorts, store: MemoryJobStore) -> None:
    with pytest.raises(NotEndedError, match="stop it first"):
        delete_record(ports, ADMIN, store.add(a_job().exposed().build()))
    assert "delete kns-job-7" not in store.writes


def test_a_record_that_went_meanwhile_is_gone(ports: ServicePorts, store: MemoryJobStore) -> None:
    job = store.add(a_job().exposed().ended().build())
    store.faults["delete"] = ConflictError("409")
    with pytest.raises(JobGoneError):
        delete_record(ports, ADMIN, job)
    live = store.add(a_job().exposed().build())
    store.faults["set_keep"] = NotFoundError("404")
    with pytest.raises(JobGoneError):
        set_keep(ports, ADMIN, live, keep=True)
