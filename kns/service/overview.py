"""
What is known of all jobs together: how long the steps of an app's start usually take, and for administrators who uses
what and why jobs failed.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from statistics import median

from kns.model.catalog.catalog import User
from kns.model.errors import ForbiddenError, NotFoundError, TransientError, clip
from kns.model.job.job import Job, JobState
from kns.model.job.timeline import StepState, build_timeline
from kns.model.reading.event_time import read_event_time
from kns.ports import Clock, JobStore, PoolState, Share, Tally
from kns.service.catalog import require_admin
from kns.service.ports import ServicePorts

SAMPLES = 20  # newest ended jobs of an app; reading one takes a fraction of a millisecond
LEAST_SAMPLES = 3  # of a step; one or two say nothing, and would show a single job of somebody else
KEPT_S = 60.0  # how long the answer about an app is kept
KEPT_APPS = 256  # answers in memory; each is a few numbers
MOST_FAILED = 20  # failed jobs in the overview; the counts by reason are of all
_ORPHAN = ("Orphan", "Sweep")  # how the reasons of the sweeper's Events begin


@dataclass(frozen=True, slots=True)
class Orphan:
    """What the sweeper found: an object of kns without a job. `count` is how often it found it."""

    time: datetime
    reason: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many live jobs a user has, and may have; None without a limit."""

    live_jobs: int
    limit: int | None

    @property
    def is_used_up(self) -> bool:
        return self.limit is not None and self.live_jobs >= self.limit


def read_allowance(ports: ServicePorts, caller: User) -> Allowance:
    """The caller's own."""
    return Allowance(ports.jobs.count_live(caller.username), ports.limits.live_jobs or None)


@dataclass(frozen=True, slots=True)
class Overview:
    """
    `by_user` has the users with the most cores first, `by_reason` the most frequent reasons first. `starting` and
    `running` are numbers of live jobs. `live_limit` is that of one user, None without a limit. `orphans` are those of
    the last hour, newest first; None if kns cannot read its Events now. `pools` is empty without a warm pool.
    """

    by_user: tuple[tuple[str, Share], ...]
    total: Share
    by_reason: tuple[tuple[str, int], ...]
    failed: tuple[Job, ...]
    starting: int
    running: int
    live_limit: int | None
    orphans: tuple[Orphan, ...] | None
    pools: tuple[PoolState, ...] = ()


def read_overview(ports: ServicePorts, caller: User) -> Overview:
    """
    Raises:
        NotPermittedError: the caller is not a system admin.
    """
    require_admin(caller)
    tally = ports.jobs.tally()
    return Overview(
        by_user=tuple(sorted(tally.live.items(), key=lambda item: (-item[1].cores, -item[1].jobs, item[0]))),
        total=_add_up(tally),
        by_reason=tuple(sorted(tally.failures.items(), key=lambda item: (-item[1], item[0]))),
        failed=tuple(ports.jobs.list_newest_in_state(JobState.FAILED, most=MOST_FAILED)),
        starting=len(ports.jobs.list_in_state(JobState.SUBMITTED)),
        running=len(ports.jobs.list_in_state(JobState.PROCESSING)),
        live_limit=ports.limits.live_jobs or None,
        orphans=_read_orphans(ports),
        pools=tuple(ports.members.list_pools()) if ports.members is not None else (),
    )


def _read_orphans(ports: ServicePorts) -> tuple[Orphan, ...] | None:
    try:
        events = ports.namespaces.list_warnings(ports.system_namespace)
    except (ForbiddenError, NotFoundError, TransientError):
        return None  # all the rest is in memory
    found = [
        Orphan(
            read_event_time(event), str(event["reason"]), clip(str(event.get("message") or "")), event.get("count") or 1
        )
        for event in events
        if str(event.get("reason") or "").startswith(_ORPHAN)
    ]
    return tuple(sorted(found, key=lambda each: each.time, reverse=True))


def _add_up(tally: Tally) -> Share:
    shares = tally.live.values()
    return Share(
        jobs=sum(share.jobs for share in shares),
        cores=sum(share.cores for share in shares),
        gib=sum(share.gib for share in shares),
        gpus=sum(share.gpus for share in shares),
    )


def list_all_live(ports: ServicePorts, caller: User, *, start: int, most: int) -> tuple[list[Job], bool]:
    """
    A part of the live jobs of all users, newest first, and whether older ones follow.

    Raises:
        NotPermittedError: the caller is not a system admin.
    """
    require_admin(caller)
    walk = islice(ports.jobs.walk_jobs(ports.jobs.tally().live.keys(), live=True), start, None)
    return list(islice(walk, most)), next(walk, None) is not None


class UsualDurations:
    """The median durations of an app's steps, from its last jobs. Answers are kept for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, tuple[float, Mapping[str, float]]] = OrderedDict()

    def read(self, jobs: JobStore, app: str) -> Mapping[str, float]:
        """Seconds by the name of the step. Steps that too few jobs had are left out."""
        now = self._clock.monotonic()
        with self._lock:
            known = self._answers.get(app)
        if known is not None and now - known[0] < KEPT_S:
            return known[1]
        answer = _measure(jobs, app)
        with self._lock:
            self._answers[app] = now, answer
            self._answers.move_to_end(app)
            while len(self._answers) > KEPT_APPS:
                self._answers.popitem(last=False)
        return answer


def _measure(jobs: JobStore, app: str) -> dict[str, float]:
    samples: dict[str, list[float]] = {}
    for job in jobs.list_newest_of_app(app, most=SAMPLES):
        for step in build_timeline(job):
            if step.state is StepState.DONE and step.began is not None and step.ended is not None:
                samples.setdefault(step.name, []).append((step.ended - step.began).total_seconds())
    return {name: median(times) for name, times in samples.items() if len(times) >= LEAST_SAMPLES and name != "serve"}
