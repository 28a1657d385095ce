"""
What a plain job needs without a request: its Service, its input once the container runs, its end by the node if a kill
had no effect, the note of how it ended, the end of side-cars, and its removal when it expires.

`Keeper.look` does what one job needs now. It is safe to run twice, in two processes, and to be killed after any call:
it decides from the cluster alone, and what it did is in the cluster.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kns.logs import get_logger
from kns.model.errors import KnsError, UnavailableError
from kns.plain import names
from kns.plain.inputs import InputFiles
from kns.plain.jobs import END_NOW, PlainJobs
from kns.plain.ports import Cluster
from kns.plain.sender import InputSender
from kns.plain.state import Asked, Status, encode_end
from kns.plain.views import View
from kns.ports import Clock

log = get_logger(__name__)

_WORKERS = 4  # an API server that does not answer holds one up for some seconds
_RESYNC_S = 30.0  # expiry, and what failed before
_MOST_KILL_S = 60.0  # between two tries: after an outage of kns, one comes before the job's cluster is ended instead
_KILL_S = 5.0  # from the first look at a killed job; a container that gets SIGKILL ends within a second or two
_LEFT_INPUT_S = 3600.0  # far longer than a submission takes


class Keeper:
    """Looks at each job that changed, and at all of them twice a minute, until `stop` is set."""

    def __init__(
        self,
        jobs: PlainJobs,
        cluster: Cluster,
        *,
        inputs: InputFiles,
        clock: Clock,
        expiry: timedelta,
    ) -> None:
        self._jobs = jobs
        self._cluster = cluster
        self._inputs = inputs
        self._sender = InputSender(cluster, inputs)
        self._clock = clock
        self._expiry = expiry
        self._due: set[str] = set()
        self._kills: dict[str, tuple[float, float]] = {}  # of a killed job that runs: next try, delay after it
        self._busy: set[str] = set()
        self._wake = threading.Condition()
        jobs.subscribe(self._add)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set and `wake` was called. In a thread of its own."""
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="keeper") as pool:
            next_resync = self._clock.monotonic()
            while not stop.is_set():
                if self._clock.monotonic() >= next_resync:
                    self._add_all()
                    next_resync = self._clock.monotonic() + _RESYNC_S
                for job_id in self._take(stop, next_resync):
                    pool.submit(self._look_safely, job_id)
            self._sender.close()

    def wake(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def look(self, job_id: str) -> None:
        """
        Do what the job needs now.

        Raises:
            KnsError: the cluster did not do it; the next look repeats it.
        """
        if (view := self._keep(job_id)) is not None:
            self._sender.send(view)

    def _keep(self, job_id: str) -> View | None:
        """Do what the job needs now, except for its input: the job is returned if it may have one to be sent."""
        view = self._jobs.confirm(job_id)
        if view is not None and view.state.is_unsure:
            view = self._jobs.resolve(job_id)
        if view is None or view.stored.is_deleted:  # its input may be of a job that another process has just created
            return None
        if self._jobs.has_failed(view.id):
            log.warning("failed_submission_appeared", job=view.id, consequence="the job is deleted")
            self._inputs.discard(view.id)
            self._cluster.delete_job(view.id, uid=view.stored.uid)
            return None
        if view.state.is_completed:
            self._look_after_the_end(view)
            return None
        self._ensure_killed(view)
        self._ensure_service(view)
        return view if view.state.status is Status.RUNNING and view.stored.stdin_token else None

    def look_at_all(self) -> None:
        """Look at every job, and remove inputs that no job needs: for tests, what `run` does over time."""
        views = self._jobs.list_views()
        for view in views:
            self.look(view.id)
        self._remove_left_inputs(views)

    def _add(self, job_id: str) -> None:
        with self._wake:
            self._due.add(job_id)
            self._wake.notify_all()

    def _add_all(self) -> None:
        now = self._clock.now()
        try:
            views = self._jobs.list_views()
        except UnavailableError:  # before the caches are filled
            return
        except Exception:  # a bug; jobs that change must still be kept
            log.exception("keeper_crashed")
            return
        live = {view.id for view in views if not view.state.is_completed}
        with self._wake:
            self._kills = {job_id: next_try for job_id, next_try in self._kills.items() if job_id in live}
            self._due.update(view.id for view in views if not self._is_done(view, now))
        self._remove_left_inputs(views)

    def _is_done(self, view: View, now: datetime) -> bool:
        """Whether nothing is left to do before the job expires. Most jobs of a namespace are such ones."""
        ended = view.state.changed
        return view.state.is_completed and bool(view.stored.end) and ended is not None and now < self._expires(ended)

    def _expires(self, ended: datetime) -> datetime:
        try:
            return ended + self._expiry
        except OverflowError:  # somebody changed the annotation
            return datetime.max.replace(tzinfo=UTC)

    def _take(self, stop: threading.Event, until: float) -> list[str]:
        """Jobs that are due, each for one worker at a time."""
        with self._wake:
            while not stop.is_set():
                ready = [job_id for job_id in self._due if job_id not in self._busy]
                if ready:
                    self._due.difference_update(ready)
                    self._busy.update(ready)
                    return ready
                left_s = until - self._clock.monotonic()
                if left_s <= 0:
                    return []
                self._wake.wait(left_s)
        return []

    def _look_safely(self, job_id: str) -> None:
        try:
            if (view := self._keep(job_id)) is not None:
                self._sender.offer(view)
        except KnsError as error:
            log.warning("job_not_kept", job=job_id, error=str(error))
        except Exception:  # a bug; the other jobs must still be kept
            log.exception("keeper_crashed", job=job_id)
        finally:
            with self._wake:
                self._busy.discard(job_id)
                self._wake.notify_all()

    def _ensure_killed(self, view: View) -> None:
        """
        The signal is sent by the shell of the job's image, which may be any program that says that it did so.

        The cluster of a nested job is its user's, and may not answer: each further try comes later.
        """
        if view.stored.asked != Asked.KILL or not view.state.has_run:
            return
        now = self._clock.monotonic()
        with self._wake:
            due, delay_s = self._kills.setdefault(view.id, (now + _KILL_S, _KILL_S))
            if now < due:
                return
            self._kills[view.id] = (now + delay_s, min(2 * delay_s, _MOST_KILL_S))
        self._cluster.patch_pod(view.state.pod, END_NOW)

    def _ensure_service(self, view: View) -> None:
        if not view.job.service_ports:
            return
        obj = self._cluster.find_job(view.id)
        if obj is not None:
            self._jobs.ensure_service(obj, view.job)

    def _look_after_the_end(self, view: View) -> None:
        if view.stored.stdin_token:
            self._inputs.discard(view.id)
        now = self._clock.now()
        # An end of unknown time counts from now on. So does one in the future: the clock of a node may be wrong, and
        # whoever is administrator of a nested job's cluster chooses the time.
        ended = min(view.state.changed or now, now)
        if not view.stored.end:
            # Those of a nested job end with its cluster, which may refuse the call: its user is administrator there.
            if view.state.has_run and not view.job.nested and self._has_side_cars(view):
                self._cluster.patch_pod(view.state.pod, END_NOW)
            if view.job.service_ports and self._cluster.find_service(names.service_name(view.id)) is not None:
                self._cluster.delete_service(names.service_name(view.id))
            end = encode_end(replace(view.state, changed=ended))
            self._cluster.patch_job(view.id, {"metadata": {"annotations": {names.END: end}}})
        if now >= self._expires(ended):
            self._cluster.delete_job(view.id, uid=view.stored.uid)

    def _has_side_cars(self, view: View) -> bool:
        """Whether another container of the pod runs, or waits to: the node repeats a failed pull without an end."""
        for pod in self._cluster.list_pods(view.id):
            if pod["metadata"]["name"] != view.state.pod:
                continue
            for each in (pod.get("status") or {}).get("containerStatuses") or ():
                if each.get("name") != view.state.container and "terminated" not in (each.get("state") or {}):
                    return True
        return False

    def _remove_left_inputs(self, views: Sequence[View]) -> None:
        known = frozenset(view.id for view in views)
        self._inputs.remove_left(known, older_s=_LEFT_INPUT_S)
