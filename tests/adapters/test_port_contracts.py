"""
What callers rely on, run on the in-memory stores and on the real ones over a small API server.

A promise that only one side keeps would make every other test a test of the wrong thing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.owned import KubeOutputs, KubeTokens
from kns.adapters.kube.records import KubeRecords
from kns.adapters.kube.throttle import Throttle
from kns.model import names
from kns.model.errors import AlreadyExistsError, ConflictError, NotFoundError
from kns.model.job.idempotency import digest_request
from kns.model.job.job import Job, JobSpec, JobState, StopReason
from kns.model.job.output import JobOutput
from kns.model.job.record import build_record
from kns.ports import MOST_SURPLUS, JobStore, OutputStore, RecordAuthority, RecordWriter, Retained, Share, TokenStore
from tests.adapters.api_server import ApiServer
from tests.adapters.test_records import Records
from tests.builders import a_job
from tests.fakes.stores import FakeClock, MemoryJobStore, MemoryOutputStore, MemoryTokenStore

REQUEST = digest_request("user1", "key")


class Store(JobStore, RecordAuthority, RecordWriter, Protocol):
    """The record store of both implementations."""


@dataclass
class Subject:
    """The stores under test. `over_http` is None for the in-memory ones."""

    store: Store
    outputs: OutputStore
    tokens: TokenStore
    clock: FakeClock
    over_http: Records | None = None

    def advance(self, hours: float) -> None:
        """Set the time of the store and of everything that is stored from now on."""
        self.clock.advance(hours * 3600)
        if self.over_http is not None:
            self.over_http.server.now = self.clock.now().isoformat()

    def apply_by_hand(self, spec: JobSpec, record: str) -> Job:
        """A record that was applied by a user, as the store sees it."""
        if isinstance(self.store, MemoryJobStore):
            return self.store.add_spec(spec, record=record)
        assert self.over_http is not None
        body = build_record(record=record, spec=spec, namespace="kns")
        self.over_http.server.put("/apis/kns.io/v1alpha1", "nestedjobs", body)
        self.over_http.wait_for(record, times=1)
        return self.read(record)

    def read(self, record: str = "kns-job-7") -> Job:
        job = self.store.get(record)
        assert job is not None
        return job

    def create(self, number: int = 7) -> Job:
        return self.store.create(a_job().numbered(number).build().spec)

    def settle(self, record: str, *, times: int) -> None:
        """Over HTTP, the store sees a deletion when the watch reports it."""
        if self.over_http is not None:
            self.over_http.wait_for(record, times=times)


@pytest.fixture(params=["memory", "kube"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "memory":
        clock = FakeClock()
        yield Subject(MemoryJobStore(clock), MemoryOutputStore(), MemoryTokenStore(), clock)
        return
    server: ApiServer = request.getfixturevalue("server")
    client: KubeClient = request.getfixturevalue("client")
    records = Records(server, client).start()
    kube: KubeRecords = records.store
    outputs, tokens = (
        KubeOutputs(client, namespace="kns", throttle=Throttle(1000, burst=1000, clock=FakeClock())),
        KubeTokens(client, namespace="kns"),
    )
    yield Subject(kube, outputs, tokens, records.clock, records)
    records.stop()


def test_a_created_record_is_there_at_once_as_it_was(subject: Subject) -> None:
    spec = a_job().build().spec
    job = subject.store.create(spec)
    assert (job.spec, job.record, job.number) == (spec, "kns-job-7", 7)
    assert job.status.job_status is JobState.SUBMITTED
    assert job.finalizers == (names.FINALIZER,)
    assert subject.store.get("kns-job-7") == subject.store.find(7) == job
    assert list(subject.store.walk_jobs([spec.user], live=True)) == [job]


def test_a_job_is_found_by_its_public_name_and_listed_for_its_user(subject: Subject) -> None:
    """A record without a job name is found by no name, and no list shows it."""
    subject.apply_by_hand(a_job().not_accepted().build().spec, "by-hand")
    job = subject.create()
    assert job.spec.accepted is not None
    assert subject.store.find_by_name(job.spec.accepted.name) == job
    assert (subject.store.find_by_name("none"), subject.store.find_by_name("")) == (None, None)
    assert list(subject.store.walk_jobs(["user1"], live=True)) == [job]
    assert list(subject.store.walk_jobs(["user2"], live=True)) == []


def test_what_is_not_there_is_none(subject: Subject) -> None:
    assert (subject.store.get("none"), subject.store.find(1), subject.store.list_removed()) == (None, None, {})


def test_a_job_is_found_by_all_that_names_it(subject: Subject) -> None:
    one, other = subject.create(7), subject.create(8)
    assert one.spec.accepted is not None
    name = one.spec.accepted.name
    assert subject.store.find(7) == subject.store.find_by_namespace("kns-job-7") == one
    assert subject.store.find_by_name(name) == subject.store.fetch_by_name(name) == subject.store.fetch(7) == one
    assert subject.store.find_by_name("none") is subject.store.fetch_by_name("none") is subject.store.fetch(9) is None
    assert subject.store.find_by_namespace("kns-job-9") is None
    assert list(subject.store.walk_jobs(["user1"], live=True)) == [other, one]
    assert not list(subject.store.walk_jobs(["user2"], live=True))


def test_jobs_of_all_users_are_counted_and_the_newest_found(subject: Subject) -> None:
    for number in (7, 8, 9):
        subject.create(number)
    for number, reason in ((7, "InitFailed"), (9, "InitFailed")):
        job = subject.read(f"kns-job-{number}")
        failed = {"job_status": JobState.FAILED, "reason": reason}
        subject.store.write_status(job, job.status.model_copy(update=failed))
    tally = subject.store.tally()
    assert tally.failures == {"InitFailed": 2}
    assert tally.live == {"user1": Share(jobs=1, cores=2, gib=4, gpus=0)}
    assert [job.number for job in subject.store.list_newest_in_state(JobState.FAILED, most=1)] == [9]
    assert [job.number for job in subject.store.list_newest_of_app("hello", most=5)] == [9, 7]
    assert list(subject.store.list_newest_of_app("other", most=5)) == []


def test_a_job_of_a_request_is_fetched_by_number_and_name_although_its_record_has_another(subject: Subject) -> None:
    """The replica may not have seen the record yet, and a client understands "unknown" as lost."""
    job = subject.store.create(a_job().numbered(7).build().spec, request=REQUEST)
    assert job.record != "kns-job-7"
    assert job.spec.accepted is not None
    assert subject.store.fetch(7) == subject.store.fetch_by_name(job.spec.accepted.name) == job


def test_states_and_live_jobs_follow_the_status(subject: Subject) -> None:
    subject.create(7)
    subject.create(8)
    assert sorted(number for number, _ in subject.store.list_in_state(JobState.SUBMITTED)) == [7, 8]
    assert subject.store.count_live("user1") == 2
    job = subject.read("kns-job-7")
    assert job.spec.accepted is not None
    subject.store.write_status(job, job.status.model_copy(update={"job_status": JobState.CANCELED}))
    assert [number for number, _ in subject.store.list_in_state(JobState.SUBMITTED)] == [8]
    assert subject.store.list_in_state(JobState.CANCELED) == [(7, job.spec.accepted.name)]
    assert (subject.store.count_live("user1"), subject.store.count_live("user2")) == (1, 0)


def test_the_uids_are_those_of_all_records_as_they_are_stored_now(subject: Subject) -> None:
    assert subject.store.list_uids() == frozenset()
    jobs = [subject.create(7), subject.create(8)]
    assert subject.store.list_uids() == {job.uid for job in jobs}
    subject.store.set_finalizer(jobs[0], present=False)
    subject.store.delete(subject.read("kns-job-7"))
    assert subject.store.list_uids() == {jobs[1].uid}


def end(subject: Subject, number: int, *, removed: bool = True) -> None:
    job = subject.create(number)
    built = a_job().numbered(number).started().ended()
    subject.store.write_status(job, (built.removed() if removed else built).build().status)


def test_the_oldest_ended_jobs_of_a_user_are_the_surplus(subject: Subject) -> None:
    """Live jobs do not count. A job that still has objects on the host counts, and stays."""
    for number in (10, 9, 8):
        end(subject, number)
    end(subject, 7, removed=False)
    subject.create(6)
    found = {most: [job.number for job in subject.store.list_surplus("user1", most=most)] for most in (5, 4, 3, 2, 0)}
    assert found == {5: [], 4: [], 3: [8], 2: [8, 9], 0: [8, 9, 10]}
    assert not subject.store.list_surplus("user2", most=0)


def test_a_record_that_is_being_deleted_is_no_surplus(subject: Subject) -> None:
    """Neither is it deleted again nor does another one go in its place, even before a watch reports the deletion."""
    for number in (7, 8, 9):
        end(subject, number)
    subject.store.delete(subject.read("kns-job-7"))
    found = {most: [job.number for job in subject.store.list_surplus("user1", most=most)] for most in (2, 1, 0)}
    assert found == {2: [], 1: [8], 0: [8, 9]}


def test_the_surplus_comes_in_small_parts(subject: Subject) -> None:
    for number in range(1, MOST_SURPLUS + 3):
        end(subject, number)
    assert len(subject.store.list_surplus("user1", most=1)) == MOST_SURPLUS


def test_a_record_is_retained_once_nothing_else_of_its_job_is_left(subject: Subject) -> None:
    subject.create(6)
    end(subject, 7, removed=False)
    end(subject, 8)
    found = {number: subject.store.find_retained(f"kns-job-{number}") for number in (6, 7, 8, 9)}
    ended = subject.store.find(8)
    assert ended is not None
    assert ended.status.end_time is not None
    assert found == {6: None, 7: None, 8: Retained("user1", ended.status.end_time), 9: None}


def test_jobs_are_walked_newest_first_by_state_and_user(subject: Subject) -> None:
    for number in (7, 9):
        end(subject, number)
    subject.create(8)
    assert [job.number for job in subject.store.walk_jobs(["user1"], live=False)] == [9, 7]
    assert [job.number for job in subject.store.walk_jobs(["user1", "user2"], live=True)] == [8]
    assert subject.store.list_owners("payer1") == {"user1"}
    assert subject.store.list_owners("user1") == frozenset()
    removed = {job.uid: not live for live in (True, False) for job in subject.store.walk_jobs(["user1"], live=live)}
    assert subject.store.list_removed() == removed


def test_a_removed_job_reads_the_same_from_both_stores(subject: Subject) -> None:
    """Its AppDef is not in the cache any more; the API server has it."""
    end(subject, 7)
    cached, whole = subject.read(), subject.store.fetch(7)
    assert whole is not None
    assert cached.spec.accepted is not None
    assert whole.spec.accepted is not None
    assert cached.spec.accepted.nested.templates[0].name == "removed"
    assert whole.spec.accepted.nested.templates[0].name == "web"
    assert cached.status == whole.status


def test_a_taken_name_is_reported(subject: Subject) -> None:
    subject.create()
    with pytest.raises(AlreadyExistsError):
        subject.create()


def request(subject: Subject, number: int, *, request: str = REQUEST) -> int | None:
    """The number of the job that a create call with this number returns."""
    return subject.store.create(a_job().numbered(number).build().spec, request=request).number


def test_a_request_that_was_never_made_has_no_job(subject: Subject) -> None:
    subject.create()
    assert subject.store.find_request(REQUEST) is None


def test_a_request_makes_one_job_in_a_day(subject: Subject) -> None:
    assert [request(subject, 7), request(subject, 8)] == [7, 7]
    subject.advance(23.9)
    assert request(subject, 9) == 7
    assert subject.store.find_request(REQUEST) == subject.store.find(7)
    assert [job.number for job in subject.store.walk_jobs(["user1"], live=True)] == [7]


def test_requests_do_not_mix(subject: Subject) -> None:
    other = digest_request("user2", "key")
    assert [request(subject, 7), request(subject, 8, request=other), request(subject, 9)] == [7, 8, 7]


def test_after_a_day_a_request_makes_a_new_job_each_day(subject: Subject) -> None:
    """The old records still exist and keep their names."""
    given = []
    for day in range(3):
        given += [request(subject, 10 * day + 1), request(subject, 10 * day + 2)]
        subject.advance(24)
    assert given == [1, 1, 11, 11, 21, 21]
    assert subject.store.find_request(REQUEST) is None


def test_a_request_is_remembered_although_an_older_record_of_it_was_purged(subject: Subject) -> None:
    first = subject.store.create(a_job().numbered(1).build().spec, request=REQUEST)
    subject.advance(24)
    assert request(subject, 2) == 2
    subject.store.set_finalizer(first, present=False)
    subject.store.delete(subject.read(first.record))
    subject.settle(first.record, times=3)
    assert subject.store.get(first.record) is None
    assert request(subject, 3) == 2


def test_numbers_rise(subject: Subject) -> None:
    given = [subject.store.allot_number() for _ in range(5)]
    assert given == sorted(set(given))


def test_an_accepted_record_of_any_name_is_found_by_its_number(subject: Subject) -> None:
    job = subject.apply_by_hand(a_job().not_accepted().build().spec, "by-hand")
    assert job.number is None
    accepted = a_job().build().spec.accepted
    assert accepted is not None
    subject.store.accept(job, accepted)
    found = subject.store.find(7)
    assert found is not None
    assert (found.record, found.spec.accepted) == ("by-hand", accepted)
    with pytest.raises(ConflictError):
        subject.store.accept(job, accepted.model_copy(update={"number": 8}))


def test_a_status_is_stored_whole(subject: Subject) -> None:
    """A complete status is read back unchanged."""
    job = subject.create()
    status = a_job().started().exposed().ended(JobState.FAILED).build().status
    subject.store.write_status(job, status)
    assert subject.read().status == status
    assert subject.read().spec == job.spec


def test_a_value_that_is_absent_again_is_gone(subject: Subject) -> None:
    """A write replaces the status and does not merge it."""
    job = subject.create()
    subject.store.write_status(job, job.status.model_copy(update={"message": "hello"}))
    subject.store.write_status(subject.read(), job.status)
    assert subject.read().status == job.status


def test_decisions_on_old_versions_conflict(subject: Subject) -> None:
    old = subject.create()
    subject.store.write_status(old, old.status.model_copy(update={"message": "newer"}))
    with pytest.raises(ConflictError):
        subject.store.write_status(old, old.status)
    with pytest.raises(ConflictError):
        subject.store.set_finalizer(old, present=False)
    assert subject.read().status.message == "newer"


def test_only_the_spec_moves_the_generation(subject: Subject) -> None:
    job = subject.create()
    subject.store.write_status(job, job.status.model_copy(update={"message": "hello"}))
    assert subject.read().generation == job.generation
    subject.store.request_stop(job, StopReason.SHUTDOWN)
    assert subject.read().generation == job.generation + 1


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ([StopReason.SHUTDOWN], StopReason.SHUTDOWN),
        ([StopReason.TERMINATE], StopReason.TERMINATE),
        ([StopReason.SHUTDOWN, StopReason.SHUTDOWN], StopReason.SHUTDOWN),
        ([StopReason.SHUTDOWN, StopReason.TERMINATE], StopReason.TERMINATE),
        ([StopReason.TERMINATE, StopReason.SHUTDOWN], StopReason.TERMINATE),
    ],
    ids=["shutdown", "terminate", "twice", "terminate overrides", "shutdown does not"],
)
def test_stopping(subject: Subject, asked: list[StopReason], stored: StopReason) -> None:
    """The caller's view of the job may be outdated."""
    job = subject.create()
    for reason in asked:
        subject.store.request_stop(job, reason)
    assert subject.read().stop_reason is stored


