"""The records: NestedJob objects in the system namespace, read through a watch cache."""

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from kns.adapters.kube.client import ANSWER_TIMEOUT_S, MERGE, METADATA, KubeClient
from kns.adapters.kube.kinds import RECORDS
from kns.adapters.kube.numbers import JobNumbers
from kns.adapters.kube.watch import PAGE, Index, WatchCache
from kns.adapters.retry import retry_on_conflict
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    TransientError,
    UnavailableError,
)
from kns.model.job.idempotency import find_first, is_remembered, read_request, request_record
from kns.model.job.job import (
    Accepted,
    DesiredState,
    Job,
    JobSpec,
    JobState,
    JobStatus,
    StopReason,
    build_record,
    job_from_record,
    salvage_job,
    spec_to_record,
    status_to_record,
)
from kns.ports import Clock, Object

log = get_logger(__name__)


def _accepted(record: Object) -> Mapping[str, Any]:
    accepted = (record.get("spec") or {}).get("accepted")
    return accepted if isinstance(accepted, Mapping) else {}


def _state(record: Object) -> str:
    return str((record.get("status") or {}).get("jobStatus") or JobState.SUBMITTED)


def _user(record: Object) -> str:
    return str((record.get("spec") or {}).get("user"))


def _index_namespaces(record: Object) -> list[str]:
    """The namespace of the job, like `Accepted.location`, but also for a record that is not valid."""
    accepted = _accepted(record)
    adopted = accepted.get("adopted")
    if isinstance(adopted, Mapping) and isinstance(adopted.get("name"), str):
        return [adopted["name"]]
    number = accepted.get("number")
    return [names.job_object_name(number)] if isinstance(number, int) else []


_LIVE_STATES = frozenset(state.value for state in JobState if not state.is_ended)
# The indexes of the records. The functions must not raise, because a record may be invalid.
_INDEXES: dict[str, Index] = {
    "number": lambda record: [n for n in [_accepted(record).get("number")] if isinstance(n, int)],
    "name": lambda record: [n for n in [_accepted(record).get("name")] if isinstance(n, str)],
    "namespace": _index_namespaces,
    "request": lambda record: [r for r in [read_request(record["metadata"]["name"])] if r is not None],
    "user": lambda record: [_user(record)],
    "state": lambda record: [_state(record)],
    "live user": lambda record: [_user(record)] if _state(record) in _LIVE_STATES else [],
}


