"""
The page in place of a job that is asleep. Its request wakes the job.

While a job sleeps, its Ingress leads to kns, so these requests arrive at kns's own port with the job's host name. They
are told apart before anything else looks at them: at a job's address kns never shows its own pages or API, and the
paths and cookies of an app never reach kns's log. The page names no job, user or app, because whoever knows the address
may open it.

Nobody signs in here, so a request must not cost more than a look into the cache. A job is written once, when it is to
be woken; requests that follow find that in the cache.
"""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kns import metrics
from kns.http.middleware import drop_before_close
from kns.logs import get_logger
from kns.model.errors import KnsError, TransientError
from kns.model.job.conditions import APP_STARTS, ConditionType
from kns.model.job.job import Job, Rest
from kns.ports import Clock
from kns.web.pages import render_text

RELOAD_S = 2  # a job is awake after some seconds; each reload is one request
MOST_SEGMENTS = 8  # of a path that are compared with the jobs' addresses; usual ones have one
MOST_ASKING = 4  # jobs that are being woken at a time, so that visits leave threads for the API
RETRY_S = 5.0  # after a write that failed

log = get_logger(__name__)

_HERE = Path(__file__).parent
_STYLE, _SCRIPT = ((_HERE / "static" / name).read_text() for name in ("wake.css", "wake.js"))


def _digest(text: str) -> str:
    """How a Content-Security-Policy names what a page contains."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Retry-After": str(RELOAD_S),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_digest(_STYLE)}; script-src {_digest(_SCRIPT)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "X-Kns-Waiting": "1",  # tells the page's script from answers of the app
}
# In the order in which they happen.
_STEPS = ("The job was asked to wake up", "Its cluster is starting", "The app is starting")

# What asks without a person or a program that needs the app: HEAD and OPTIONS by their method, and these by their name.
_PROBES = ("kube-probe/", "googlehc/", "elb-healthchecker/", "prometheus/", "blackbox", "uptime-kuma", "checkly")
_WAKING_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Visits:
    """
    `find_job` returns the job whose Ingress or HTTPRoute routes this host and path, from the caches. `is_jobs_host`: no
    other page than a job's has this host. `wake` asks to wake a job.
    """

    find_job: Callable[[str, str], Job | None]
    is_jobs_host: Callable[[str], bool]
    wake: Callable[[Job], None]


class WakePages:
    """Answers for jobs that are asleep, and passes all other requests on."""

    def __init__(self, app: ASGIApp, visits: Visits, *, clock: Clock) -> None:
        self._app = app
        self._visits = visits
        self._clock = clock
        self._lock = threading.Lock()
        self._asking: set[str] = set()  # uids
        self._failed: dict[str, float] = {}  # uid -> when; only of writes that failed a moment ago

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        build = self._look_up(scope) if scope["type"] == "http" else None
        if build is None:
            await self._app(scope, receive, send)
            return
        await drop_before_close(scope, receive)
        await build()(scope, receive, send)

    def _look_up(self, scope: Scope) -> Callable[[], Response] | None:
        """What answers; None if that is the app."""
        headers = Headers(scope=scope)
        host = read_host(headers.get("host", ""))
        if not host:
            return None
        try:
            job = self._find(host, scope["path"])
        except TransientError:
            if not self._visits.is_jobs_host(host):
                return None  # the API and the page say so themselves
            return partial(_say, "kns has just started; try again in a moment")
        if job is None:
            if not self._visits.is_jobs_host(host):
                return None
            metrics.count_wake_page("unknown")
            return partial(
                Response, "there is no job at this address\n", 404, {"Cache-Control": "no-store"}, "text/plain"
            )
        return partial(self._wake, job, scope["method"], headers)

    def _find(self, host: str, path: str) -> Job | None:
        found = (self._visits.find_job(host, each) for each in list_prefixes(path))
        return next((job for job in found if job is not None), None)

    def _wake(self, job: Job, method: str, headers: Headers) -> Response:
        task = None
        if not job.spec.sleep or job.stop_reason is not None or job.is_ended:
            metrics.count_wake_page("wait")
        elif not is_use(method, headers):
            metrics.count_wake_page("quiet")
            return _say("the job is asleep; a request of its page wakes it")
        elif self._may_ask(job.uid):
            metrics.count_wake_page("wake")
            task = BackgroundTask(self._ask, job)
        else:
            metrics.count_wake_page("wait")
        if "text/html" not in headers.get("accept", ""):
            return _say(f"the job is waking up; try again in {RELOAD_S} s", task)
        return _render(job, task)

    def _may_ask(self, uid: str) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            self._failed = {each: at for each, at in self._failed.items() if now - at < RETRY_S}
            if uid in self._asking or uid in self._failed or len(self._asking) >= MOST_ASKING:
                return False
            self._asking.add(uid)
            return True

    def _ask(self, job: Job) -> None:
        """In a thread, after the answer. The next reload of the page tries again if it fails."""
        try:
            self._visits.wake(job)
        except KnsError as error:
            log.warning("not_woken", job=job.record, error=str(error))
            with self._lock:
                self._failed[job.uid] = self._clock.monotonic()
        finally:
            with self._lock:
                self._asking.discard(job.uid)


def read_host(header: str) -> str:
    """
    The host name of a Host header, without its port; "" if it is no name.

    >>> read_host("KNS-job-7.Jobs.example.org.:8443")
    'kns-job-7.jobs.example.org'
    """
    return header.lower().rpartition("@")[2].partition(":")[0].rstrip(".")


def list_prefixes(path: str) -> Iterator[str]:
    """
    The paths that may route a path, the longest first, as an Ingress has them.

    >>> list(list_prefixes("/7/lab/x"))
    ['/7/lab/x', '/7/lab', '/7', '/']
    """
    segments = [segment for segment in path[:1024].split("/") if segment][:MOST_SEGMENTS]
    for count in range(len(segments), 0, -1):
        yield "/" + "/".join(segments[:count])
    yield "/"


def is_use(method: str, headers: Headers) -> bool:
    """
    Whether a request is a use of the job, which wakes it.

    A page that is left open in a browser may ask in the background forever; a browser marks such requests if the page
    came by HTTPS. Programs send no such mark.
    """
    agent = headers.get("user-agent", "").lower()
    if method not in _WAKING_METHODS or any(probe in agent for probe in _PROBES):
        return False
    if "prefetch" in f"{headers.get('sec-purpose', '')} {headers.get('purpose', '')}":
        return False
    return headers.get("sec-fetch-mode", "navigate") == "navigate" and "upgrade" not in headers


def _say(text: str, task: BackgroundTask | None = None) -> Response:
    return Response(f"{text}\n", 503, _HEADERS, "text/plain", task)


def _render(job: Job, task: BackgroundTask | None) -> Response:
    condition = job.status.condition(ConditionType.ASLEEP)
    at = 0
    if condition is not None and job.status.rest is Rest.WAKING:
        at = 2 if condition.message == APP_STARTS else 1
    elif not job.spec.sleep:
        at = len(_STEPS) - 1  # awake; the controller is about to lead back to the app
    page = render_text("wake.html", style=_STYLE, script=_SCRIPT, steps=_STEPS, at=at, reload_s=RELOAD_S)
    return Response(page, 503, _HEADERS, "text/html", task)
