"""
Use cases on plain jobs: submit and control. No front end's words.

What a front end sees of the jobs is in `kns.plain.views`, their output in `kns.plain.output`, and what must be done
without a request in `kns.plain.keeper`.
"""

import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
from kns.plain import names
from kns.plain.control import RULES, Operation, signal_command
from kns.plain.errors import ControlError, InvalidStateError
from kns.plain.inputs import InputFiles
from kns.plain.job import PlainJob
from kns.plain.kept import read_name
from kns.plain.objects import mark_job, mark_service
from kns.plain.ports import Cluster, Kept
from kns.plain.state import Asked, Status
from kns.plain.stored import Object
from kns.plain.views import EVERYBODY, JobViews, View, is_name

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # as the API server's: no word can come out
_SUFFIX = 5
_LONGEST_NAME = 63  # the name of a Kubernetes Job is also a label of its pod
_CREATE_TRIES = 5
_CONFLICT_TRIES = 5
# A patch of a pod. Its deadline counts from its start, so the node ends its containers at once. The pod and its logs
# stay.
END_NOW: Mapping[str, Any] = {"spec": {"activeDeadlineSeconds": 1}}
_MOST_FAILED = 1000  # submissions without an answer, whose jobs may appear while the cluster comes back


@dataclass(frozen=True, slots=True)
class Build:
    """How a front end builds the objects of one job: by the builders of `kns.plain.objects`, or by a template."""

    job: Callable[[PlainJob, str], Object]
    """The Kubernetes Job from the job and its `generateName`."""
    service: Callable[[PlainJob, str, str], Object]
    """The Service from the job, its id and the name of the Service."""


@dataclass(frozen=True, slots=True)
class Controlled:
    """`is_complete` is False if the node carries it out later. `message` is for people, "" if there is none."""

    is_complete: bool
    message: str = ""


class PlainJobs(JobViews):
    """The jobs of one front end's `cluster`, to see and to change. Safe for use in many threads."""

    def __init__(self, cluster: Cluster, *, name: str, build: Build, inputs: InputFiles) -> None:
        super().__init__(cluster, name=name)
        self._name = name
        self._build = build
        self._inputs = inputs
        self._failed: OrderedDict[str, None] = OrderedDict()

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
        view = self.view_of(created)
        if view is None:
            raise UnavailableError(f"create Job {read_name(created)}: the cluster removed its label or annotation")
        return view

    def _create(self, marked: Object, job: PlainJob, check: Callable[[], None]) -> Kept:
        meta = marked["metadata"]
        stem = str(meta.pop("generateName", "") or meta.get("name", ""))[: _LONGEST_NAME - _SUFFIX]
        if not is_name(f"{stem}x"):  # before it becomes a part of a URL and the name of a file
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
            found = None if obj is None else self.view_of(obj)
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