class KubeRecords:
    """Implements `ports.JobStore`, `ports.RecordAuthority` and `ports.RecordWriter`."""

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        clock: Clock,
        on_change: Callable[[str], None] = lambda _name: None,
        first_number: int = 1,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._on_change = on_change
        self._cache = WatchCache(
            client, RECORDS, clock=clock, namespace=namespace, indexes=_INDEXES, on_change=self._announce
        )
        self._parsed: dict[str, tuple[str, Job]] = {}  # record -> (resourceVersion, job), because parsing is slow
        self._unreadable: dict[str, str] = {}
        self.numbers = JobNumbers(client, namespace=namespace, highest=self._highest_number, first=first_number)

    @property
    def cache(self) -> WatchCache:
        return self._cache

    # --- JobStore

    def list_jobs(self) -> Sequence[Job]:
        return [job for obj in self._cache.all_objects() if (job := self._parse(obj)) is not None]

    def get(self, record: str) -> Job | None:
        obj = self._cache.get(self._namespace, record)
        return None if obj is None else self._parse(obj)

    def find(self, number: int) -> Job | None:
        return self._first("number", number)

    def find_by_name(self, name: str) -> Job | None:
        return self._first("name", name)

    def find_by_namespace(self, namespace: str) -> Job | None:
        return self._first("namespace", namespace)

    def list_of_user(self, username: str) -> Sequence[Job]:
        return self._select("user", username)

    def list_in_state(self, state: JobState) -> Sequence[Job]:
        return self._select("state", state)

    def count_live(self, username: str) -> int:
        return self._cache.count("live user", username)

    def fetch(self, number: int) -> Job | None:
        """Find the record by its name, which contains the number, or else by its label."""
        job = self._read_taken(names.job_object_name(number))
        if job is not None and job.number == number:
            return job
        found = self._list_labelled(names.JOB_LABEL, str(number))
        return next((job for job in found if job.number == number), None)

    def fetch_by_name(self, name: str) -> Job | None:
        found = self._list_labelled(names.PUBLIC_NAME_LABEL, names.label_value(name))
        return next((job for job in found if job.spec.accepted and job.spec.accepted.name == name), None)

    def allot_number(self) -> int:
        return self.numbers.allot()

    def find_request(self, request: str) -> Job | None:
        return find_first(self._select("request", request), request, now=self._clock.now())

    def create(self, spec: JobSpec, *, request: str | None = None) -> Job:
        assert spec.accepted is not None  # noqa: S101 - the port's promise
        if request is None:
            return self._store(names.job_object_name(spec.accepted.number), spec)
        return self.find_request(request) or self._store_first(request, spec)

    def request_stop(self, job: Job, reason: StopReason) -> None:
        retry_on_conflict(lambda: self._write_stop(job.record, reason))

    # --- RecordAuthority

    def list_uids(self) -> frozenset[str]:
        query, uids = {"limit": PAGE}, []
        while True:
            page = self._client.request("GET", RECORDS.path(self._namespace), query=query, accept=METADATA)
            uids += [item["metadata"]["uid"] for item in page["items"] or ()]  # null if the list is empty
            token = page["metadata"].get("continue")
            if not token:
                return frozenset(uids)
            query["continue"] = token

    # --- RecordWriter

    def accept(self, job: Job, accepted: Accepted) -> None:
        spec = spec_to_record(job.spec.model_copy(update={"accepted": accepted}))
        labels = {
            names.MANAGED_BY_LABEL: "kns",
            names.JOB_LABEL: str(accepted.number),
            names.PUBLIC_NAME_LABEL: names.label_value(accepted.name),
            names.USER_LABEL: names.label_value(job.spec.user),
        }
        meta = {"resourceVersion": job.resource_version, "labels": labels}
        self._patch(job, {"metadata": meta, "spec": {"accepted": spec["accepted"]}})

    def write_status(self, job: Job, status: JobStatus) -> None:
        current = self._cache.get(self._namespace, job.record)
        if current is None or current["metadata"]["resourceVersion"] != job.resource_version:
            raise ConflictError(f"record {job.record} changed since it was read")
        body = {**current, "status": status_to_record(status)}
        path = RECORDS.path(self._namespace, job.record) + "/status"
        self._cache.put(self._client.request("PUT", path, body=body))

    def set_finalizer(self, job: Job, *, present: bool) -> None:
        rest = [f for f in job.finalizers if f != names.FINALIZER]
        finalizers = [*rest, names.FINALIZER] if present else rest
        self._patch(job, {"metadata": {"resourceVersion": job.resource_version, "finalizers": finalizers}})

    def delete(self, job: Job) -> None:
        try:
            self._client.request(
                "DELETE", RECORDS.path(self._namespace, job.record), body={"preconditions": {"uid": job.uid}}
            )
        except NotFoundError:
            return

    # --- inside

    def _select(self, index: str, value: Hashable) -> list[Job]:
        return [job for obj in self._cache.select(index, value) if (job := self._parse(obj)) is not None]

    def _first(self, index: str, value: Hashable) -> Job | None:
        return next(iter(self._select(index, value)), None)

    def _list_labelled(self, label: str, value: str) -> list[Job]:
        """The records with this label from the API server. They are stored in the cache."""
        query = {"labelSelector": f"{label}={value}", "limit": PAGE}
        page = self._client.request("GET", RECORDS.path(self._namespace), query=query, read_timeout_s=ANSWER_TIMEOUT_S)
        for obj in page["items"] or ():
            self._cache.put(obj)
        return [job for obj in page["items"] or () if (job := self._parse(obj)) is not None]

    def _store(self, record: str, spec: JobSpec) -> Job:
        body = build_record(record=record, spec=spec, namespace=self._namespace)
        try:
            stored = self._client.request(
                "POST", RECORDS.path(self._namespace), body=body, read_timeout_s=ANSWER_TIMEOUT_S
            )
        except UnavailableError as error:
            stored = self._find_created(body, error)
        self._cache.put(stored)
        return job_from_record(stored)

    def _store_first(self, request: str, spec: JobSpec) -> Job:
        """
        Store the record unless another replica did, which then has the name. Names of forgotten requests are skipped.
        """
        for generation in itertools.count():
            record = request_record(request, generation)
            try:
                return self._store(record, spec)
            except AlreadyExistsError:
                first = self._read_taken(record)
                if first is not None and is_remembered(first, self._clock.now()):
                    return first
        raise AssertionError("count never ends")

    def _read_taken(self, record: str) -> Job | None:
        """The stored record with this name; None if it was deleted meanwhile."""
        try:
            stored = self._client.request("GET", RECORDS.path(self._namespace, record), read_timeout_s=ANSWER_TIMEOUT_S)
        except NotFoundError:
            return None
        self._cache.put(stored)
        return self._parse(stored)

    def _patch(self, job: Job, patch: Object) -> None:
        path = RECORDS.path(self._namespace, job.record)
        stored = self._client.request("PATCH", path, body=patch, content_type=MERGE, read_timeout_s=ANSWER_TIMEOUT_S)
        self._cache.put(stored)

    def _write_stop(self, record: str, reason: StopReason) -> None:
        """
        Decide on the stored record, not on the cached one, because two replicas may receive requests at the same time.
        """
        path = RECORDS.path(self._namespace, record)
        stored = job_from_record(self._client.request("GET", path, read_timeout_s=ANSWER_TIMEOUT_S))
        overrides = reason is StopReason.TERMINATE and stored.stop_reason is StopReason.SHUTDOWN
        if stored.is_ended or not (stored.stop_reason is None or overrides):
            return
        spec = {"desiredState": DesiredState.STOPPED.value, "stopReason": reason.value}
        self._patch(stored, {"metadata": {"resourceVersion": stored.resource_version}, "spec": spec})

    def _find_created(self, body: Object, error: UnavailableError) -> Object:
        """The record that a create request without an answer has stored. If there is none, raise the original error."""
        try:
            found: Object = self._client.request(
                "GET", RECORDS.path(self._namespace, body["metadata"]["name"]), read_timeout_s=ANSWER_TIMEOUT_S
            )
        except TransientError:
            raise error from None
        if found["spec"].get("accepted", {}).get("name") != body["spec"]["accepted"]["name"]:
            raise error
        return found

    def _highest_number(self) -> int:
        return max((job.number or 0 for job in self.list_jobs()), default=0)

    def _announce(self, obj: Object) -> None:
        record = obj["metadata"]["name"]
        if self._cache.get(self._namespace, record) is None:
            self._parsed.pop(record, None)
            self._unreadable.pop(record, None)
        self._on_change(record)

    def _parse(self, obj: Object) -> Job | None:
        """
        The job of a record. An invalid record is salvaged, so that it can be ended and removed; None if it cannot be.
        """
        name, version = obj["metadata"]["name"], obj["metadata"]["resourceVersion"]
        known = self._parsed.get(name)
        if known and known[0] == version and known[1].uid == obj["metadata"]["uid"]:
            return known[1]
        try:
            job = job_from_record(obj)
        except InvalidInputError as fault:
            if self._unreadable.get(name) != version:
                log.warning("record_unreadable", record=name, error=str(fault))
                self._unreadable[name] = version
            try:
                job = salvage_job(obj, fault)
            except InvalidInputError:
                return None
        self._parsed[name] = (version, job)
        if self._cache.get(self._namespace, name) is None:  # deleted meanwhile; there will be no further event
            self._parsed.pop(name, None)
        return job
