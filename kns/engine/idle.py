"""
Put jobs to sleep that nobody uses, and keep the addresses of sleeping jobs right when kns's own pods change.

Requests do not pass through kns, so it reads the counters of the proxies that pass them on, for all jobs at once. A job
that had no new request for its limit is idle. In doubt a job stays awake: every idle time starts anew if the counters
cannot be read, and under a new leader, because idle times are not stored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kns import metrics
from kns.logs import get_logger
from kns.model.errors import KnsError, UnavailableError
from kns.model.job.job import Job, JobState
from kns.model.site import Site
from kns.ports import Clock, Context, JobStore, Traffic, World
from kns.stages.lifecycle import Lifecycle

log = get_logger(__name__)

PERIOD_S = 15.0  # between two scrapes: an idle time is right within it, and a scrape of a thousand jobs takes a second
MOST_AT_ONCE = 20  # jobs that one round puts to sleep, so that wrong counters cannot end all pods of a site together


@dataclass(slots=True)
class _Seen:
    """What this leader knows of one job. `limit_s` never changes, because the app of a job does not."""

    uid: str
    namespace: str
    limit_s: float | None
    requests: float | None
    since: float  # monotonic: when its requests changed last


class IdleWatch:
    """
    Only the thread of its periodic task may call it. `default_s` is for jobs whose app states no time; 0: never.
    """

    def __init__(
        self,
        default_s: int,
        *,
        traffic: Traffic,
        lifecycle: Lifecycle,
        site: Site,
        world: World,
        store: JobStore,
        clock: Clock,
    ) -> None:
        self._default_s = default_s
        self._traffic = traffic
        self._lifecycle = lifecycle
        self._site = site
        self._world = world
        self._store = store
        self._clock = clock
        self._seen: dict[int, _Seen] = {}

    def step(self) -> float:
        """Count once, and put the jobs to sleep that are idle. Returns the seconds until the next call."""
        now = self._clock.monotonic()
        try:
            requests = self._traffic.count_requests()
        except UnavailableError as error:
            self._seen.clear()
            metrics.set_traffic_known(known=False)
            log.warning("traffic_unknown", error=str(error))
            return PERIOD_S
        metrics.set_traffic_known(known=True)
        numbers = {number for number, _ in self._store.list_in_state(JobState.PROCESSING)}
        self._seen = {number: seen for number, seen in self._seen.items() if number in numbers}
        asleep = 0
        for number in sorted(numbers):
            if asleep >= MOST_AT_ONCE:
                log.warning("many_jobs_idle", at_once=MOST_AT_ONCE)
                break
            if self._clock.monotonic() - now >= PERIOD_S:  # there may have been requests since they were counted
                log.warning("idle_round_cut_off", at=number)
                break
            try:
                asleep += self._look_at(number, requests, now)
            except KnsError as error:
                log.warning("idle_job_not_judged", number=number, error=str(error))
                if (seen := self._seen.get(number)) is not None:
                    seen.since = now  # the others must not wait for this one in each round
            except Exception:  # a bug in kns, which a tenant may know how to meet
                log.exception("idle_job_crashed", number=number)
        return PERIOD_S

    def _look_at(self, number: int, requests: Mapping[str, float], now: float) -> bool:
        """Whether the job was put to sleep. `now` is when the requests were counted."""
        seen = self._seen.get(number)
        if seen is None:
            seen = self._meet(number, now)
            if seen is None:
                return False
        count = requests.get(seen.namespace, 0.0)
        if seen.requests != count:
            seen.requests, seen.since = count, now
        if seen.limit_s is None or now - seen.since < seen.limit_s:
            return False
        job = self._store.find(number)
        if job is None or job.uid != seen.uid or not self._may_sleep(job, seen.limit_s):
            seen.since = now  # so that it is read again only after its limit, in particular while it is asleep
            return False
        self._store.set_sleep(job, asleep=True)
        metrics.count_idle_sleep()
        log.info("job_idle", job=job.record, idle_s=round(now - seen.since))
        return True

    def _meet(self, number: int, now: float) -> _Seen | None:
        job = self._store.find(number)
        if job is None or job.location is None or job.spec.accepted is None:
            return None
        own_s = job.spec.accepted.nested.idle_sleep_s
        limit_s = self._default_s if own_s is None else own_s
        seen = _Seen(job.uid, job.location.namespace, limit_s or None, None, now)
        self._seen[number] = seen
        return seen

    def _may_sleep(self, job: Job, limit_s: float) -> bool:
        """Whether nothing but traffic would keep the job awake. Requests are made only for a job that is idle."""
        if job.spec.sleep or job.spec.accepted is None or not job.has_served or job.stop_reason is not None:
            return False
        if job.status.was_sleep_refused:  # each try may end its pods, so only a person asks again
            return False
        if job.status.url is None:  # it has no page, so it never has requests
            return False
        wall = self._clock.now()
        if job.awake_since is None or (wall - job.awake_since).total_seconds() < limit_s:
            return False
        ctx = Context(job=job, accepted=job.spec.accepted, now=wall, site=self._site, world=self._world)
        return self._lifecycle.can_sleep(ctx) and not self._lifecycle.is_in_use(ctx)


class DoorWatch:
    """Reconciles all sleeping jobs when the pods of kns have changed, because their addresses lead to these pods."""

    def __init__(
        self,
        list_addresses: Callable[[], Sequence[str]],
        list_sleeping: Callable[[], Sequence[str]],
        *,
        look_again: Callable[[str], None],
    ) -> None:
        self._list_addresses = list_addresses
        self._list_sleeping = list_sleeping
        self._look_again = look_again
        self._known: Sequence[str] | None = None

    def step(self) -> float:
        """
        Returns the seconds until the next call. The first time it finds a sleeping job, that job may have been led to
        pods that were there a moment before, so it is looked at, too.
        """
        sleeping = self._list_sleeping()
        if not sleeping:
            self._known = None
            return PERIOD_S
        found = self._list_addresses()
        if found != self._known:
            log.info("doors_changed", jobs=len(sleeping))
            for record in sleeping:
                self._look_again(record)
        self._known = found
        return PERIOD_S
