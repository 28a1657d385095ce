"""
Every metric of kns, and one recording function for each. No logic.

Labels have a fixed set of values (stage, outcome, reason, route), never a job, a user or a namespace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram, make_asgi_app

from kns.model.job.conditions import Reason

if TYPE_CHECKING:  # programs without a server count as well, and do not have starlette
    from starlette.types import ASGIApp

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

_REQUESTS = Histogram(
    "kns_http_request_duration_seconds",
    "HTTP requests by route and status.",
    ("route", "method", "status"),
    buckets=_SECONDS,
)
_RECONCILES = Counter("kns_reconcile_total", "Reconciles by outcome.", ("outcome",))
_RECONCILE_SECONDS = Histogram("kns_reconcile_duration_seconds", "Duration of a reconcile.", buckets=_SECONDS)
_STAGE_SECONDS = Histogram(
    "kns_stage_duration_seconds",
    "Time from the acceptance of a job to the end of a stage.",
    ("stage",),
    buckets=_SECONDS,
)
_ENDED = Counter("kns_jobs_ended_total", "Jobs that ended, by reason.", ("reason",))
_QUEUE = Gauge("kns_workqueue_depth", "Keys that wait for a worker.")
_QUEUE_OLDEST = Gauge("kns_workqueue_oldest_seconds", "Time that the oldest waiting key has waited for a worker.")
_QUEUE_WAIT = Histogram(
    "kns_workqueue_wait_seconds", "Time from the moment a key was due until a worker took it.", buckets=_SECONDS
)
_WATCH_AGE = Gauge(
    "kns_watch_age_seconds", "Time since the last data from the API server, bookmarks included, by kind.", ("kind",)
)
_CATALOG_REJECTED = Gauge(
    "kns_catalog_rejected",
    "1 while the catalogue's files have a fault, so this replica keeps an older version. It would not start again.",
)
_LEADER = Gauge("kns_leader", "1 while this replica reconciles.")
_WATCH_RESTARTS = Counter(
    "kns_watch_restarts_total", "Watches that failed and were restarted with a list, by kind.", ("kind",)
)
_SWEPT = Counter("kns_sweep_removed_total", "Orphans removed by the sweeper, by kind.", ("kind",))
_SWEEP_FAILURES = Counter("kns_sweep_failures_total", "Failed lists and removals of the sweeper, by kind.", ("kind",))
_ORPHANS = Gauge("kns_sweep_orphans", "Orphans that the last sweep found and did not remove, by kind.", ("kind",))
_UNMARKED = Gauge(
    "kns_sweep_unmarked",
    "Objects without a job that are never removed, because they lack the labels of kns, by kind.",
    ("kind",),
)
_SWEEP_STOPPED = Gauge(
    "kns_sweep_stopped", "1 if the last sweep removed nothing because too many namespaces look like orphans."
)
_PREPARED = Gauge(
    "kns_prepared_states",
    "Kubernetes versions in use with (ready) and without (missing) a prepared state; jobs without one start slower.",
    ("state",),
)
_POOL_WANTED = Gauge("kns_pool_wanted", "Virtual clusters that KNS_POOL asks for, by pool.", ("pool",))
_POOL_READY = Gauge("kns_pool_ready", "Members that a job can claim, by pool.", ("pool",))
_POOL_MAKING = Gauge("kns_pool_making", "Members that are being made, by pool.", ("pool",))
_POOL_OLDEST = Gauge("kns_pool_oldest_seconds", "Age of the oldest member that a job can claim, by pool.", ("pool",))
_POOL_MADE = Histogram("kns_pool_member_made_seconds", "Time to make a member.", buckets=_SECONDS)
_POOL_DISCARDED = Counter("kns_pool_discarded_total", "Members that the pool removed, by reason.", ("reason",))
_POOL_CLAIMS = Counter(
    "kns_pool_claims_total",
    "Submissions that got a member (hit) or start cold (miss), and lost races for a member (conflict).",
    ("outcome",),
)
_POOL_CLAIM_SECONDS = Histogram("kns_pool_claim_duration_seconds", "Duration of a successful claim.", buckets=_SECONDS)
_RELAYED = Counter(
    "kns_cluster_requests_total", "Requests of users to clusters of jobs that have ended, by kind.", ("kind",)
)
_RELAYED_OPEN = Gauge("kns_cluster_requests_open", "Open requests of users to clusters of jobs.")
_ASLEEP = Gauge(
    "kns_jobs_asleep", "Live jobs that were asked to sleep and not to wake; NaN until the record cache has synced."
)
_SLEEPS = Counter("kns_idle_sleeps_total", "Jobs that the leader put to sleep because nobody used them.")
_WAKES = Histogram(
    "kns_wake_duration_seconds",
    "Time from the request to wake a job until its page is led back to the app.",
    buckets=_SECONDS,
)
_WAKE_PAGES = Counter(
    "kns_wake_page_requests_total",
    "Requests to the addresses of jobs that are asleep: those that asked to wake a job (wake), those that found it "
    "waking (wait), those that never wake a job (quiet), and those of no sleeping job (unknown).",
    ("outcome",),
)
_TRAFFIC_KNOWN = Gauge(
    "kns_traffic_known", "1 if the last scrape of the ingress controllers succeeded; only then jobs fall asleep."
)
_TRAFFIC_FAILURES = Counter("kns_traffic_failures_total", "Scrapes of the ingress controllers that failed.")
_CLOCK_SKEW = Gauge("kns_clock_skew_seconds", "How far this replica's clock is ahead of the host API's.")
_LIVE = Gauge("kns_jobs_live", "Jobs that have not ended; NaN until the record cache has synced.")
_OLDEST_REMOVAL = Gauge(
    "kns_removal_oldest_seconds",
    "For how long a job that has ended, and is not kept, has waited for its removal: the longest of them, 0 without "
    "any; NaN until the record cache has synced.",
)

# What alerts count exists from the start: Prometheus sees no increase in a series that begins with its first events,
# however many they are.
for _reason in Reason:
    _ENDED.labels(str(_reason))
_RECONCILES.labels("error")


def observe_request(*, route: str, method: str, status: int, duration_s: float) -> None:
    _REQUESTS.labels(route, method, str(status)).observe(duration_s)


def observe_reconcile(*, outcome: str, duration_s: float) -> None:
    _RECONCILES.labels(outcome).inc()
    _RECONCILE_SECONDS.observe(duration_s)


def observe_stage_done(*, stage: str, elapsed_s: float) -> None:
    _STAGE_SECONDS.labels(stage).observe(elapsed_s)


def set_prepared_states(*, ready: int, missing: int) -> None:
    _PREPARED.labels("ready").set(ready)
    _PREPARED.labels("missing").set(missing)


def count_end(reason: str) -> None:
    _ENDED.labels(reason).inc()


def set_queue_depth(depth: int) -> None:
    _QUEUE.set(depth)


def watch_oldest_key(age_s: Callable[[], float]) -> None:
    """Call `age_s` at each scrape."""
    _QUEUE_OLDEST.set_function(age_s)


def set_catalog_rejected(*, rejected: bool) -> None:
    _CATALOG_REJECTED.set(rejected)


def observe_queue_wait(wait_s: float) -> None:
    _QUEUE_WAIT.observe(wait_s)


def watch_age(kind: str, age_s: Callable[[], float]) -> None:
    """Call `age_s` at each scrape. It returns infinity until the first list."""
    _WATCH_AGE.labels(kind).set_function(age_s)


def count_relayed(kind: str) -> None:
    """`kind` is `request` or `socket`."""
    _RELAYED.labels(kind).inc()


def set_relayed_open(count: int) -> None:
    _RELAYED_OPEN.set(count)


def set_leader(*, leading: bool) -> None:
    _LEADER.set(1 if leading else 0)


def watch_live_jobs(count: Callable[[], float]) -> None:
    """Call `count` at each scrape."""
    _LIVE.set_function(count)


def watch_oldest_removal(read: Callable[[], float]) -> None:
    """Call `read` at each scrape."""
    _OLDEST_REMOVAL.set_function(read)


def count_watch_restart(kind: str) -> None:
    _WATCH_RESTARTS.labels(kind).inc()


def count_swept(kind: str) -> None:
    _SWEPT.labels(kind).inc()


def count_sweep_failure(kind: str) -> None:
    _SWEEP_FAILURES.labels(kind).inc()


def set_orphans(kind: str, *, marked: int, unmarked: int) -> None:
    _ORPHANS.labels(kind).set(marked)
    _UNMARKED.labels(kind).set(unmarked)


def set_sweep_stopped(*, stopped: bool) -> None:
    _SWEEP_STOPPED.set(1 if stopped else 0)


def set_pool(pool: str, *, wanted: int, ready: int, making: int, oldest_s: float) -> None:
    """`pool` is the name of a pool in the settings, so there are at most `MAX_POOLS`."""
    _POOL_WANTED.labels(pool).set(wanted)
    _POOL_READY.labels(pool).set(ready)
    _POOL_MAKING.labels(pool).set(making)
    _POOL_OLDEST.labels(pool).set(oldest_s)


def observe_member_made(duration_s: float) -> None:
    _POOL_MADE.observe(duration_s)


def count_discarded_member(reason: str) -> None:
    _POOL_DISCARDED.labels(reason).inc()


def count_claim(outcome: str) -> None:
    _POOL_CLAIMS.labels(outcome).inc()


def observe_claim(duration_s: float) -> None:
    _POOL_CLAIM_SECONDS.observe(duration_s)


def watch_sleeping_jobs(count: Callable[[], float]) -> None:
    """Call `count` at each scrape."""
    _ASLEEP.set_function(count)


def count_idle_sleep() -> None:
    _SLEEPS.inc()


def observe_wake(duration_s: float) -> None:
    _WAKES.observe(duration_s)


def count_wake_page(outcome: str) -> None:
    _WAKE_PAGES.labels(outcome).inc()


def set_traffic_known(*, known: bool) -> None:
    _TRAFFIC_KNOWN.set(1 if known else 0)
    if not known:
        _TRAFFIC_FAILURES.inc()


def watch_clock_skew(skew_s: Callable[[], float]) -> None:
    """Call `skew_s` at each scrape."""
    _CLOCK_SKEW.set_function(skew_s)


def build_app() -> ASGIApp:
    """An application that responds to every request with the metrics."""
    app: ASGIApp = make_asgi_app()
    return app
