"""
Looks at nested jobs: what happens to each over time, from its cluster's start to its end.

No watch reports changes in a job's cluster, so `Looks.run` looks at each nested job in turn, at most `LOOKS_PER_S`
times a second in all. A look that takes long holds up no other: looks at jobs that have ended, which may save an
output, have workers of their own. A look is safe to run twice, in two processes, and to be killed after any call: it
decides from the record, from kns and from the job's cluster.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kns.launcher.fields import replace_halves
from kns.launcher.nested.known import KnownJob, KnownJobs
from kns.launcher.nested.outputs import OutputFiles
from kns.launcher.nested.records import is_marked, is_over, read_job_id, read_number
from kns.launcher.nested.rules import INSIDE, build_inner, place_pod, read_grace_s
from kns.launcher.nested.site import KnsSite
from kns.logs import get_logger
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KnsError,
    NotFoundError,
    RefusedError,
    TransientError,
    UnavailableError,
    clip,
)
from kns.model.reading.event_time import read_event_time
from kns.plain import names
from kns.plain.kept import read_name, read_nested_note
from kns.plain.ports import MIXED, Cluster, Kept, LogStream
from kns.plain.state import Asked, State, Status, choose_pod, encode_end, read_state
from kns.plain.stored import Stored, find_container, read_stored, read_time
from kns.ports import Clock

log = get_logger(__name__)

LOOKS_PER_S = 20.0  # through kns, which passes each on; with more than forty jobs, each is looked at less often
_SOON_S = 0.5  # between two looks at a job that starts
_EACH_S = 2.0  # between two looks at a job that runs
_SLOW_S = 1.0  # in the cluster, for one look; a cluster that starts may take so long
_SLOW_TIMES = 4  # after a slower look, the next one comes after this many times as long
_MOST_DOUBLINGS = 10  # of `_SOON_S`; enough for the limit below, and a float holds no more than a thousand
_MOST_DELAY_S = 120.0  # between two looks at a job whose cluster is slow or silent: its user may have broken it
_KILL_S = 120.0  # for a kill to take effect inside, besides the pod's grace period: the keeper tries again meanwhile
_LATE_S = 10.0  # between two looks at a job that has ended and whose cluster remains
LINGER_S = 60.0  # from the end of a job to the end of its cluster: each plugin that knows the job saves the output
GIVE_UP_S = 600.0  # an output that cannot be read does not keep the cluster longer
_MOST_SAVE_S = 60.0  # for one output: whoever sends it slowly holds one of the savers
ORPHAN_S = 600.0  # how often clusters without a record are looked for, and how old they must be
_WORKERS = 8
_SAVERS = 16  # workers for jobs that have ended
_MOST_SAVES_OF_ONE = 2  # of one user, at a time; whoever sends outputs slowly must not make others lose theirs
_MOST_WARNINGS = 50


class Looks:
    """Looks after the nested jobs of one plugin. Safe for use in many threads."""

    def __init__(
        self, records: Cluster, site: KnsSite, known: KnownJobs, *, outputs: OutputFiles, clock: Clock, mark: str
    ) -> None:
        """`mark` is the one in the labels of this plugin's jobs of kns (`records.build_mark`)."""
        self._records = records
        self._site = site
        self._known = known
        self._outputs = outputs
        self._clock = clock
        self._mark = mark
        self._busy: dict[str, bool] = {}  # jobs that a worker has or will look at: whether they have ended
        self._unseen: set[str] | None = None  # live jobs of the first list that were not looked at; None before it
        self._saves: Counter[str] = Counter()  # by user
        self._logs: dict[str, tuple[float, LogStream]] = {}  # by job: until when its output may be read
        self._lock = threading.Lock()  # of all these
        self._orphans_at = clock.monotonic() + ORPHAN_S
        self._suspects: frozenset[int] = frozenset()

    @property
    def is_synced(self) -> bool:
        """Whether every nested job that lives was looked at once."""
        return self._unseen == set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. In a thread of its own."""
        with (
            ThreadPoolExecutor(_WORKERS, thread_name_prefix="nested") as pool,
            ThreadPoolExecutor(_SAVERS, thread_name_prefix="nested-output") as savers,
        ):
            while not stop.is_set():
                self._close_slow_logs()
                try:
                    due = self._list_due()
                except UnavailableError:  # before the caches are filled
                    stop.wait(_SOON_S)
                    continue
                for job_id, has_ended in self._take(due).items():
                    (savers if has_ended else pool).submit(self._look_safely, job_id)
                self._end_orphans_safely()
                stop.wait(max(_SOON_S, min(1.0, len(due) / LOOKS_PER_S)))

    def _take(self, due: Sequence[str]) -> Mapping[str, bool]:
        """
        The next jobs, each for one worker at a time, and whether each has ended. No more than workers can begin soon: a
        job that is submitted meanwhile comes before those that wait here.
        """
        with self._lock:
            if self._unseen is None:
                self._unseen = {job_id for job_id in due if not self._has_ended(job_id)}
            self._unseen &= {*due, *self._busy}
            busy, taken = Counter(self._busy.values()), dict[str, bool]()
            room = {True: 2 * _SAVERS - busy[True], False: 2 * _WORKERS - busy[False]}
            for job_id in due:
                has_ended = self._has_ended(job_id)
                if room[has_ended] > 0 and len(taken) < LOOKS_PER_S:
                    taken[job_id] = has_ended
                    room[has_ended] -= 1
            self._busy.update(taken)
            return taken

    def _has_ended(self, job_id: str) -> bool:
        obj = self._records.find_job(job_id)
        return obj is not None and bool(read_nested_note(obj, names.END))

    def _close_slow_logs(self) -> None:
        """A reader that waits for the next part of an output would not notice that its time is over."""
        with self._lock:
            slow = [stream for until, stream in self._logs.values() if self._clock.monotonic() > until]
        for stream in slow:
            stream.close()

    def _list_records(self) -> list[Kept]:
        return [obj for obj in self._records.list_jobs() if read_number(obj) is not None]

    def _list_due(self) -> list[str]:
        now = self._clock.monotonic()
        records = self._list_records()
        current = {read_name(obj) for obj in records}
        for job_id in self._known.list_ids() - current:
            self._known.forget(job_id)
        due: dict[str, float] = {}
        for obj in records:
            job_id = read_name(obj)
            known = self._known.find(job_id)
            if job_id not in self._busy and not is_over(obj) and (known is None or known.due <= now):
                due[job_id] = 0.0 if known is None else known.due
        return sorted(due, key=lambda job_id: due[job_id])

    def _look_safely(self, job_id: str) -> None:
        try:
            self.look(job_id)
        except KnsError as error:
            log.warning("nested_job_not_kept", job=job_id, error=clip(str(error)))
        except Exception:  # a bug; the other jobs must still be kept
            log.exception("nested_jobs_crashed", job=job_id)
        finally:
            with self._lock:
                self._busy.pop(job_id, None)
                if self._unseen is not None:
                    self._unseen.discard(job_id)

    def look(self, job_id: str) -> None:
        """
        Do what the job needs now, and remember what its cluster says.

        Raises:
            KnsError: kns or a cluster did not do it; the next look repeats it.
        """
        obj = self._records.find_job(job_id)
        if obj is None or is_over(obj) or read_number(obj) is None:
            return
        known = self._known.connect(obj)
        with known.lock:
            known.due = self._clock.monotonic() + _EACH_S
            stored = read_stored(obj)
            if stored.end or stored.asked == Asked.CANCEL:
                known.due = self._clock.monotonic() + _LATE_S
                self._look_after_the_end(stored, known)
            else:
                known.inside_s = 0.0
                try:
                    self._look_while_it_lives(obj, stored, known)
                finally:  # whoever makes a cluster slower than that holds up one worker for a fifth of the time
                    if known.inside_s > _SLOW_S:
                        pause_s = min(_SLOW_TIMES * known.inside_s, _MOST_DELAY_S)
                        known.due = max(known.due, self._clock.monotonic() + pause_s)
                if stored.asked == Asked.KILL:
                    self._ensure_killed(obj, stored, known)

    def _look_while_it_lives(self, obj: Kept, stored: Stored, known: KnownJob) -> None:
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
                self._note_end(obj, Status.KILLED, "its pod was deleted", has_run=True)
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

    def _look_after_the_end(self, stored: Stored, known: KnownJob) -> None:
        """Save the output while there is a cluster, then end the cluster."""
        ended = read_time(stored.end.get("ended"))
        pod = str(stored.end.get("pod") or "")
        is_saved = not (stored.end.get("hasRun") and pod) or self._outputs.has(stored.id)
        if not is_saved:
            saved = self._save(stored, known, pod)
            if saved is None:  # it has its turn
                known.due = self._clock.monotonic() + _EACH_S
                return
            is_saved = saved
        age_s = (self._clock.now() - ended).total_seconds() if ended else LINGER_S
        lingers = bool(stored.end.get("hasRun")) and age_s < LINGER_S
        if (is_saved and not lingers) or age_s > GIVE_UP_S:
            self._site.terminate(known.number)
            self._records.patch_job(stored.id, {"metadata": {"annotations": {names.NESTED_OVER: "true"}}})
            self._known.forget(stored.id)

    def _save(self, stored: Stored, known: KnownJob, pod: str) -> bool | None:
        """Whether there is nothing left to save; None if the user's other outputs must be saved first."""
        user = stored.job.user
        with self._lock:
            if self._saves[user] >= _MOST_SAVES_OF_ONE:
                return None
            self._saves[user] += 1
        try:
            return self._read_output(stored, known, pod)
        finally:
            with self._lock:
                self._saves[user] -= 1
                if not self._saves[user]:
                    del self._saves[user]

    def _read_output(self, stored: Stored, known: KnownJob, pod: str) -> bool:
        try:
            pods = [each for each in known.inner.read_pods(stored.id) if each["metadata"]["name"] == pod]
            container = str(find_container(pods[0]["spec"]).get("name") or "") if pods else ""
            if not container:
                return True
            until = self._clock.monotonic() + _MOST_SAVE_S
            stream = known.inner.open_log(pod, container, stream=MIXED, since="", follow=False)
            with self._lock:
                self._logs[stored.id] = (until, stream)
            try:
                self._outputs.store(stored.id, self._read_in_time(stream, until))
            finally:
                with self._lock:
                    del self._logs[stored.id]
                stream.close()
        except (NotFoundError, RefusedError, KeyError, TypeError, AttributeError):
            return True  # the pod, or its log, is gone, or it is none that Kubernetes makes
        except KnsError as error:
            log.warning("nested_output_not_saved", job=stored.id, error=clip(str(error)))
            found = self._site.read(known.number)
            return found is None or found.is_ended
        return True

    def _read_in_time(self, stream: LogStream, until: float) -> Iterator[bytes]:
        """
        The parts of an output.

        Raises:
            UnavailableError: it takes too long.
        """
        for part in itertools.chain(stream, (b"",)):  # a stream that was closed ends like a complete one
            if self._clock.monotonic() > until:
                raise UnavailableError(f"the output is not complete after {_MOST_SAVE_S:.0f} s")
            yield part

    def _remember(self, obj: Kept, stored: Stored, known: KnownJob, pods: Sequence[Kept]) -> bool:
        """
        Keep the newest pod, and return whether its container has run.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it cannot be read; what was known before stays.
        """
        newest = choose_pod(pods)
        placed: tuple[Kept, ...] = () if newest is None else (place_pod(newest, stored.id),)
        has_run = bool(placed) and read_state(stored, obj, placed[0]).has_run
        versions = tuple(f"{pod['metadata'].get('uid')} {pod['metadata'].get('resourceVersion')}" for pod in placed)
        if versions != known.versions:
            known.pods, known.versions = placed, versions
            self._known.announce(stored.id)
        return has_run

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

    def _end_orphans_safely(self) -> None:
        if self._clock.monotonic() < self._orphans_at:
            return
        self._orphans_at = self._clock.monotonic() + ORPHAN_S
        try:
            self.end_orphans()
            self.remove_left_outputs()
        except KnsError as error:
            log.warning("nested_orphans_not_ended", error=clip(str(error)))

    def end_orphans(self) -> None:
        """
        End clusters of this plugin that have no record, and had none at the call before: a process was killed between
        the two, or its record was deleted by hand. The API server is asked before, because a watch may be late.
        """
        found = self._site.list_live(self._mark)
        numbers = {read_number(obj) for obj in self._list_records()}
        lost = frozenset(
            number for number, label in found.items() if is_marked(label, self._mark) and number not in numbers
        )
        for number in sorted(lost & self._suspects):
            if self._has_record(number, found[number]):
                continue
            log.warning("nested_orphan_ended", number=number)
            self._site.terminate(number)
        self._suspects = lost

    def remove_left_outputs(self) -> None:
        """Remove outputs without a record: another plugin deleted it when its job expired."""
        known = {read_name(obj) for obj in self._records.list_jobs()}
        self._outputs.remove_left(known, before=self._clock.now().timestamp() - ORPHAN_S)

    def _has_record(self, number: int, label: str) -> bool:
        job_id = read_job_id(label)
        obj = self._records.read_job(job_id) if job_id else None
        return obj is not None and read_number(obj) == number


def _conditions(obj: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in (obj.get("status") or {}).get("conditions") or ():
        if each.get("status") == "True":
            yield each
