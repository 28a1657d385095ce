"""Submit without HTTP: what a front end gets back, and which error tells it what went wrong."""

from dataclasses import replace
from typing import Any

import pytest

from kns.model.appdef.appdef import AppDef, parse_appdef
from kns.model.errors import InvalidInputError, KnsError, RefusedError, UnavailableError, UnknownAppError
from kns.model.job.job import AdoptedNamespace, JobSpec
from kns.model.reading.parsing import parse_model
from kns.model.submit.submission import Submission, build_spec
from kns.service.control import shut_down, terminate
from kns.service.errors import JobGoneError, NameTakenError, NotRunningError, NotStoredError
from kns.service.identity import Identity
from kns.service.ports import ServicePorts
from kns.service.submit import Request, submit_job, submit_trusted_job
from tests.builders import a_command, a_job, a_submission, an_appdef
from tests.fakes.pool import FakePool
from tests.fakes.stores import MemoryJobStore

NAME = "20260105141530-7Q2ZD-hello-user1_s3"


def a_request(*, key: str | None = None, **changes: Any) -> Request:
    body = a_submission(**changes)
    return Request(parse_model(Submission, body), body, size_bytes=100, idempotency_key=key)


def an_identity(ports: ServicePorts, username: str = "user1") -> Identity:
    return Identity(ports.catalog.current().users[username])


def a_spec(**changes: Any) -> JobSpec:
    body = a_submission(**changes)
    return build_spec(parse_model(Submission, body), user=body["user"]["username"], body=body)


def other_appdef() -> AppDef:
    nested = {"templates": [{"name": "other", "type": "kustomize", "path": "site"}]}
    return parse_appdef(an_appdef(commands={"Hello": a_command(nested=nested)}))


@pytest.mark.parametrize("error", [UnavailableError("no answer"), RefusedError("422")])
@pytest.mark.parametrize("call", ["find_request", "allot_number", "create"])
def test_any_error_of_the_store_means_that_nothing_was_stored(
    ports: ServicePorts, store: MemoryJobStore, call: str, error: KnsError
) -> None:
    """Never an error that would make the client take its submission for invalid."""
    store.faults[call] = error
    with pytest.raises(NotStoredError):
        submit_job(ports, an_identity(ports), a_request(key="k1"))


def test_what_the_catalogue_lacks_is_told_as_it_is(ports: ServicePorts, store: MemoryJobStore) -> None:
    with pytest.raises(UnknownAppError):
        submit_job(ports, an_identity(ports), a_request(app="none"))
    with pytest.raises(UnknownAppError):
        submit_trusted_job(ports, a_spec(app="none"), name=NAME, read_appdef=None)
    assert store.writes == []


def test_a_trusted_systems_appdef_is_that_of_its_job_only(ports: ServicePorts) -> None:
    """The app is the catalogue's in all else, and the AppDef is read only when a job is made."""
    read: list[str] = []

    def read_appdef() -> AppDef:
        read.append("read")
        return other_appdef()

    jobs = [submit_trusted_job(ports, a_spec(), name=NAME, read_appdef=read_appdef) for _ in range(2)]
    assert jobs[0] == jobs[1]
    assert read == ["read"]
    accepted = jobs[0].spec.accepted
    assert accepted is not None
    assert (accepted.name, accepted.nested.templates[0].name) == (NAME, "other")
    assert accepted.image == ports.catalog.current().apps["hello"].repo
    ordinary = submit_job(ports, an_identity(ports), a_request()).spec.accepted
    assert ordinary is not None
    assert ordinary.nested.templates[0].name == "web"


def test_a_name_belongs_to_one_user_and_one_app(ports: ServicePorts) -> None:
    submit_trusted_job(ports, a_spec(), name=NAME, read_appdef=None)
    with pytest.raises(NameTakenError):
        submit_trusted_job(ports, a_spec(user="user2"), name=NAME, read_appdef=None)


def test_a_record_that_goes_between_look_up_and_stop_is_told(ports: ServicePorts) -> None:
    job = a_job().started().build()  # not in the store any more
    for stop in (shut_down, terminate):
        with pytest.raises(JobGoneError):
            stop(ports, job)


def test_only_a_running_job_is_shut_down_and_an_ended_one_is_left_alone(
    ports: ServicePorts, store: MemoryJobStore
) -> None:
    job = store.add(a_job().ended().build())
    store.writes.clear()
    with pytest.raises(NotRunningError):
        shut_down(ports, job)
    terminate(ports, job)
    assert store.writes == []


@pytest.mark.parametrize("key", [None, "k1"], ids=["plain", "idempotent"])
def test_a_submission_takes_a_member_of_the_pool_and_uses_no_number(
    ports: ServicePorts, store: MemoryJobStore, key: str | None
) -> None:
    ports = replace(ports, members=FakePool([900]))
    job = submit_job(ports, an_identity(ports), a_request(key=key))
    assert job.spec.accepted is not None
    assert (job.number, job.spec.accepted.adopted) == (900, AdoptedNamespace(name="kns-job-900", uid="uid-of-900"))
    assert store.allot_number() == 1


def test_a_submission_without_a_member_gets_a_number_as_without_a_pool(ports: ServicePorts) -> None:
    ports = replace(ports, members=FakePool())
    job = submit_job(ports, an_identity(ports), a_request())
    assert job.spec.accepted is not None
    assert (job.number, job.spec.accepted.adopted) == (1, None)


def test_only_a_submission_that_is_certain_to_be_stored_claims_a_member(ports: ServicePorts) -> None:
    """Neither a refused one, nor a repeated one."""
    pool = FakePool([900, 901])
    ports = replace(ports, members=pool)
    with pytest.raises(InvalidInputError):
        submit_job(ports, an_identity(ports), a_request(machine={"type": "none"}))
    first, second = (submit_job(ports, an_identity(ports), a_request(key="k1")) for _ in range(2))
    assert first == second
    assert pool.asked == 1


@pytest.mark.proves("faults", "a client that hangs up leaks its place")
def test_a_client_that_hangs_up_leaks_no_place(ports: ServicePorts, store: MemoryJobStore) -> None:
    """
    Nothing of a submission outlives it but its record and the claim. If the record was not stored, the next try claims
    another member, and the leader discards the first one.
    """
    ports = replace(ports, members=FakePool([901, 900]))
    store.faults["create"] = UnavailableError("no answer")
    with pytest.raises(NotStoredError):
        submit_job(ports, an_identity(ports), a_request(key="k1"))
    del store.faults["create"]
    assert submit_job(ports, an_identity(ports), a_request(key="k1")).number == 901
