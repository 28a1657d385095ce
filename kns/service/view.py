"""
View jobs: lists, the way to connect, the output.

Records that somebody applied by hand have no number until the leader accepts them. Until then no list shows them.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from threading import BoundedSemaphore

from kns.model.catalog.catalog import User
from kns.model.job.connection import build_substitutions, connect_url, shell_url
from kns.model.job.job import Job, JobState
from kns.model.job.tokens import Tokens
from kns.service.errors import NotEndedError, NotRunningError
from kns.service.find import accepted_of, leads_owner, list_led, require_running
from kns.service.ports import ServicePorts

MAX_ENDED = 1000  # ended jobs in one list, so that the answer stays readable; older ones are found by number

_RENDERING = BoundedSemaphore(8)


@dataclass(frozen=True, slots=True)
class Connection:
    """
    How a user reaches a job.

    `url` is None for a job without a target, `shell_url` for a job without a running web shell. `help` is the app's
    help page (HTML) with `%PLACEHOLDERS%`, and `substitutions` has their values, not escaped.
    """

    user: str
    address: str | None
    password: str = field(repr=False)
    url: str | None = field(repr=False)
    shell_url: str | None
    help: str
    substitutions: dict[str, str] = field(repr=False)


def list_own_jobs(
    ports: ServicePorts, user: User, *, live: bool, ended: bool, label: str | None, exact: bool
) -> Iterator[Job]:
    """
    The user's jobs, oldest first, with at most the newest `MAX_ENDED` ended ones. Each is read when it is asked for.

    With `label` only jobs whose label contains that text, or with `exact` equals it.
    """
    return _list(ports, {user.username}, live=live, ended=ended, fits=partial(_has_label, label=label, exact=exact))


def _has_label(job: Job, *, label: str | None, exact: bool) -> bool:
    if label is None:
        return True
    return job.spec.label == label if exact else label in (job.spec.label or "")


def list_team_jobs(ports: ServicePorts, user: User, *, live: bool, ended: bool) -> Iterator[Job]:
    """As `list_own_jobs`, with the jobs of the whole team if the user leads one."""
    catalog = ports.catalog.current()

    def is_shown(job: Job) -> bool:
        return job.spec.user == user.username or leads_owner(user, job, catalog)

    return _list(ports, list_led(ports, user) | {user.username}, live=live, ended=ended, fits=is_shown)


def list_newest(
    ports: ServicePorts, user: User, *, live: bool, team: bool, label: str | None, start: int, most: int
) -> tuple[list[Job], bool]:
    """
    A part of the user's live or ended jobs, newest first, and whether older ones follow. Only jobs up to the end of the
    part are read. `start` is how many to leave out, `team` as in `list_team_jobs`, `label` as in `list_own_jobs`.
    """
    catalog = ports.catalog.current()

    def is_shown(job: Job) -> bool:
        is_theirs = job.spec.user == user.username or (team and leads_owner(user, job, catalog))
        return is_theirs and _has_label(job, label=label, exact=False)

    usernames = (list_led(ports, user) if team else frozenset()) | {user.username}
    found = islice(filter(is_shown, islice(ports.jobs.walk_jobs(usernames, live=live), MAX_ENDED)), start, None)
    part = list(islice(found, most))
    return part, next(found, None) is not None


def list_in_state(ports: ServicePorts, state: JobState) -> list[tuple[int, str]]:
    """Number and name of all users' jobs in a state, oldest first."""
    return sorted(ports.jobs.list_in_state(state))


def _list(
    ports: ServicePorts, usernames: Collection[str], *, live: bool, ended: bool, fits: Callable[[Job], bool]
) -> Iterator[Job]:
    """Choose by number first, because a thousand jobs at a time would need tens of MiB for each request."""
    numbers: list[int] = []
    if live:
        numbers += [accepted_of(job).number for job in ports.jobs.walk_jobs(usernames, live=True) if fits(job)]
    if ended:
        newest = islice(filter(fits, ports.jobs.walk_jobs(usernames, live=False)), MAX_ENDED)
        numbers += [accepted_of(job).number for job in newest]
    return (job for number in sorted(set(numbers)) if (job := ports.jobs.find(number)) is not None)


def elapsed_s(job: Job, now: datetime) -> float:
    """Seconds from the job's start to its end, or to `now` if it lives; 0 if it never started."""
    start, end = job.status.start_time, job.status.end_time
    return max(0.0, ((end or now) - start).total_seconds()) if start else 0.0


def read_connection(ports: ServicePorts, job: Job) -> Connection:
    """
    How to reach a running job.

    Raises:
        NotRunningError: the job cannot be reached yet, or any more.
    """
    tokens = _read_tokens(ports, job)
    return Connection(
        user=job.spec.user,
        address=job.status.address,
        password=tokens.password,
        url=connect_url(job, tokens),
        shell_url=shell_url(job),
        help=ports.outputs.read(job).help,
        substitutions=build_substitutions(job, tokens),
    )


def read_login(ports: ServicePorts, job: Job) -> tuple[str, str]:
    """
    Address and password of a running job that people connect to.

    Raises:
        NotRunningError: as `read_connection`, or the job has no target or is not interactive.
    """
    tokens = _read_tokens(ports, job)
    if not accepted_of(job).connectable or not job.status.address:
        raise NotRunningError(f"{job.record} has no address to connect to")
    return job.status.address, tokens.password


def _read_tokens(ports: ServicePorts, job: Job) -> Tokens:
    require_running(job)
    tokens = ports.tokens.read(job.record) if job.status.has_been_exposed else None
    if tokens is None:
        raise NotRunningError(f"{job.record} cannot be reached yet")
    return tokens


def read_tail(ports: ServicePorts, job: Job, lines: int) -> str:
    """
    The last lines of a running job's output (0: all). They may be a moment old.

    Raises:
        NotRunningError: the job has not started, or it has ended.
    """
    require_running(job)
    return _render_output(ports, job, lines, recent=True)


def read_output(ports: ServicePorts, job: Job, lines: int = 0) -> str:
    """
    The last lines of an ended job's output (0: all).

    Raises:
        NotEndedError: the job lives.
    """
    if not job.is_ended:
        raise NotEndedError(f"{job.record} has not ended")
    return _render_output(ports, job, lines)


def _last_line(job: Job) -> str:
    """How the job ended; empty while it lives. Lone surrogates, which JSON may contain, cannot be sent."""
    message = job.status.message or "" if job.is_ended else ""
    return message.encode("utf-8", "replace").decode()


def _render_output(ports: ServicePorts, job: Job, lines: int, *, recent: bool = False) -> str:
    """Rendering a long log takes many times its size in memory, so only a few run at a time."""
    output = ports.outputs.read(job, recent=recent)  # outside the semaphore: a slow host blocks nobody else
    with _RENDERING:
        return output.render(lines, end=_last_line(job))
