"""
What front ends see of plain jobs: all of them, one of them, its changes, its node and its usage.

Answers come from the watch caches of the cluster. `find`, `confirm`, `resolve`, `read_network` and `read_usage` may ask
the API server. The view of unchanged objects is used again.
"""

import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kns.model import names as kns_names
from kns.model.reading.quantity import parse_quantity
from kns.plain import names
from kns.plain.errors import NotRunningError, UnknownJobError
from kns.plain.job import PlainJob, Protocol
from kns.plain.kept import read_kept, read_name, unpack
from kns.plain.ports import Cluster, Kept
from kns.plain.state import State, Status, choose_pod, read_state
from kns.plain.stored import Stored, is_own

EVERYBODY = "*"  # as a user: all jobs
_ID = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_MEBIBYTE = 1024 * 1024
_MOST_OLD_VIEWS = 100  # of jobs that are gone


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


class JobViews:
    """The jobs of one front end's `cluster` in one namespace. Safe for use in many threads."""

    def __init__(self, cluster: Cluster, *, name: str) -> None:
        self._cluster = cluster
        self._label = kns_names.label_value(name)
        self._listeners: list[Callable[[str], None]] = []
        self._waiting: dict[str, set[threading.Event]] = {}
        self._lock = threading.Lock()
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
        views = [view for obj in self._cluster.list_jobs() if (view := self.view_of(obj)) is not None]
        self._forget_views({view.id for view in views})
        seen = [view for view in views if user in (EVERYBODY, view.job.user)]
        return sorted(seen, key=lambda view: (view.stored.submitted, view.id))

    def find(self, job_id: str, user: str = EVERYBODY) -> View:
        """
        Raises:
            UnknownJobError: there is no such job, or it belongs to another user.
        """
        obj = self._find_object(job_id)
        view = None if obj is None else self.view_of(obj)
        if view is None or user not in (EVERYBODY, view.job.user):
            raise UnknownJobError(f"Job {job_id} could not be found for user {user}")
        return view

    def peek(self, job_id: str) -> View | None:
        """The job if the watch cache has it. No call to the cluster."""
        obj = self._cluster.find_job(job_id)
        return None if obj is None else self.view_of(obj)

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
        return None if obj is None else self.view_of(obj)

    def resolve(self, job_id: str) -> View | None:
        """
        The job whose state is unsure, after asking the API server for its pods. None if the job is gone.

        Raises:
            KnsError: the API server did not answer.
        """
        pods = self._cluster.read_pods(job_id)
        obj = self._cluster.find_job(job_id)
        view = None if obj is None else self.view_of(obj)
        if obj is None or view is None or not view.state.is_unsure:
            return view
        return self.view_of(obj, choose_pod(pods), is_certain=True)

    def _find_object(self, job_id: str) -> Kept | None:
        if not is_name(job_id):  # the id becomes a part of a URL
            return None
        obj = self._cluster.find_job(job_id)
        if obj is None:  # another instance may have created it a moment ago
            obj = self._cluster.read_job(job_id)
        return obj

    def _is_ours(self, obj: Kept) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return is_own(obj) and labels.get(names.LABEL) == self._label

    def view_of(self, obj: Kept, pod: Kept | None = None, *, is_certain: bool = False) -> View | None:
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


def is_name(text: str) -> bool:
    """Whether a Kubernetes Job may have this name."""
    return _ID.fullmatch(text) is not None


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