def test_stopping_an_ended_job_changes_nothing(subject: Subject) -> None:
    job = subject.create()
    subject.store.write_status(job, a_job().ended().build().status)
    before = subject.read()
    subject.store.request_stop(before, StopReason.TERMINATE)
    assert subject.read() == before


@pytest.mark.parametrize(("asked", "stored"), [([7200], 7200), ([7200, 7200], 7200), ([7200, 5000], 7200)])
def test_a_walltime_gets_longer_and_never_shorter(subject: Subject, asked: list[int], stored: int) -> None:
    """The caller's view of the job may be outdated."""
    job = subject.store.create(a_job().with_accepted(walltime_s=3600).build().spec)
    for walltime_s in asked:
        subject.store.extend_walltime(job, walltime_s)
    assert subject.read().walltime_s == stored
    subject.store.request_stop(job, StopReason.SHUTDOWN)
    subject.store.extend_walltime(job, 90_000)
    assert subject.read().walltime_s == stored, "a job that must stop is not extended"


def test_extending_an_ended_job_changes_nothing(subject: Subject) -> None:
    job = subject.store.create(a_job().with_accepted(walltime_s=3600).build().spec)
    subject.store.write_status(job, a_job().ended().build().status)
    before = subject.read()
    subject.store.extend_walltime(before, 7200)
    assert subject.read() == before
    with pytest.raises(NotFoundError):
        subject.store.extend_walltime(a_job().numbered(99).build(), 7200)


