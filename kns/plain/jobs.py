"""
Use cases on plain jobs: submit, find, control, network, usage. No front end's words, and no memory: each answer is read
from the cluster, through its watch caches.

`subscribe` reports each job that changed. Output is in `kns.plain.output`, what must be done without a request is in
`kns.plain.keeper`.
"""

import contextlib
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kns.model import names as kns_names
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KnsError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    clip,
)
from kns.model.reading.quantity import parse_quantity
from kns.plain import names
from kns.plain.control import RULES, Operation, signal_command
from kns.plain.errors import ControlError, InvalidStateError, NotRunningError, UnknownJobError
from kns.plain.inputs import InputFiles
from kns.plain.job import PlainJob, Protocol
from kns.plain.kept import read_kept, read_name, unpack
from kns.plain.objects import mark_job, mark_service
from kns.plain.ports import Cluster, Kept
from kns.plain.state import Asked, State, Status, choose_pod, read_state
from kns.plain.stored import Object, Stored, is_own

EVERYBODY = "*"  # as a user: all jobs
_ID = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # as the API server's: no word can come out
_SUFFIX = 5
_LONGEST_NAME = 63  # the name of a Kubernetes Job is also a label of its pod
_CREATE_TRIES = 5
_CONFLICT_TRIES = 5
# A patch of a pod. Its deadline counts from its start, so the node ends its containers at once. The pod and its logs
# stay.
END_NOW: Mapping[str, Any] = {"spec": {"activeDeadlineSeconds": 1}}
_MEBIBYTE = 1024 * 1024
_MOST_OLD_VIEWS = 100  # of jobs that are gone
_MOST_FAILED = 1000  # submissions without an answer, whose jobs may appear while the cluster comes back


@dataclass(frozen=True, slots=True)
class Build:
    """How a front end builds the objects of one job: by the builders of `kns.plain.objects`, or by a template."""

    job: Callable[[PlainJob, str], Object]
    """The Kubernetes Job from the job and its `generateName`."""
    service: Callable[[PlainJob, str, str], Object]
    """The Service from the job, its id and the name of the Service."""


@dataclass(frozen=True, slots=True)
class View:
    """A job, its state, and the port of the node for each port of its Service, where the cluster assigned one."""

    id: str
    job: PlainJob
    stored: Stored
    state: State
    published: Mapping[tuple[int, Protocol], int]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a job's container uses: per cent of one processor, and mebibytes of resident memory."""

    cpu_percent: float
    resident_mb: float


@dataclass(frozen=True, slots=True)
class Controlled:
    """`is_complete` is False if the node carries it out later. `message` is for people, "" if there is none."""

    is_complete: bool
    message: str = ""


