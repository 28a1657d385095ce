"""
Find a job, and decide who may see it.

`may_see` is the only place that decides this. A job that the caller may not see is refused like an unknown one.
"""

from dataclasses import dataclass
from enum import Enum, auto

from kns.model.catalog.catalog import Catalog, User
from kns.model.job.job import Accepted, Job, JobState
from kns.service.errors import NoJobNamedError, NotRunningError, TooManyRequestsError, UnknownJobError
from kns.service.ports import ServicePorts

# Jobs that a user names and the replica does not know, or that the user may not see, for each replica. The host
# searches all records for each of them. A client that follows a new job on the other replica needs one or two.
LOOKUPS_PER_MINUTE = 60


class Trusted(Enum):
    """A system that authenticates its users itself and may see every job."""

    UPSTREAM = auto()


Viewer = User | Trusted


@dataclass(frozen=True, slots=True)
class JobRef:
    """How a request names a job. If it gives both, number and name must belong to the same job."""

    number: int | None = None
    name: str | None = None


def find_job(ports: ServicePorts, viewer: Viewer, ref: JobRef) -> Job | None:
    """
    The job in this replica's cache. It never blocks.

    None means to call `fetch_job`: only the host knows the job, or the viewer may not see it. Both then take the same
    way, because a limit that counts one of them only would tell which jobs exist.

    Raises:
        NoJobNamedError: `ref` is empty.
        UnknownJobError: the job, which the viewer may see, has another name.
    """
    if ref.number is not None:
        job = ports.jobs.find(ref.number)
    elif ref.name is not None:
        job = ports.jobs.find_by_name(ref.name)
    else:
        raise NoJobNamedError("the request has neither the number nor the name of a job")
    if job is None or not may_see(viewer, job, ports.catalog.current()):
        return None
    return _check(ports, viewer, ref, job)


def fetch_job(ports: ServicePorts, viewer: Viewer, ref: JobRef) -> Job:
    """
    The job as the host has it, for a number or name for which `find_job` has no answer. It may block.

    A client often submits to one replica and asks the other a moment later. It must not get "unknown job" then,
    because it would give the job up.

    Raises:
        TooManyRequestsError: the user has asked for too many jobs of others, or unknown ones, in the last minute.
        UnknownJobError: there is no such job, or the viewer may not see it.
    """
    if isinstance(viewer, User):
        wait_s = ports.limits.lookups.take(viewer.username)
        if wait_s > 0:
            raise TooManyRequestsError(wait_s)
    if ref.number is not None:
        job = ports.jobs.fetch(ref.number) if ref.number > 0 else None
    else:
        job = ports.jobs.fetch_by_name(ref.name) if ref.name else None
    if job is None:
        raise UnknownJobError(f"no job is {ref}")
    return _check(ports, viewer, ref, job)


def _check(ports: ServicePorts, viewer: Viewer, ref: JobRef, job: Job) -> Job:
    is_named = ref.name in (None, accepted_of(job).name)
    if not is_named or not may_see(viewer, job, ports.catalog.current()):
        raise UnknownJobError(f"no job is {ref}, or the caller may not see it")
    return job


def may_see(viewer: Viewer, job: Job, catalog: Catalog) -> bool:
    """A user sees their own jobs; payers and admins of a team see the jobs of its members; a system admin sees all."""
    if isinstance(viewer, Trusted):
        return True
    return viewer.admin or viewer.username == job.spec.user or leads_owner(viewer, job, catalog)


def leads_owner(user: User, job: Job, catalog: Catalog) -> bool:
    """Whether the user leads the team of the job's owner."""
    return _leads_team(user) and user.team == _team_of(job, catalog)


def list_led(ports: ServicePorts, user: User) -> frozenset[str]:
    """All users whose jobs `leads_owner` can be true for, as far as they have jobs."""
    if not _leads_team(user):
        return frozenset()
    users = ports.catalog.current().users
    members = {name for name, other in users.items() if other.team == user.team}
    gone = ports.jobs.list_owners(user.team) - users.keys()
    return frozenset(members | gone)


def _leads_team(user: User) -> bool:
    return user.team_admin or user.username == user.team


def _team_of(job: Job, catalog: Catalog) -> str:
    """The owner's current team. For an owner who left the catalogue, the team for which the job was accepted."""
    owner = catalog.users.get(job.spec.user)
    if owner is not None:
        return owner.team
    return job.spec.accepted.payer if job.spec.accepted else job.spec.user


def accepted_of(job: Job) -> Accepted:
    """
    Raises:
        ValueError: kns has not accepted the job yet, so it has no number and no public form.
    """
    if job.spec.accepted is None:
        raise ValueError(f"record {job.record} is not accepted yet")
    return job.spec.accepted


def require_running(job: Job) -> None:
    """
    Raises:
        NotRunningError: the job has not started, or it has ended.
    """
    if job.status.job_status is not JobState.PROCESSING:
        raise NotRunningError(f"{job.record} is {job.status.job_status}")