def test_a_job_is_kept_until_somebody_changes_their_mind(subject: Subject) -> None:
    job = subject.create()
    assert not subject.read().spec.keep
    for keep in (True, True, False):
        subject.store.set_keep(job, keep=keep)
        assert subject.read().spec.keep is keep
    before = subject.read()
    subject.store.set_keep(job, keep=False)
    assert subject.read() == before
    with pytest.raises(NotFoundError):
        subject.store.set_keep(a_job().numbered(99).build(), keep=True)


def test_a_job_that_has_ended_is_not_kept_any_more(subject: Subject) -> None:
    """A replica whose cache is behind takes it for live."""
    job = subject.create()
    status = job.status.model_copy(update={"job_status": JobState.CANCELED})
    subject.store.write_status(subject.read(), status)
    before = subject.read()
    subject.store.set_keep(job, keep=True)
    assert subject.read() == before


def test_a_later_record_of_the_same_name_is_not_kept(subject: Subject) -> None:
    job = replace(subject.create(), uid="another")
    with pytest.raises(NotFoundError):
        subject.store.set_keep(job, keep=True)


def test_a_job_is_asked_to_sleep_and_to_wake(subject: Subject) -> None:
    job = subject.create()
    assert not subject.read().spec.sleep
    for asleep in (True, True, False):
        subject.store.set_sleep(job, asleep=asleep)
        assert subject.read().spec.sleep is asleep
        assert subject.store.list_sleeping() == ([job.record] if asleep else [])
    before = subject.read()
    subject.store.set_sleep(job, asleep=False)
    assert subject.read() == before
    for wrong in (a_job().numbered(99).build(), replace(job, uid="another")):
        with pytest.raises(NotFoundError):
            subject.store.set_sleep(wrong, asleep=True)


