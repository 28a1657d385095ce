"""
The cluster of the plugin's jobs, some of which are nested (`kns.plain.ports.Cluster`).

Records, of plain and of nested jobs, are in the plugin's namespace, and all calls about them go there. Calls about the
pod of a nested job go through kns to the job's own cluster. Nobody tells of changes there, so `NestedJobs.run` looks at
each nested job in turn, at most `LOOKS_PER_S` times a second in all.

A look is safe to run twice, in two processes, and to be killed after any call: it decides from the record, from kns and
from the job's cluster.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.namespaced import NamespacedCluster
from kns.launcher.nested.outputs import OutputFiles
from kns.launcher.nested.rules import INSIDE, build_inner, build_record, check_nested, choose_machine, place_pod
from kns.launcher.nested.site import KnsSite
from kns.logs import get_logger
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KnsError,
    MetricsMissingError,
    NotFoundError,
    RefusedError,
    TransientError,
    UnavailableError,
    clip,
)
from kns.plain import names
from kns.plain.kept import KEEP, read_name, read_nested_note
from kns.plain.ports import MIXED, Cluster, Kept, LogStream
from kns.plain.state import Asked, State, Status, choose_pod, encode_end, read_state
from kns.plain.stored import Object, Stored, find_container, is_own, read_stored, read_time
from kns.ports import Clock

log = get_logger(__name__)

LOOKS_PER_S = 20.0  # through kns, which passes each on; with more than forty jobs, each is looked at less often
_SOON_S = 0.5  # between two looks at a job that starts
_EACH_S = 2.0  # between two looks at a job that runs
_MOST_DELAY_S = 120.0  # between two looks at a job whose cluster does not answer: its user may have broken it
_LATE_S = 10.0  # between two looks at a job that has ended and whose cluster remains
LINGER_S = 60.0  # from the end of a job to the end of its cluster: each plugin that knows the job saves the output
GIVE_UP_S = 600.0  # an output that cannot be read does not keep the cluster longer
ORPHAN_S = 600.0  # how often clusters without a record are looked for, and how old they must be
_WORKERS = 8
_MOST_WARNINGS = 50
_WHOLE: Mapping[str, Callable[[Object], Kept]] = {kind: lambda obj: obj for kind in KEEP}
_NO_SERVICE: Kept = {"spec": {"ports": []}}  # a nested job is reached at its pod's address


@dataclass(slots=True)
class _Nested:
    """What this process knows of one nested job. Everything is read again after a restart."""

    number: int
    client: KubeClient
    inner: NamespacedCluster
    pods: Sequence[Kept] = ()
    versions: tuple[str, ...] = ()
    text: str = ""
    failures: int = 0  # looks without an answer, one after the other
    due: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class NestedJobs:
    """Implements `kns.plain.ports.Cluster` over that of the records. Safe for use in many threads."""

    def __init__(
        self, records: Cluster, site: KnsSite, *, outputs: OutputFiles, clock: Clock, place: str, machine: str = ""
    ) -> None:
        """
        `place` identifies the records among those of all plugins that use the same account of kns. `machine` is the one
        for all jobs, "" for the smallest that fits.
        """
        self._records = records
        self._site = site
        self._outputs = outputs
        self._clock = clock
        self._machine = machine
        self._mark = f"posit-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
        self._listeners: list[Callable[[str], None]] = []
        self._known: dict[str, _Nested] = {}
        self._saved: dict[str, tuple[Kept]] = {}
        self._lock = threading.Lock()
        self._looked = threading.Event()
        self._orphans_at = clock.monotonic() + ORPHAN_S
        self._suspects: frozenset[int] = frozenset()

    # --- looking after nested jobs

    @property
    def is_synced(self) -> bool:
        """Whether every nested job that lives was looked at once."""
        return self._looked.is_set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. In a thread of its own."""
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="nested") as pool:
            while not stop.is_set():
                try:
                    due = self._list_due()
                except UnavailableError:  # before the caches are filled
                    stop.wait(_SOON_S)
                    continue
                list(pool.map(self._look_safely, due[: int(LOOKS_PER_S)]))
                if len(due) <= LOOKS_PER_S:
                    self._looked.set()
                self._end_orphans_safely()
                stop.wait(max(_SOON_S, min(1.0, len(due) / LOOKS_PER_S)))

    def close(self) -> None:
        """Close the connections to all clusters. Looks open them again."""
        for job_id in self._known.copy():
            self._forget(job_id)

    def _list_records(self) -> list[Kept]:
        return [obj for obj in self._records.list_jobs() if _number_of(obj) is not None]

    def _list_due(self) -> list[str]:
        now = self._clock.monotonic()
        records = self._list_records()
        current = {read_name(obj) for obj in records}
        for job_id in set(self._known.copy()) - current:
            self._forget(job_id)
        due = []
        for obj in records:
            job_id = read_name(obj)
            known = self._known.get(job_id)
            if not _is_over(obj) and (known is None or known.due <= now):
                due.append(job_id)
        return sorted(due, key=lambda job_id: self._known[job_id].due if job_id in self._known else 0.0)

    def _look_safely(self, job_id: str) -> None:
        try:
            self.look(job_id)
        except KnsError as error:
            log.warning("nested_job_not_kept", job=job_id, error=clip(str(error)))
        except Exception:  # a bug; the other jobs must still be kept
            log.exception("nested_jobs_crashed", job=job_id)

    def look(self, job_id: str) -> None:
        """
        Do what the job needs now, and remember what its cluster says.

        Raises:
            KnsError: kns or a cluster did not do it; the next look repeats it.
        """
        obj = self._records.find_job(job_id)
        if obj is None or _is_over(obj) or _number_of(obj) is None:
            return
        known = self._know(obj)
        with known.lock:
            known.due = self._clock.monotonic() + _EACH_S
            stored = read_stored(obj)
            if stored.end or stored.asked == Asked.CANCEL:
                known.due = self._clock.monotonic() + _LATE_S
                self._look_after_the_end(stored, known)
            else:
                self._look_while_it_lives(obj, stored, known)

    def _look_while_it_lives(self, obj: Kept, stored: Stored, known: _Nested) -> None:
        try:
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

    def _start(self, obj: Kept, stored: Stored, known: _Nested) -> Sequence[Kept] | None:
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

    def _ask_kns(self, obj: Kept, stored: Stored, known: _Nested, problem: KnsError) -> None:
        """The cluster did not answer: it may not be there yet, or not any more."""
        found = self._site.read(known.number)
        if found is not None and not found.is_ended:
            is_up = found.has_started or bool(known.pods)
            known.failures = known.failures + 1 if is_up else 0
            known.due = self._clock.monotonic() + min(_SOON_S * 2**known.failures, _MOST_DELAY_S)
            is_refused = isinstance(problem, (ConflictError, ForbiddenError, RefusedError))
            self._say(stored.id, known, clip(str(problem)) if is_up or is_refused else f"its cluster: {found.text}")
            return
        had_run = bool(known.pods) and read_state(stored, obj, choose_pod(known.pods)).has_run
        why = "kns does not know it any more" if found is None else found.text
        status = Status.KILLED if had_run else Status.FAILED
        self._note_end(obj, status, f"its cluster has ended: {why}", has_run=had_run)

    def _note_end(self, obj: Kept, status: Status, message: str, *, has_run: bool = False) -> None:
        state = State(status, clip(message), has_run=has_run, changed=self._clock.now())
        self._records.patch_job(read_name(obj), {"metadata": {"annotations": {names.END: encode_end(state)}}})

    def _look_after_the_end(self, stored: Stored, known: _Nested) -> None:
        """Save the output while there is a cluster, then end the cluster."""
        ended = read_time(stored.end.get("ended"))
        pod = str(stored.end.get("pod") or "")
        is_saved = not (stored.end.get("hasRun") and pod) or self._outputs.has(stored.id)
        if not is_saved:
            is_saved = self._save(stored, known, pod)
        age_s = (self._clock.now() - ended).total_seconds() if ended else LINGER_S
        lingers = bool(stored.end.get("hasRun")) and age_s < LINGER_S
        if (is_saved and not lingers) or age_s > GIVE_UP_S:
            self._site.terminate(known.number)
            self._records.patch_job(stored.id, {"metadata": {"annotations": {names.NESTED_OVER: "true"}}})
            self._forget(stored.id)

    def _save(self, stored: Stored, known: _Nested, pod: str) -> bool:
        """Whether there is nothing left to save."""
        try:
            pods = [each for each in known.inner.read_pods(stored.id) if each["metadata"]["name"] == pod]
            container = str(find_container(pods[0]["spec"]).get("name") or "") if pods else ""
            if not container:
                return True
            stream = known.inner.open_log(pod, container, stream=MIXED, since="", follow=False)
            try:
                self._outputs.store(stored.id, stream)
            finally:
                stream.close()
        except (NotFoundError, RefusedError, KeyError, TypeError, AttributeError):
            return True  # the pod, or its log, is gone, or it is none that Kubernetes makes
        except UnavailableError as error:
            found = self._site.read(known.number)
            log.warning("nested_output_not_saved", job=stored.id, error=clip(str(error)))
            return found is None or found.is_ended
        return True

    def _know(self, obj: Kept) -> _Nested:
        job_id, number = read_name(obj), _number_of(obj)
        assert number is not None  # noqa: S101 - only nested records come here
        with self._lock:
            known = self._known.get(job_id)
            if known is None:
                client = self._site.connect(number)
                inner = NamespacedCluster(client, namespace=INSIDE, selector="", clock=self._clock, keep=_WHOLE)
                known = self._known[job_id] = _Nested(number, client, inner)
            return known

    def _forget(self, job_id: str) -> None:
        with self._lock:
            known = self._known.pop(job_id, None)
        if known is not None:
            known.client.close()

    def _remember(self, obj: Kept, stored: Stored, known: _Nested, pods: Sequence[Kept]) -> bool:
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
            self._announce(stored.id)
        return has_run

    def _say(self, job_id: str, known: _Nested, text: str) -> None:
        if text != known.text:
            known.text = text
            self._announce(job_id)

    def _read_warning(self, known: _Nested, job_id: str) -> str:
        query = {"fieldSelector": "type=Warning", "limit": str(_MOST_WARNINGS)}
        try:
            found = known.client.request("GET", f"/api/v1/namespaces/{INSIDE}/events", query=query)
            about = [
                (str(each.get("lastTimestamp") or each["metadata"].get("creationTimestamp") or ""), each)
                for each in found.get("items") or ()
                if str((each.get("involvedObject") or {}).get("name", "")).startswith(job_id)
            ]
        except (KnsError, KeyError, TypeError, AttributeError):
            return known.text
        if not about:
            return ""
        newest = max(about, key=lambda pair: pair[0])[1]
        return clip(f"{newest.get('reason', '')}: {newest.get('message', '')}")

    def _announce(self, job_id: str) -> None:
        for listener in self._listeners:
            listener(job_id)

    # --- clusters without a record

    def _end_orphans_safely(self) -> None:
        if self._clock.monotonic() < self._orphans_at:
            return
        self._orphans_at = self._clock.monotonic() + ORPHAN_S
        try:
            self.end_orphans()
        except KnsError as error:
            log.warning("nested_orphans_not_ended", error=clip(str(error)))

    def end_orphans(self) -> None:
        """
        End clusters of this plugin that have no record, and had none at the call before: a process was killed between
        the two, or its record was deleted by hand.
        """
        found = self._site.list_live(self._mark)
        numbers = {_number_of(obj) for obj in self._list_records()}
        lost = frozenset(
            number for number, label in found.items() if label.startswith(f"{self._mark} ") and number not in numbers
        )
        for number in sorted(lost & self._suspects):
            log.warning("nested_orphan_ended", number=number)
            self._site.terminate(number)
        self._suspects = lost

    # --- the port: records

    def list_jobs(self) -> Sequence[Kept]:
        return self._records.list_jobs()

    def find_job(self, name: str) -> Kept | None:
        return self._records.find_job(name)

    def read_job(self, name: str) -> Kept | None:
        return self._records.read_job(name)

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> None:
        self._records.patch_job(name, patch)

    def create_job(self, obj: Object) -> Kept:
        if not (is_own(obj) and read_stored(obj).job.nested):
            return self._records.create_job(obj)
        check_nested(obj)
        machine = choose_machine(obj, self._site.list_machines(), wanted=self._machine)
        job_id = read_name(obj)
        number = self._site.submit(f"{self._mark} {job_id}", machine, key=f"{self._mark}-{job_id}")
        try:
            return self._records.create_job(build_record(obj, number))
        except UnavailableError:
            raise  # the record may appear yet; without one, the cluster is an orphan
        except KnsError:
            self._site.terminate(number)
            raise

    def delete_job(self, name: str, *, uid: str) -> None:
        obj = self._records.find_job(name)
        number = None if obj is None else _number_of(obj)
        if obj is not None and number is not None and not _is_over(obj):
            self._site.terminate(number)
        self._records.delete_job(name, uid=uid)
        self._outputs.discard(name)
        self._saved.pop(name, None)
        self._forget(name)

    # --- the port: what belongs to a job

    def list_pods(self, job: str) -> Sequence[Kept]:
        obj = self._records.find_job(job)
        if obj is None or _number_of(obj) is None:
            return self._records.list_pods(job)
        known = self._known.get(job)
        if known is not None and known.pods:
            return known.pods
        return self._find_saved(job, obj)

    def _find_saved(self, job: str, obj: Kept) -> Sequence[Kept]:
        """After the end of its cluster, a job has a pod in name only, as long as its output is here."""
        pod = _pod_at_the_end(obj)
        if not pod or not self._outputs.has(job):
            return ()
        known = self._saved.get(job)
        if known is None or known[0]["metadata"]["name"] != pod:
            known = self._saved[job] = (_saved_pod(pod, job),)  # the same object each time: views are made once
        return known

    def read_pods(self, job: str) -> Sequence[Kept]:
        obj = self._records.find_job(job)
        if obj is None or _number_of(obj) is None:
            return self._records.read_pods(job)
        self.look(job)
        return self.list_pods(job)

    def find_service(self, name: str) -> Kept | None:
        obj = self._records.find_job(name)  # a Service has the name of its job
        return self._records.find_service(name) if obj is None or _number_of(obj) is None else _NO_SERVICE

    def create_service(self, obj: Object) -> None:
        self._records.create_service(obj)

    def delete_service(self, name: str) -> None:
        obj = self._records.find_job(name)
        if obj is None or _number_of(obj) is None:
            self._records.delete_service(name)

    def find_warning(self, names_: Sequence[str]) -> str:
        known = next((self._known[each] for each in names_ if each in self._known), None)
        return self._records.find_warning(names_) if known is None else known.text

    def patch_pod(self, name: str, patch: Mapping[str, Any]) -> None:
        self._of_pod(name).patch_pod(name, patch)

    def open_log(self, pod: str, container: str, *, stream: str, since: str, follow: bool) -> LogStream:
        job, inner = self._find_pod(pod)
        if job is None:
            return self._records.open_log(pod, container, stream=stream, since=since, follow=follow)
        if stream != MIXED:
            raise RefusedError(f"log of {pod}: the output of a nested job is not separated")
        if (saved := self._outputs.open(job)) is not None:
            return saved
        if inner is None:
            raise NotFoundError(f"log of {pod}: the job's cluster is gone")
        return inner.open_log(pod, container, stream=stream, since=since, follow=follow)

    def can_split_streams(self) -> bool:
        return self._records.can_split_streams()

    def run_in(self, pod: str, container: str, command: Sequence[str]) -> tuple[int, str]:
        return self._of_pod(pod).run_in(pod, container, command)

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        self._of_pod(pod).send_input(pod, container, data)

    def read_usage(self, pod: str) -> Mapping[str, Mapping[str, str]] | None:
        job, inner = self._find_pod(pod)
        if job is None:
            return self._records.read_usage(pod)
        known = self._known.get(job)
        if known is None or inner is None:
            return None
        try:
            found = self._site.read_usage(known.number)
        except InvalidInputError as error:
            raise MetricsMissingError(str(error)) from error
        if found is None:
            return None
        usage = {"cpu": f"{found.millicores}m", "memory": f"{found.memory_kib}Ki"}
        containers = ((choose_pod(known.pods) or {}).get("spec") or {}).get("containers") or ()
        return {each["name"]: usage for each in containers}

    def read_node(self, name: str) -> Object | None:
        """None for the place of a nested job, which is its pod's address: addresses of its node would lead nowhere."""
        with self._lock:
            places = {str(pod["spec"].get("nodeName")) for each in self._known.values() for pod in each.pods}
        return None if name in places else self._records.read_node(name)

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        self._listeners.append(on_change)
        self._records.subscribe(on_change)

    def _find_pod(self, pod: str) -> tuple[str | None, NamespacedCluster | None]:
        """The nested job of a pod, and its cluster; (None, None) for the pod of a plain job."""
        with self._lock:
            known = list(self._known.items())
        for job_id, each in known:
            if any(found["metadata"]["name"] == pod for found in each.pods):
                return job_id, each.inner
        for obj in self._list_records():
            if _pod_at_the_end(obj) == pod:
                return read_name(obj), None
        return None, None

    def _of_pod(self, pod: str) -> Cluster:
        job, inner = self._find_pod(pod)
        if job is None:
            return self._records
        if inner is None:
            raise NotFoundError(f"pod {pod}: the job's cluster is gone")
        return inner


def _number_of(obj: Kept) -> int | None:
    """The job of kns of a nested job; None for a plain one."""
    text = read_nested_note(obj, names.NESTED)
    return int(text) if text.isascii() and text.isdigit() else None


def _pod_at_the_end(obj: Kept) -> str:
    """The name of the pod of a job that has ended, "" if it has none."""
    text = read_nested_note(obj, names.END)
    if not text:
        return ""
    try:
        return str(json.loads(text).get("pod") or "")
    except (ValueError, AttributeError):  # somebody changed it by hand
        return ""


def _is_over(obj: Kept) -> bool:
    return read_nested_note(obj, names.NESTED_OVER) == "true"


def _conditions(obj: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in (obj.get("status") or {}).get("conditions") or ():
        if each.get("status") == "True":
            yield each


def _saved_pod(name: str, job: str) -> Kept:
    return {
        "metadata": {"name": name, "labels": {names.JOB_NAME_LABEL: job}},
        "spec": {"containers": [{"name": names.CONTAINER}]},
        "status": {},
    }