class PlainJobs:
    """The jobs of one front end's `cluster` in one namespace. Safe for use in many threads."""

    def __init__(self, cluster: Cluster, *, name: str, build: Build, inputs: InputFiles) -> None:
        self._cluster = cluster
        self._name = name
        self._label = kns_names.label_value(name)
        self._build = build
        self._inputs = inputs
        self._listeners: list[Callable[[str], None]] = []
        self._waiting: dict[str, set[threading.Event]] = {}
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, None] = OrderedDict()
        self._views: dict[str, tuple[_Sources, View]] = {}
        cluster.subscribe(self._announce)

    # --- changes

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of each job that changed or disappeared. It must not block."""
        self._listeners.append(listener)

    def watch(self, job_id: str, event: threading.Event) -> None:
        """Set `event` at each change of the job, until `unwatch`."""
        with self._lock:
            self._waiting.setdefault(job_id, set()).add(event)

    def unwatch(self, job_id: str, event: threading.Event) -> None:
        with self._lock:
            waiting = self._waiting.get(job_id, set())
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(job_id, None)

    def _announce(self, job_id: str) -> None:
        with self._lock:
            waiting = tuple(self._waiting.get(job_id, ()))
        for event in waiting:
            event.set()
        for listener in self._listeners:
            listener(job_id)

    # --- find

    def list_views(self, user: str = EVERYBODY) -> list[View]:
        """All jobs that the user may see, the oldest first."""
        views = [view for obj in self._cluster.list_jobs() if (view := self._view(obj)) is not None]
        self._forget_views({view.id for view in views})
        seen = [view for view in views if user in (EVERYBODY, view.job.user)]
        return sorted(seen, key=lambda view: (view.stored.submitted, view.id))

    def find(self, job_id: str, user: str = EVERYBODY) -> View:
        """
        Raises:
            UnknownJobError: there is no such job, or it belongs to another user.
        """
        obj = self._find_object(job_id)
        view = None if obj is None else self._view(obj)
        if view is None or user not in (EVERYBODY, view.job.user):
            raise UnknownJobError(f"Job {job_id} could not be found for user {user}")
        return view

    def peek(self, job_id: str) -> View | None:
        """The job if the watch cache has it. No call to the cluster."""
        obj = self._cluster.find_job(job_id)
        return None if obj is None else self._view(obj)

    def confirm(self, job_id: str) -> View | None:
        """
        Like `peek`, but a job that has ended, and whose end nobody has stored yet, is read from the API server.

        The watch of the Jobs may be behind that of the pods. Then a pod is seen to end before the annotation of another
        process that says who ended it.

        Raises:
            KnsError: the API server did not answer.
        """
        view = self.peek(job_id)
        if view is None or not view.state.is_completed or view.stored.end:
            return view
        obj = self._cluster.read_job(job_id)
        return None if obj is None else self._view(obj)

    def resolve(self, job_id: str) -> View | None:
        """
        The job whose state is unsure, after asking the API server for its pods. None if the job is gone.

        Raises:
            KnsError: the API server did not answer.
        """
        pods = self._cluster.read_pods(job_id)
        obj = self._cluster.find_job(job_id)
        view = None if obj is None else self._view(obj)
        if obj is None or view is None or not view.state.is_unsure:
            return view
        return self._view(obj, choose_pod(pods), is_certain=True)

    def _find_object(self, job_id: str) -> Kept | None:
        if not _ID.fullmatch(job_id):  # the id becomes a part of a URL
            return None
        obj = self._cluster.find_job(job_id)
        if obj is None:  # another instance may have created it a moment ago
            obj = self._cluster.read_job(job_id)
        return obj

    def _is_ours(self, obj: Kept) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return is_own(obj) and labels.get(names.LABEL) == self._label

    def _view(self, obj: Kept, pod: Kept | None = None, *, is_certain: bool = False) -> View | None:
        """
        What the objects say; None if the job is not one of ours. The view of unchanged objects is used again: a list of
        many jobs, asked for again and again, would otherwise decode each of them each time.
        """
        job_id = read_name(obj)
        if not is_certain:
            pod = choose_pod(self._cluster.list_pods(job_id))
        service = self._cluster.find_service(names.service_name(job_id))
        about = [job_id] if pod is None else [pod["metadata"]["name"], job_id]
        made_from = (obj, pod, service, self._cluster.find_warning(about))
        known = self._views.get(job_id)
        if known is not None and not is_certain and _are_same(known[0], made_from):
            return known[1]
        whole = unpack(obj)
        if not self._is_ours(whole):
            return None
        stored = read_kept(obj, whole)
        state = read_state(stored, whole, pod, warning=made_from[3], is_certain=is_certain)
        view = View(stored.id, stored.job, stored, state, _read_published(service))
        if not is_certain:
            with self._lock:
                self._views[job_id] = (made_from, view)
        return view

    def _forget_views(self, current: Collection[str]) -> None:
        """Drop the views of jobs that are gone, once they are the most."""
        with self._lock:
            if len(self._views) > 2 * len(current) + _MOST_OLD_VIEWS:
                self._views = {job_id: view for job_id, view in self._views.items() if job_id in current}

    # --- submit

    def submit(self, job: PlainJob, *, check: Callable[[], None] = lambda: None) -> View:
        """
        Create the job's objects. `check` is called before each try to create the first one: a site's template may take
        its time, and so may the tries.

        Raises:
            KnsError: what `check` raises; nothing was created.
            InvalidInputError: the job cannot be created; nothing was created.
            KnsError: the cluster refused it or did not answer; nothing was created, as far as that is known.
        """
        generate_name = names.generate_name(job.name, job.user)
        obj = self._build.job(job, generate_name)
        if job.service_ports:  # a template that cannot be rendered must fail before anything exists
            self._build.service(job, f"{generate_name}xxxxx", names.service_name(f"{generate_name}xxxxx"))
        marked = mark_job(
            obj, job, cluster=self._name, generate_name=generate_name, stdin_token="true" if job.stdin else ""
        )
        created = self._create(marked, job, check)
        if job.service_ports:
            self._create_first_service(created, job)
        view = self._view(created)
        if view is None:
            raise UnavailableError(f"create Job {read_name(created)}: the cluster removed its label or annotation")
        return view

    def _create(self, marked: Object, job: PlainJob, check: Callable[[], None]) -> Kept:
        meta = marked["metadata"]
        stem = str(meta.pop("generateName", "") or meta.get("name", ""))[: _LONGEST_NAME - _SUFFIX]
        if not _ID.fullmatch(f"{stem}x"):  # before it becomes a part of a URL and the name of a file
            raise InvalidInputError("job.tpl", f"makes the name {clip(stem)!r}; use lower-case letters, digits and -")
        problem: KnsError | None = None
        for _ in range(_CREATE_TRIES):
            check()
            job_id = stem + "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))
            if job.stdin:
                self._inputs.store(job_id, job.stdin, user=job.user)
            try:
                return self._create_named({**marked, "metadata": {**meta, "name": job_id}}, job_id)
            except UnavailableError:
                # The job may appear yet, though its user reads that it failed, and may submit it again.
                self._note_failed(job_id)
                raise
            except (AlreadyExistsError, ConflictError) as error:  # a conflict is about a quota that many jobs change
                self._inputs.discard(job_id)
                problem = error
            except KnsError:
                self._inputs.discard(job_id)
                raise
        raise UnavailableError(f"{problem}; submit the job again") from problem

    def _note_failed(self, job_id: str) -> None:
        with self._lock:
            self._failed[job_id] = None
            while len(self._failed) > _MOST_FAILED:
                self._failed.popitem(last=False)

    def has_failed(self, job_id: str) -> bool:
        """Whether this process said that the submission failed."""
        return job_id in self._failed

    def _create_named(self, obj: Object, job_id: str) -> Kept:
        try:
            return self._cluster.create_job(obj)
        except UnavailableError:
            # The request may have been carried out without its answer. Only this call knows the name.
            found = self._cluster.read_job(job_id)
            if found is None:
                raise
            return found

    def _create_first_service(self, created: Kept, job: PlainJob) -> None:
        """A Service that the cluster refuses would leave a job that nobody can reach. The keeper repeats the rest."""
        try:
            self.ensure_service(created, job)
        except (RefusedError, InvalidInputError, ForbiddenError):
            self._note_failed(read_name(created))  # so that the keeper deletes the job if this call does not
            self._inputs.discard(read_name(created))
            with contextlib.suppress(KnsError):
                self._cluster.delete_job(read_name(created), uid=created["metadata"]["uid"])
            raise
        except KnsError:
            return

    def ensure_service(self, obj: Kept, job: PlainJob) -> None:
        job_id = read_name(obj)
        service = names.service_name(job_id)
        if not job.service_ports or self._cluster.find_service(service) is not None:
            return
        built = self._build.service(job, job_id, service)
        self._cluster.create_service(mark_service(built, cluster=self._name, service=service, job_object=obj))

    # --- control

    def control(self, job_id: str, operation: Operation, user: str = EVERYBODY) -> Controlled:
        """
        Raises:
            UnknownJobError: as `find`.
            InvalidStateError: the job is not in the right state.
            ControlError: the cluster or the container did not do it.
        """
        view, rule = self.find(job_id, user), RULES[operation]
        if view.state.status is not rule.needs:
            raise InvalidStateError(f"{rule.refusal}; job {job_id} is {view.state.status}")
        try:
            if operation is Operation.CANCEL:
                return self._cancel(view)
            if operation in (Operation.SUSPEND, Operation.RESUME):
                return self._hold(view, rule.signal, hold=operation is Operation.SUSPEND)
            return self._end(view, rule.signal, str(rule.asked))
        except NotFoundError as error:
            raise ControlError(f"cannot {operation} job {job_id}: {error}") from error

    def _cancel(self, view: View) -> Controlled:
        """A suspended Kubernetes Job has no pods, and remains as the record of the job until it expires."""
        for attempt in range(_CONFLICT_TRIES):
            # The version in the patch makes sure that nothing changed since; what is in memory is seldom old.
            obj = self._cluster.find_job(view.id) if attempt == 0 else None
            if obj is None:
                obj = self._cluster.read_job(view.id)
            found = None if obj is None else self._view(obj)
            if obj is None or found is None:
                raise ControlError(f"cannot cancel job {view.id}: it was deleted")
            view = found
            if view.state.status is not Status.PENDING:
                raise InvalidStateError(f"{RULES[Operation.CANCEL].refusal}; job {view.id} is {view.state.status}")
            patch = {
                "metadata": {
                    "resourceVersion": obj["metadata"]["resourceVersion"],
                    "annotations": {names.ASKED: str(Operation.CANCEL)},
                },
                "spec": {"suspend": True},
            }
            try:
                self._cluster.patch_job(view.id, patch)
            except ConflictError:
                continue
            return Controlled(is_complete=True)
        raise ControlError(f"cannot cancel job {view.id}: it changes too quickly; try again")

    def _hold(self, view: View, signal: str, *, hold: bool) -> Controlled:
        if not view.job.share_process_namespace:
            raise ControlError(
                f"cannot suspend or resume job {view.id}: its containers do not share a process namespace; set "
                "shared-process-namespace=1 and start the job again"
            )
        if problem := self._signal(view, signal):
            raise ControlError(f"cannot send SIG{signal} to job {view.id}: {problem}")
        self._annotate(view.id, {names.SUSPENDED: "true" if hold else None})
        return Controlled(is_complete=True)

    def _end(self, view: View, signal: str, asked: str) -> Controlled:
        if view.stored.asked != Asked.KILL:  # which the keeper enforces
            self._annotate(view.id, {names.ASKED: asked})  # first: otherwise a job that ends at once looks finished
        problem = "its containers do not share a process namespace"
        if view.job.share_process_namespace:
            problem = self._signal(view, signal)
        if not problem:
            return Controlled(is_complete=True)
        # A pod that is deleted takes its log with it. A pod whose deadline has passed is ended by its node and stays.
        self._cluster.patch_pod(view.state.pod, END_NOW)
        return Controlled(is_complete=False, message=f"the node ends the job, because no signal reached it: {problem}")

    def _signal(self, view: View, signal: str) -> str:
        """Send a signal to the job's processes; why it did not reach them, "" if it did."""
        try:
            code, said = self._cluster.run_in(view.state.pod, view.state.container, signal_command(signal))
        except KnsError as error:
            return str(error)
        return "" if code == 0 else f"exit code {code} in its container, {said}".rstrip(", ")

    def _annotate(self, job_id: str, annotations: Mapping[str, str | None]) -> None:
        self._cluster.patch_job(job_id, {"metadata": {"annotations": dict(annotations)}})

    # --- look

    def read_network(self, job_id: str, user: str = EVERYBODY) -> tuple[str, list[str]]:
        """
        The name of the job's node, and its addresses: those for outside first, if the account may see nodes.

        Raises:
            UnknownJobError: as `find`.
        """
        state = self.find(job_id, user).state
        external: list[str] = []
        if state.host:
            node = self._cluster.read_node(state.host) or {}
            found = (node.get("status") or {}).get("addresses") or ()
            external = [each.get("address", "") for each in found if each.get("type") == "ExternalIP"]
        addresses = [each for each in (*external, *state.addresses) if each]
        return state.host, list(dict.fromkeys(addresses))

    def read_usage(self, job_id: str) -> Usage | None:
        """
        What a job uses; None if it was not measured yet.

        Raises:
            NotRunningError: the job does not run.
            KnsError: the cluster does not measure.
        """
        view = self.peek(job_id)
        if view is None or view.state.status not in (Status.RUNNING, Status.SUSPENDED):
            raise NotRunningError(f"Job {job_id} is not running.")
        measured = self._cluster.read_usage(view.state.pod)
        used = (measured or {}).get(view.state.container)
        return None if used is None else read_quantities(used)


_Sources = tuple[Kept, Kept | None, Kept | None, str]


def _are_same(known: _Sources, new: _Sources) -> bool:
    """Whether the objects are the same ones, which no cache changes in place."""
    return all(old is now for old, now in zip(known[:3], new[:3], strict=True)) and known[3] == new[3]


def _read_published(service: Kept | None) -> dict[tuple[int, Protocol], int]:
    found = {}
    for port in ((service or {}).get("spec") or {}).get("ports") or ():
        protocol = port.get("protocol", "TCP")  # a template may have others
        if port.get("nodePort") and isinstance(port.get("targetPort"), int) and protocol in set(Protocol):
            found[port["targetPort"], Protocol(protocol)] = port["nodePort"]
    return found


def read_quantities(used: Mapping[str, Any]) -> Usage:
    """
    >>> read_quantities({"cpu": "250m", "memory": "64Mi"})
    Usage(cpu_percent=25.0, resident_mb=64.0)
    """
    cpu, memory = parse_quantity(used.get("cpu") or "0"), parse_quantity(used.get("memory") or "0")
    return Usage(cpu_percent=float(round(cpu * 100, 2)), resident_mb=float(round(memory / _MEBIBYTE, 2)))