def test_a_job_that_must_stop_is_not_asked_to_sleep(subject: Subject) -> None:
    job = subject.create()
    subject.store.request_stop(job, StopReason.SHUTDOWN)
    before = subject.read()
    subject.store.set_sleep(job, asleep=True)
    assert subject.read() == before


def test_stopping_what_went_is_reported(subject: Subject) -> None:
    with pytest.raises(NotFoundError):
        subject.store.request_stop(a_job().build(), StopReason.SHUTDOWN)


def test_deletion_waits_for_the_finalizer(subject: Subject) -> None:
    job = subject.create()
    subject.store.delete(job)
    subject.settle(job.record, times=2)
    going = subject.read()
    assert going.deleting
    assert going.stop_reason is StopReason.TERMINATE
    subject.store.set_finalizer(going, present=False)
    subject.settle(job.record, times=3)
    assert subject.store.get(job.record) is None
    subject.store.delete(job)


def test_deletion_with_an_old_uid_leaves_a_new_record_of_that_name_alone(subject: Subject) -> None:
    old = subject.create()
    subject.store.set_finalizer(old, present=False)
    subject.store.delete(subject.read())
    subject.settle(old.record, times=3)
    new = subject.create()
    with pytest.raises(ConflictError):
        subject.store.delete(old)
    assert (new.uid != old.uid, subject.read()) == (True, new)


