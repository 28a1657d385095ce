"""
Every metric of kns by name, and one recording function each; no logic.

Labels come from closed sets only (stage, outcome, reason, route): never a job, a user or a namespace.
"""

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

_REQUESTS = Histogram(
    "kns_http_request_duration_seconds",
    "HTTP requests by route and status.",
    ("route", "method", "status"),
    buckets=_SECONDS,
)
_PASSES = Counter("kns_reconcile_total", "Passes by their result.", ("outcome",))
_PASS_SECONDS = Histogram("kns_reconcile_duration_seconds", "Duration of a pass.", buckets=_SECONDS)
_STAGE_SECONDS = Histogram(
    "kns_stage_duration_seconds", "From the acceptance of a job to the end of a stage.", ("stage",), buckets=_SECONDS
)
_ENDED = Counter("kns_jobs_ended_total", "Jobs that ended, by reason.", ("reason",))
_QUEUE = Gauge("kns_workqueue_depth", "Keys that wait for a worker now.")
_LEADER = Gauge("kns_leader", "1 while this replica reconciles.")
_WATCH_RESTARTS = Counter("kns_watch_restarts_total", "Watches that were listed anew, by kind.", ("kind",))
_LIVE = Gauge("kns_jobs_live", "Jobs that have not ended.")


def observe_request(*, route: str, method: str, status: int, duration_s: float) -> None:
    _REQUESTS.labels(route, method, str(status)).observe(duration_s)


def observe_pass(*, outcome: str, duration_s: float) -> None:
    _PASSES.labels(outcome).inc()
    _PASS_SECONDS.observe(duration_s)


def observe_stage_done(*, stage: str, after_s: float) -> None:
    _STAGE_SECONDS.labels(stage).observe(after_s)


def count_end(reason: str) -> None:
    _ENDED.labels(reason).inc()


def set_queue_depth(depth: int) -> None:
    _QUEUE.set(depth)


def set_leader(*, leading: bool) -> None:
    _LEADER.set(1 if leading else 0)


def watch_live_jobs(count: Callable[[], float]) -> None:
    """Ask `count` whenever the metrics are read."""
    _LIVE.set_function(count)


def count_watch_restart(kind: str) -> None:
    _WATCH_RESTARTS.labels(kind).inc()


def serve(*, host: str, port: int) -> None:
    """
    Answer `/metrics` on a port of its own, in a daemon thread.

    Raises:
        OSError: the port is taken.
    """
    start_http_server(port, addr=host)
