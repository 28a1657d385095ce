"""The records of jobs: how requests read and create them, and what only the leader writes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kns.model.job.job import Accepted, Job, JobSpec, JobState, JobStatus, StopReason

MOST_SURPLUS = 5  # records in one answer of `list_surplus`: each is a request, and many reconciles may ask at once


@dataclass(frozen=True, slots=True)
class Share:
    """The live jobs of one user, and what their machines have together."""

    jobs: int = 0
    cores: int = 0
    gib: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """`live` by user name, `failures` the number of failed jobs by reason, as far as their records still exist."""

    live: Mapping[str, Share]
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Retained:
    """An ended job of which only the record is left, and nobody has deleted that."""

    user: str
    end: datetime


class JobStore(Protocol):
    """
    The records. Reads come from the watch cache and raise `UnavailableError` until it is filled. They show this
    replica's own writes immediately, those of other replicas within a second.
    """

    def get(self, record: str) -> Job | None: ...

    def find_retained(self, record: str) -> Retained | None:
        """What the retention of a record depends on; None if its job may need more. The job is not parsed for it."""
        ...

    def find(self, number: int) -> Job | None: ...

    def find_by_name(self, name: str) -> Job | None:
        """The job with this public name (`accepted.name`)."""
        ...

    def find_by_namespace(self, namespace: str) -> Job | None:
        """The job that runs in this namespace of the host."""
        ...

    def walk_jobs(self, usernames: Collection[str], *, live: bool) -> Iterator[Job]:
        """
        The live or the ended jobs of these users, newest first. Jobs that kns has not accepted are left out.

        Each job is read when the iterator reaches it, so that thousands of jobs are never in memory together.
        """
        ...

    def list_owners(self, payer: str) -> frozenset[str]:
        """The users of all jobs that this account pays for."""
        ...

    def list_surplus(self, username: str, *, most: int) -> Sequence[Job]:
        """
        The oldest ended jobs of this user beyond the newest `most`, at most `MOST_SURPLUS`. Jobs that still have
        objects on the host count, but are left out. A record that is being deleted does not count.
        """
        ...

    def list_removed(self) -> Mapping[str, bool]:
        """The uid of each record, and whether nothing of its job is left on the host."""
        ...

    def list_newest_of_app(self, app: str, *, most: int) -> Sequence[Job]:
        """The newest ended jobs of an app, of all users."""
        ...

    def list_newest_in_state(self, state: JobState, *, most: int) -> Sequence[Job]:
        """The newest jobs of all users in this state, newest first. Jobs that kns has not accepted are left out."""
        ...

    def tally(self) -> Tally:
        """Numbers about the jobs of all users. No job is parsed for it."""
        ...

    def list_in_state(self, state: JobState) -> Sequence[tuple[int, str]]:
        """
        Number and public name of all users' jobs in this state, in any order, without those that kns has not accepted.
        """
        ...

    def count_live(self, username: str) -> int:
        """How many jobs of this user have not ended."""
        ...

    def list_sleeping(self) -> Sequence[str]:
        """The records of all users' jobs that shall be asleep. No job is parsed for it."""
        ...

    def count_waiting(self) -> int:
        """How many jobs of all users have neither started nor ended."""
        ...

    def fetch(self, number: int) -> Job | None:
        """Like `find`, but from the API server: another replica may have created the job a moment ago."""
        ...

    def fetch_by_name(self, name: str) -> Job | None:
        """Like `find_by_name`, but from the API server."""
        ...

    def allot_number(self) -> int:
        """A new number, higher than all numbers before it."""
        ...

    def find_request(self, request: str) -> Job | None:
        """The first job of this request (`kns.model.job.idempotency`); None if there was none in the last 24 hours."""
        ...

    def create(self, spec: JobSpec, *, request: str | None = None, inputs: bytes | None = None) -> Job:
        """
        Store a new record durably. `spec.accepted` must be set. `spec` and `inputs` are as `split_inputs` returns them;
        the inputs are stored first, so that no record lacks them.

        All calls with the same `request` within 24 hours return the record of the first one, even on several replicas
        at the same time and with different specs.

        Raises:
            RefusedError: the API server's schema or an admission rule refused the record.
        """
        ...

    def request_stop(self, job: Job, reason: StopReason) -> None:
        """Write the request into the spec; safe to repeat. A Terminate replaces a Shutdown, never the reverse."""
        ...

    def extend_walltime(self, job: Job, walltime_s: int) -> None:
        """
        Write the new walltime into the spec, unless the job has ended, must stop, or has a longer one; safe to repeat.

        Raises:
            RefusedError: the API server does not store it.
        """
        ...

    def set_keep(self, job: Job, *, keep: bool) -> None:
        """
        Write into the spec whether the job's objects stay after its end, unless they shall and it has ended already;
        safe to repeat.

        Raises:
            RefusedError: the API server does not store it.
        """
        ...

    def set_sleep(self, job: Job, *, asleep: bool) -> None:
        """
        Write into the spec whether the job shall be asleep, unless it has ended or must stop; safe to repeat.

        Raises:
            RefusedError: the API server does not store it.
        """
        ...

    def delete(self, job: Job) -> None:
        """As `RecordWriter.delete`: an administrator may remove the record of an ended job."""
        ...


class RecordAuthority(Protocol):
    """The records as the API server has them, without a cache: for decisions that cannot be undone."""

    def list_uids(self) -> frozenset[str]:
        """The uids of all records, including unreadable ones, read from the API server."""
        ...


class RecordWriter(Protocol):
    """The writes that only the leader makes."""

    def accept(self, job: Job, accepted: Accepted) -> None:
        """
        Store `accepted` in a record applied by hand. Raises ConflictError if the record changed since it was read.
        """
        ...

    def write_status(self, job: Job, status: JobStatus) -> None:
        """Replace the status. Raises ConflictError if the record changed since it was read."""
        ...

    def set_finalizer(self, job: Job, *, present: bool) -> None:
        """Add or remove the cleanup finalizer. Raises ConflictError as above."""
        ...

    def delete(self, job: Job) -> None:
        """
        Request the record's deletion; an absent record is success.

        Raises:
            ConflictError: another record has this name now.
        """
        ...
