"""
The cluster of the plugin's jobs, some of which are nested (`kns.plain.ports.Cluster`).

Records, of plain and of nested jobs, are in the plugin's namespace, and all calls about them go there. Calls about the
pod of a nested job go through kns to the job's own cluster. What happens to a nested job over time is in
`kns.launcher.nested.looks` and the modules below it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kns.adapters.kube.namespace_calls import NamespaceCalls
from kns.launcher.nested.endings import Endings
from kns.launcher.nested.known import KnownJobs
from kns.launcher.nested.live import LiveJobs
from kns.launcher.nested.looks import Looks
from kns.launcher.nested.orphans import Orphans
from kns.launcher.nested.outputs import OutputFiles
from kns.launcher.nested.records import build_label, build_mark, build_record, is_over, read_end_pod, read_number
from kns.launcher.nested.rules import check_nested, choose_machine
from kns.launcher.nested.site import KnsSite
from kns.model.errors import (
    ConflictError,
    InvalidInputError,
    KnsError,
    MetricsMissingError,
    NotFoundError,
    RefusedError,
    TransientError,
    UnavailableError,
)
from kns.plain import names
from kns.plain.kept import read_name
from kns.plain.ports import MIXED, Cluster, Kept, LogStream
from kns.plain.state import choose_pod
from kns.plain.stored import Object, is_own, read_stored
from kns.ports import Clock

_CONFLICT_TRIES = 5
_MOST_SAVED = 10_000  # pods of jobs that have ended
_NO_SERVICE: Kept = {"spec": {"ports": []}}  # a nested job is reached at its pod's address


class NestedJobs:
    """
    Implements `kns.plain.ports.Cluster` over that of the records. Safe for use in many threads.

    Nothing happens to nested jobs unless `looks` runs.
    """

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
        self._machine = machine
        self._mark = build_mark(place)
        self._known = KnownJobs(site)
        self.looks = Looks(
            records,
            self._known,
            live=LiveJobs(records, site, self._known, clock=clock),
            endings=Endings(records, site, self._known, outputs=outputs, clock=clock),
            orphans=Orphans(records, site, outputs=outputs, clock=clock, mark=self._mark),
            clock=clock,
        )

    def close(self) -> None:
        """Close the connections to all clusters. Looks open them again."""
        self._known.close()

    # --- records

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
        number = self._site.submit(build_label(self._mark, job_id), machine, key=f"{self._mark}-{job_id}")
        try:
            return self._create_record(build_record(obj, number))
        except UnavailableError:
            raise  # the record may appear yet; without one, the cluster is an orphan
        except KnsError:
            self._site.terminate(number)
            raise

    def _create_record(self, record: Object) -> Kept:
        """
        Again after a conflict, which is about a quota that many jobs change: a try with another id would be another job
        of kns.

        Raises:
            KnsError: the record is refused, or the conflicts do not end.
        """
        problem: KnsError | None = None
        for _ in range(_CONFLICT_TRIES):
            try:
                return self._records.create_job(record)
            except ConflictError as error:
                problem = error
        raise TransientError(f"{problem}; submit the job again") from problem

    def delete_job(self, name: str, *, uid: str) -> None:
        obj = self._records.find_job(name)
        number = None if obj is None else read_number(obj)
        if obj is not None and number is not None and not is_over(obj):
            self._site.terminate(number)
        self._records.delete_job(name, uid=uid)
        self._outputs.discard(name)
        self._known.forget(name)

    # --- what belongs to a job

    def list_pods(self, job: str) -> Sequence[Kept]:
        obj = self._records.find_job(job)
        if obj is None or read_number(obj) is None:
            return self._records.list_pods(job)
        known = self._known.find(job)
        if known is not None and known.pods:
            return known.pods
        return self._find_saved(job, obj)

    def _find_saved(self, job: str, obj: Kept) -> Sequence[Kept]:
        """After the end of its cluster, a job has a pod in name only, as long as its output is here."""
        pod = read_end_pod(obj)
        return (_saved_pod(pod, job),) if pod and self._outputs.has(job) else ()

    def read_pods(self, job: str) -> Sequence[Kept]:
        obj = self._records.find_job(job)
        if obj is None or read_number(obj) is None:
            return self._records.read_pods(job)
        self.looks.look(job)
        return self.list_pods(job)

    def find_service(self, name: str) -> Kept | None:
        obj = self._records.find_job(name)  # a Service has the name of its job
        return self._records.find_service(name) if obj is None or read_number(obj) is None else _NO_SERVICE

    def create_service(self, obj: Object) -> None:
        self._records.create_service(obj)

    def delete_service(self, name: str) -> None:
        obj = self._records.find_job(name)
        if obj is None or read_number(obj) is None:
            self._records.delete_service(name)

    def find_warning(self, names_: Sequence[str]) -> str:
        for each in names_:
            if (known := self._known.find(each)) is not None:
                return known.text
        return self._records.find_warning(names_)

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
        known = self._known.find(job)
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
        return None if self._known.has_place(name) else self._records.read_node(name)

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        self._known.subscribe(on_change)
        self._records.subscribe(on_change)

    def _find_pod(self, pod: str) -> tuple[str | None, NamespaceCalls | None]:
        """The nested job of a pod, and its cluster; (None, None) for the pod of a plain job."""
        found = self._known.find_by_pod(pod)
        if found is not None:
            return found[0], found[1].inner
        for obj in self._records.list_jobs():
            if read_number(obj) is not None and read_end_pod(obj) == pod:
                return read_name(obj), None
        return None, None

    def _of_pod(self, pod: str) -> Cluster | NamespaceCalls:
        job, inner = self._find_pod(pod)
        if job is None:
            return self._records
        if inner is None:
            raise NotFoundError(f"pod {pod}: the job's cluster is gone")
        return inner


@functools.lru_cache(_MOST_SAVED)
def _saved_pod(name: str, job: str) -> Kept:
    """The same object each time, so that views are made once."""
    return {
        "metadata": {"name": name, "labels": {names.JOB_NAME_LABEL: job}},
        "spec": {"containers": [{"name": names.CONTAINER}]},
        "status": {},
    }