def test_a_finalizer_of_others_stays(subject: Subject) -> None:
    job = subject.create()
    subject.store.set_finalizer(job, present=False)
    assert subject.read().finalizers == ()
    subject.store.set_finalizer(subject.read(), present=True)
    assert subject.read().finalizers == (names.FINALIZER,)


def test_an_output_that_was_never_written_is_empty(subject: Subject) -> None:
    assert subject.outputs.read(a_job().build()) == JobOutput()


def test_an_output_reads_back_line_by_line(subject: Subject) -> None:
    job = a_job().build()
    time = datetime(2026, 1, 5, 14, 15, 30, 250_000, tzinfo=UTC)
    output = JobOutput(head="warning: \u00fc", log="one\ntwo\n", log_time=time)
    subject.outputs.write(job, output)
    assert subject.outputs.read(job).lines() == output.lines()
    subject.outputs.write(job, JobOutput(head="another"))
    assert subject.outputs.read(job) == JobOutput(head="another")


def test_outputs_do_not_mix(subject: Subject) -> None:
    jobs = [a_job().numbered(number).build() for number in (7, 8)]
    for job in jobs:
        subject.outputs.write(job, JobOutput(log=str(job.number)))
    assert [subject.outputs.read(job).log for job in jobs] == ["7", "8"]


def test_an_output_is_not_that_of_an_earlier_record_of_the_name(subject: Subject) -> None:
    """Kubernetes deletes the earlier one some time after its record, which may have been another user's."""
    earlier = a_job().build()
    subject.outputs.write(earlier, JobOutput(log="a password\n"))
    job = replace(earlier, uid="another")
    for recent in (False, True):
        assert subject.outputs.read(job, recent=recent) == JobOutput()
    subject.outputs.write(job, JobOutput(log="one\n"))
    assert subject.outputs.read(job).lines() == ["one"]
    assert subject.outputs.read(earlier) == JobOutput()


def test_tokens_are_the_same_ever_after(subject: Subject) -> None:
    job = a_job().build()
    assert subject.tokens.read(job.record) is None
    made = subject.tokens.ensure(job)
    assert subject.tokens.ensure(job) == made == subject.tokens.read(job.record)
