"""
What a nested job needs while it lives: its Kubernetes Job inside, a look at its pod, and a kill that takes effect.

A look is safe to run twice, in two processes, and to be killed after any call: it decides from the record, from kns and
from the job's cluster.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kns.launcher.fields import replace_halves
from kns.launcher.nested.known import KnownJob, KnownJobs
from kns.launcher.nested.rules import INSIDE, build_inner, place_pod, read_grace_s
from kns.launcher.nested.site import KnsSite
from kns.logs import get_logger
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KnsError,
    RefusedError,
    TransientError,
    UnavailableError,
    clip,
)
from kns.model.reading.event_time import read_event_time
from kns.plain import names
from kns.plain.kept import read_name
from kns.plain.ports import Cluster, Kept
from kns.plain.state import DEADLINE, Asked, State, Status, choose_pod, encode_end, explain_deadline, read_state
from kns.plain.stored import Stored
from kns.ports import Clock

log = get_logger(__name__)

_SOON_S = 0.5  # between two looks at a job that starts
_PAUSE_TIMES = 4  # after a look, the next one comes after this many times as long as the cluster took for it
_MOST_DOUBLINGS = 10  # of `_SOON_S`; enough for the limit below, and a float holds no more than a thousand
_MOST_DELAY_S = 120.0  # between two looks at a job whose cluster is slow or silent: its user may have broken it
_KILL_S = 120.0  # for a kill to take effect inside, besides the pod's grace period: the keeper tries again meanwhile
_MOST_WARNINGS = 50


class LiveJobs:
    """Starts jobs in their clusters, and knows how each runs. Safe for use in many threads."""

    def __init__(self, records: Cluster, site: KnsSite, known: KnownJobs, *, clock: Clock) -> None:
        self._records = records
        self._site = site
        self._known = known
        self._clock = clock

    def look(self, obj: Kept, stored: Stored, known: KnownJob) -> None:
        """
        Do what the job needs now, remember what its cluster says, and change `known.due` if the next look must come
        sooner or later than usual. The caller holds `known.lock`.

        Raises:
            KnsError: kns or a cluster did not do it; the next look repeats it.
        """
        known.inside_s = 0.0
        try:
            self._ensure_runs(obj, stored, known)
        finally:  # however slow a cluster is made, it holds up one worker for at most a fifth of the time
            pause_s = min(_PAUSE_TIMES * known.inside_s, _MOST_DELAY_S)
            known.due = max(known.due, self._clock.monotonic() + pause_s)
        if stored.asked == Asked.KILL:
            self._ensure_killed(obj, stored, known)

    def _ensure_runs(self, obj: Kept, stored: Stored, known: KnownJob) -> None:
        try:
            with known.count_time(self._clock):
                pods = known.inner.read_pods(stored.id) or self._start(obj, stored, known)
        except (TransientError, RefusedError) as error:
            self._ask_kns(obj, stored, known, error)
            return
        if pods is None:
            return
        try:
            has_run = self._remember(obj, stored, known, pods)
        except (TransientError, RefusedError) as error:
            self._ask_kns(obj, stored, known, error)
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = UnavailableError(f"its cluster shows a pod that cannot be read: {clip(str(error), 100)}")
            self._ask_kns(obj, stored, known, problem)
            return
        known.failures = 0
        if not has_run:
            known.due = self._clock.monotonic() + _SOON_S
            self._say(stored.id, known, self._read_warning(known, stored.id))

    def _start(self, obj: Kept, stored: Stored, known: KnownJob) -> Sequence[Kept] | None:
        """Create the Kubernetes Job inside. None if the job has ended by this look."""
        try:
            created = known.inner.create_job(build_inner(obj))
        except AlreadyExistsError:
            found = known.inner.read_job(stored.id) or {}
            if any(each.get("type") in ("Failed", "Complete") for each in _conditions(found)):
                if pods := known.inner.read_pods(stored.id):
                    return pods
                ended = read_state(stored, found, None, is_certain=True)
                self._note_end(obj, ended.status, ended.message, has_run=ended.has_run)
                return None
            return ()
        except (RefusedError, InvalidInputError) as error:
            self._note_end(obj, Status.FAILED, f"its cluster does not accept it: {error}")
            return None
        log.info("nested_job_started", job=stored.id, number=known.number, uid=created["metadata"].get("uid"))
        return ()

    def _ask_kns(self, obj: Kept, stored: Stored, known: KnownJob, problem: KnsError) -> None:
        """The cluster did not answer: it may not be there yet, or not any more."""
        try:
            found = self._site.read(known.number)
        except KnsError:
            known.killed = None  # nobody could carry out a kill meanwhile
            raise
        if found is not None and not found.is_ended:
            is_up = found.has_started or bool(known.pods)
            known.failures = min(known.failures + 1, _MOST_DOUBLINGS) if is_up else 0
            known.due = self._clock.monotonic() + min(_SOON_S * 2**known.failures, _MOST_DELAY_S)
            is_refused = isinstance(problem, (ConflictError, ForbiddenError, RefusedError))
            self._say(stored.id, known, clip(str(problem)) if is_up or is_refused else f"its cluster: {found.text}")
            return
        had_run = bool(known.pods) and read_state(stored, obj, choose_pod(known.pods)).has_run
        why = "kns does not know it any more" if found is None else found.text
        status = Status.KILLED if had_run else Status.FAILED
        self._note_end(obj, status, f"its cluster has ended: {why}", has_run=had_run)

    def _ensure_killed(self, obj: Kept, stored: Stored, known: KnownJob) -> None:
        """The cluster is its user's, and may be broken or refuse a kill. Then the job ends with the whole cluster."""
        now = self._clock.monotonic()
        known.killed = now if known.killed is None else known.killed
        if (
            now - known.killed < _KILL_S + read_grace_s(obj)
            or read_state(stored, obj, choose_pod(known.pods)).is_completed
        ):
            return
        log.warning("nested_job_not_killed", job=stored.id, consequence="its cluster is ended")
        self._site.terminate(known.number)
        self._note_end(obj, Status.KILLED, "killed by its user, with its cluster, which did not do it", has_run=True)

    def _note_end(self, obj: Kept, status: Status, message: str, *, has_run: bool = False) -> None:
        state = State(status, replace_halves(clip(message)), has_run=has_run, changed=self._clock.now())
        self._records.patch_job(read_name(obj), {"metadata": {"annotations": {names.END: encode_end(state)}}})

    def _remember(self, obj: Kept, stored: Stored, known: KnownJob, pods: Sequence[Kept]) -> bool:
        """
        Keep the newest pod, and return whether its container has run.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it cannot be read; what was known before stays.
            KnsError: the cluster did not say why the pod was deleted; what was known before stays.
        """
        newest = choose_pod(pods)
        placed: tuple[Kept, ...] = () if newest is None else (self._place(obj, stored, known, newest),)
        has_run = bool(placed) and read_state(stored, obj, placed[0]).has_run
        versions = tuple(
            f"{pod['metadata'].get('uid')} {pod['metadata'].get('resourceVersion')} {pod['status'].get('reason')}"
            for pod in placed
        )
        if versions != known.versions:
            known.pods, known.versions = placed, versions
            self._known.announce(stored.id)
        return has_run

    def _place(self, obj: Kept, stored: Stored, known: KnownJob, pod: Kept) -> Kept:
        """
        What is kept of a pod. The record never has a deadline that has passed, because it is suspended. So the pod says
        that the deadline of the Kubernetes Job inside ended it.
        """
        placed = place_pod(pod, stored.id)
        is_deleted = "deletionTimestamp" in placed["metadata"] and not stored.asked
        if is_deleted and read_state(stored, obj, placed).is_completed:
            with known.count_time(self._clock):
                inner = known.inner.read_job(stored.id) or {}
            if why := explain_deadline(inner):
                placed["status"] = {"reason": DEADLINE, "message": replace_halves(clip(why)), **placed["status"]}
        return placed

    def _say(self, job_id: str, known: KnownJob, text: str) -> None:
        text = replace_halves(text)  # the cluster's user may have written it, and it is in the list of all jobs
        if text != known.text:
            known.text = text
            self._known.announce(job_id)

    def _read_warning(self, known: KnownJob, job_id: str) -> str:
        """
        The newest warning about the job's pod, or about its Kubernetes Job if there is no pod. Of one object alone: a
        list has the Events in the order of their names, and the user's other objects may have any number of them.
        """
        pod = choose_pod(known.pods)
        about = job_id if pod is None else pod["metadata"]["name"]
        query = {"fieldSelector": f"type=Warning,involvedObject.name={about}", "limit": str(_MOST_WARNINGS)}
        try:
            with known.count_time(self._clock):
                found = known.client.request("GET", f"/api/v1/namespaces/{INSIDE}/events", query=query)
            newest = max(found.get("items") or (), key=read_event_time, default=None)
        except (KnsError, KeyError, TypeError, AttributeError):
            return known.text
        return "" if newest is None else clip(f"{newest.get('reason', '')}: {newest.get('message', '')}")


def _conditions(obj: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in (obj.get("status") or {}).get("conditions") or ():
        if each.get("status") == "True":
            yield each
