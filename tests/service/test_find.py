"""Who may see which job, and how a job is found, without HTTP."""

from collections.abc import Callable

import pytest

from kns.service.errors import NoJobNamedError, TooManyRequestsError, UnknownJobError
from kns.service.find import JobRef, Trusted, Viewer, fetch_job, find_job, may_see
from kns.service.ports import ServicePorts
from tests.builders import JobBuilder, a_catalog, a_job
from tests.fakes.stores import FakeClock, MemoryJobStore

NAME = "20260105141530-00007-hello-user1_s1"
CATALOG = a_catalog()


def viewer(name: str) -> Viewer:
    return Trusted.UPSTREAM if name == "upstream" else CATALOG.users[name]


MEMBER = a_job()
ALONE = a_job().owned_by("user3", payer="user3")
LEFT = a_job().owned_by("gone", payer="payer1")


@pytest.mark.parametrize(
    ("sentence", "builder", "seen_by"),
    [
        ("a team member's job", MEMBER, {"user1", "lead1", "payer1", "admin1", "upstream"}),
        ("the job of a user without a team", ALONE, {"user3", "admin1", "upstream"}),
        ("the job of an owner who left the team", LEFT, {"lead1", "payer1", "admin1", "upstream"}),
    ],
    ids=["member", "alone", "left"],
)
def test_a_job_is_seen_by_its_owner_the_leads_of_the_team_admins_and_upstream(
    sentence: str, builder: JobBuilder, seen_by: set[str]
) -> None:
    job = builder.build()
    everybody = {*CATALOG.users, "upstream"}
    assert {name for name in everybody if may_see(viewer(name), job, CATALOG)} == seen_by, sentence


@pytest.mark.parametrize("ref", [JobRef(number=7), JobRef(name=NAME), JobRef(7, NAME)])
def test_a_job_is_found_by_number_by_name_or_by_both(ports: ServicePorts, store: MemoryJobStore, ref: JobRef) -> None:
    job = store.add(a_job().build())
    assert find_job(ports, viewer("user1"), ref) == job


@pytest.mark.parametrize(
    ("caller", "ref"),
    [
        ("user2", JobRef(7)),
        ("user2", JobRef(name=NAME)),
        ("user1", JobRef(7, "x")),
        ("user1", JobRef(name="x")),
        ("upstream", JobRef(7, "x")),
        ("upstream", JobRef(name="x")),
    ],
)
def test_a_job_of_somebody_else_is_unknown_and_so_is_a_wrong_name(
    ports: ServicePorts, store: MemoryJobStore, caller: str, ref: JobRef
) -> None:
    store.add(a_job().build())
    with pytest.raises(UnknownJobError):
        find_job(ports, viewer(caller), ref) or fetch_job(ports, viewer(caller), ref)


def test_a_request_without_number_and_name_names_no_job(ports: ServicePorts) -> None:
    with pytest.raises(NoJobNamedError):
        find_job(ports, viewer("user1"), JobRef())


def test_a_job_that_another_replica_just_stored_is_fetched_and_checked(
    ports: ServicePorts, store: MemoryJobStore
) -> None:
    job = store.add(a_job().build())
    store.unheard.add(7)
    for ref in (JobRef(7), JobRef(name=NAME), JobRef(7, NAME)):
        assert find_job(ports, viewer("user1"), ref) is None
        assert fetch_job(ports, viewer("user1"), ref) == job
    for caller, ref in (("user2", JobRef(7)), ("user1", JobRef(7, "x")), ("user1", JobRef(8)), ("user1", JobRef(-7))):
        with pytest.raises(UnknownJobError):
            fetch_job(ports, viewer(caller), ref)


def test_unknown_jobs_are_looked_up_on_the_host_so_many_times_a_minute(
    ports: ServicePorts, store: MemoryJobStore, clock: FakeClock
) -> None:
    """Each of them makes the host search all records. A trusted system has no limit."""
    for number in range(1, 11):
        with pytest.raises(UnknownJobError):
            fetch_job(ports, viewer("user1"), JobRef(number))
    with pytest.raises(TooManyRequestsError):
        fetch_job(ports, viewer("user1"), JobRef(11))
    for caller in ("user2", "upstream"):
        with pytest.raises(UnknownJobError):
            fetch_job(ports, viewer(caller), JobRef(4))
    clock.advance(60)
    store.add(a_job().build())
    assert fetch_job(ports, viewer("user1"), JobRef(7)).number == 7


@pytest.mark.proves("security", "learn from the limit of look-ups which jobs of others exist")
@pytest.mark.parametrize("named", [JobRef, lambda job: JobRef(name=NAME if job == 7 else "x")])
def test_a_job_of_somebody_else_is_counted_like_one_that_does_not_exist(
    ports: ServicePorts, store: MemoryJobStore, named: Callable[[int], JobRef]
) -> None:
    """Job 7 exists, job 8 does not. Each costs the host the same, too."""
    store.add(a_job().build())
    refused = []
    for number, caller in ((7, "user2"), (8, "user3")):
        answers = list[type[Exception]]()
        for _ in range(11):
            with pytest.raises((UnknownJobError, TooManyRequestsError)) as caught:
                find_job(ports, viewer(caller), named(number)) or fetch_job(ports, viewer(caller), named(number))
            answers.append(caught.type)
        refused.append(answers)
    assert refused == [[UnknownJobError] * 10 + [TooManyRequestsError]] * 2


def test_the_own_job_is_never_counted(ports: ServicePorts, store: MemoryJobStore) -> None:
    """Neither is a name that is not its own: it says nothing about jobs of others."""
    job = store.add(a_job().build())
    for _ in range(11):
        assert find_job(ports, viewer("user1"), JobRef(7)) == job
        with pytest.raises(UnknownJobError):
            find_job(ports, viewer("user1"), JobRef(7, "x"))
