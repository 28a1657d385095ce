"""The records: NestedJob objects in the system namespace, read through a watch cache."""

import itertools
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from heapq import nlargest

from kns.adapters.kube.client import ANSWER_TIMEOUT_S, MERGE, METADATA, KubeClient
from kns.adapters.kube.indexes import Index
from kns.adapters.kube.kinds import RECORDS
from kns.adapters.kube.numbers import JobNumbers
from kns.adapters.kube.owned import KubeInputs
from kns.adapters.kube.watch import WatchCache
from kns.adapters.retry import retry_on_conflict
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    TransientError,
    UnavailableError,
)
from kns.model.job.idempotency import find_first, is_remembered, read_request, request_record
from kns.model.job.job import Accepted, DesiredState, Job, JobSpec, JobState, JobStatus, StopReason
from kns.model.job.packed import PackedJob, pack_job, read_packed, unpack_job
from kns.model.job.record import build_record, job_from_record, salvage_job, spec_to_record, status_to_record
from kns.ports import MOST_SURPLUS, Clock, Object, Retained, Share, Tally

log = get_logger(__name__)

_UIDS_PAGE = 500  # records in one answer that has their metadata only


# A record that is not even good enough to be salvaged has no packed job, and is found by its name only.
_Kept = tuple[str, PackedJob | None]  # the record's name, its job


def _index(read: Callable[[PackedJob], Hashable | None]) -> Index[_Kept]:
    """An index of one value per job; None leaves the job out."""

    def list_values(kept: _Kept) -> tuple[Hashable, ...]:
        value = read(kept[1]) if kept[1] is not None else None
        return () if value is None else (value,)

    return list_values


_INDEXES: dict[str, Index[_Kept]] = {
    "number": _index(lambda job: job.number),
    "name": _index(lambda job: job.name),
    "namespace": _index(lambda job: job.namespace),
    "payer": _index(lambda job: job.payer),
    "request": _index(lambda job: read_request(job.record)),
    "state": _index(lambda job: job.state),
    "live": _index(lambda job: None if job.state.is_ended else True),
    "live user": _index(lambda job: None if job.state.is_ended else job.user),
    "ended app": _index(lambda job: job.app if job.state.is_ended else None),
    "sleeps": _index(lambda job: True if job.sleeps else None),
    "removing": _index(lambda job: True if job.removing_since else None),
    "failure": _index(lambda job: (job.reason or "") if job.state is JobState.FAILED else None),
    "ended user": _index(lambda job: job.user if job.state.is_ended else None),
    "retained user": _index(lambda job: job.user if job.state.is_ended and not job.deleting else None),
}


def _number_of(job: PackedJob) -> int:
    return job.number or 0


def _share(jobs: Sequence[PackedJob]) -> Share:
    return Share(len(jobs), sum(job.cores for job in jobs), sum(job.gib for job in jobs), sum(job.gpus for job in jobs))


class KubeRecords:
    """
    Implements `ports.JobStore`, `ports.RecordAuthority` and `ports.RecordWriter`.

    `highest_elsewhere` returns the highest number outside of the records, for a counter that was lost.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        clock: Clock,
        on_change: Callable[[str], None] = lambda _name: None,
        first_number: int = 1,
        highest_elsewhere: Callable[[], int] = lambda: 0,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._cache = WatchCache(
            client,
            RECORDS,
            clock=clock,
            keep=self._keep,
            namespace=namespace,
            indexes=_INDEXES,
            on_change=lambda kept: on_change(kept[0]),
        )
        self._inputs = KubeInputs(client, namespace=namespace)
        self._highest_elsewhere = highest_elsewhere
        self.numbers = JobNumbers(client, namespace=namespace, highest=self._highest_number, first=first_number)

    @property
    def cache(self) -> WatchCache[_Kept]:
        return self._cache

    def list_records(self) -> Sequence[str]:
        """The names of all records."""
        return [name for name, _ in self._cache.all_objects()]

    def count_all_live(self) -> int:
        return self._cache.count("live", True)

    # --- JobStore

    def get(self, record: str) -> Job | None:
        kept = self._cache.get(self._namespace, record)
        return None if kept is None or kept[1] is None else unpack_job(kept[1])

    def find_retained(self, record: str) -> Retained | None:
        kept = self._cache.get(self._namespace, record)
        if kept is None or kept[1] is None or kept[1].retained_since is None:
            return None
        return Retained(kept[1].user, kept[1].retained_since)

    def find(self, number: int) -> Job | None:
        return self._first("number", number)

    def find_by_name(self, name: str) -> Job | None:
        return self._first("name", name)

    def find_by_namespace(self, namespace: str) -> Job | None:
        return self._first("namespace", namespace)

    def walk_jobs(self, usernames: Collection[str], *, live: bool) -> Iterator[Job]:
        index = "live user" if live else "ended user"
        found = [job for user in usernames for job in self._select(index, user) if job.number is not None]
        return map(read_packed, sorted(found, key=lambda job: job.number or 0, reverse=True))

    def list_owners(self, payer: str) -> frozenset[str]:
        return frozenset(job.user for job in self._select("payer", payer))

    def list_newest_of_app(self, app: str, *, most: int) -> Sequence[Job]:
        return [read_packed(job) for job in nlargest(most, self._select("ended app", app), key=_number_of)]

    def list_newest_in_state(self, state: JobState, *, most: int) -> Sequence[Job]:
        accepted = (job for job in self._select("state", state) if job.number is not None)
        return [read_packed(job) for job in nlargest(most, accepted, key=_number_of)]

    def tally(self) -> Tally:
        live: dict[str, list[PackedJob]] = {}
        for job in self._select("live", True):
            live.setdefault(job.user, []).append(job)
        return Tally({user: _share(jobs) for user, jobs in live.items()}, self._cache.count_values("failure"))

    def list_in_state(self, state: JobState) -> Sequence[tuple[int, str]]:
        found = self._select("state", state)  # nothing is unpacked: upstream asks often, and for thousands of jobs
        return [(job.number, job.name) for job in found if job.number is not None and job.name is not None]

    def list_surplus(self, username: str, *, most: int) -> Sequence[Job]:
        surplus = self._cache.count("retained user", username) - most
        if surplus <= 0:
            return []
        ended = sorted(self._select("retained user", username), key=lambda job: job.number or 0)
        oldest = [job for job in ended if job.is_removed or job.number is None]
        return [read_packed(job) for job in oldest[: min(surplus, MOST_SURPLUS)]]

    def list_removed(self) -> Mapping[str, bool]:
        jobs = (job for _, job in self._cache.all_objects() if job is not None)
        return {job.uid: job.is_removed for job in jobs}

    def count_live(self, username: str) -> int:
        return self._cache.count("live user", username)

    def list_sleeping(self) -> Sequence[str]:
        return [job.record for job in self._select("sleeps", True)]

    def count_sleeping(self) -> int:
        return self._cache.count("sleeps", True)

    def read_oldest_removal_s(self) -> float:
        """For how long a job that has ended has waited for its removal: the longest of them, 0 without any."""
        since = [job.removing_since for job in self._select("removing", True) if job.removing_since]
        return (self._clock.now() - min(since)).total_seconds() if since else 0.0

    def count_waiting(self) -> int:
        return self._cache.count("state", JobState.SUBMITTED)

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
        return find_first(map(unpack_job, self._select("request", request)), request, now=self._clock.now())

    def create(self, spec: JobSpec, *, request: str | None = None, inputs: bytes | None = None) -> Job:
        assert spec.accepted is not None  # noqa: S101 - the port's promise
        known = self.find_request(request) if request is not None else None
        if known is not None:
            return known
        number = spec.accepted.number
        if inputs is not None:  # before the record, so that a record always has its inputs
            self._inputs.store(number, inputs)
        try:
            record = names.job_object_name(number)
            job = self._store(record, spec) if request is None else self._store_first(request, spec)
        except RefusedError:
            if inputs is not None:
                self._inputs.discard(number)
            raise
        if inputs is not None:
            if job.number == number:
                self._inputs.adopt(job, inputs)
            else:  # another replica stored the record of this request
                self._inputs.discard(number)
        return job

    @retry_on_conflict
    def request_stop(self, job: Job, reason: StopReason) -> None:
        """
        Decide on the stored record, not on the cached one, because two replicas may receive requests at the same time.
        """
        stored = self._read_stored(job)
        overrides = reason is StopReason.TERMINATE and stored.stop_reason is StopReason.SHUTDOWN
        if stored.is_ended or not (stored.stop_reason is None or overrides):
            return
        spec = {"desiredState": DesiredState.STOPPED.value, "stopReason": reason.value}
        self._patch(stored, {"metadata": {"resourceVersion": stored.resource_version}, "spec": spec})

    @retry_on_conflict
    def extend_walltime(self, job: Job, walltime_s: int) -> None:
        stored = self._read_stored(job)
        if stored.is_ended or stored.stop_reason is not None or (stored.walltime_s or 0) >= walltime_s:
            return
        self._write_spec(stored, "extendedWalltimeS", walltime_s)

    @retry_on_conflict
    def set_keep(self, job: Job, *, keep: bool) -> None:
        """Decide on the stored record: of a job that has ended meanwhile, a part may be removed already."""
        stored = self._read_stored(job)
        if (keep and stored.is_ended) or bool(stored.spec.keep) is keep:
            return
        self._write_spec(stored, "keep", keep)

    @retry_on_conflict
    def set_sleep(self, job: Job, *, asleep: bool) -> None:
        """Decide on the stored record: two replicas may be asked to wake a job at the same time."""
        stored = self._read_stored(job)
        if stored.is_ended or stored.stop_reason is not None or bool(stored.spec.sleep) is asleep:
            return
        self._write_spec(stored, "sleep", asleep)

    # --- RecordAuthority

    def list_uids(self) -> frozenset[str]:
        query = {"limit": str(_UIDS_PAGE)}
        found = self._client.walk(RECORDS.path(self._namespace), query=query, accept=METADATA)
        return frozenset(item["metadata"]["uid"] for item in found)

    # --- RecordWriter; JobStore has `delete`, too

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
        kept = self._cache.get(self._namespace, job.record)
        if kept is None or kept[1] is None or kept[1].version != job.resource_version:
            raise ConflictError(f"record {job.record} changed since it was read")
        # The subresource takes the status only. So the rest of the record is neither sent nor needed.
        meta = {
            "name": job.record,
            "namespace": self._namespace,
            "uid": job.uid,
            "resourceVersion": job.resource_version,
        }
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.RECORD_KIND,
            "metadata": meta,
            "status": status_to_record(status),
        }
        path = RECORDS.path(self._namespace, job.record) + "/status"
        self._cache.put(self._client.request("PUT", path, body=body))

    def set_finalizer(self, job: Job, *, present: bool) -> None:
        rest = [f for f in job.finalizers if f != names.FINALIZER]
        finalizers = [*rest, names.FINALIZER] if present else rest
        self._patch(job, {"metadata": {"resourceVersion": job.resource_version, "finalizers": finalizers}})

    def delete(self, job: Job) -> None:
        try:
            answer = self._client.request(
                "DELETE", RECORDS.path(self._namespace, job.record), body={"preconditions": {"uid": job.uid}}
            )
        except NotFoundError:
            return
        if answer.get("kind") == names.RECORD_KIND:  # it waits for its finalizers; otherwise the answer is a Status
            self._cache.put(answer)

    # --- inside

    def _select(self, index: str, value: Hashable) -> list[PackedJob]:
        return [job for _, job in self._cache.select(index, value) if job is not None]

    def _first(self, index: str, value: Hashable) -> Job | None:
        found = self._select(index, value)
        return unpack_job(found[0]) if found else None

    def _list_labelled(self, label: str, value: str) -> list[Job]:
        """The records with this label from the API server. They are stored in the cache."""
        query = {"labelSelector": f"{label}={value}", "limit": str(RECORDS.page)}
        page = self._client.request("GET", RECORDS.path(self._namespace), query=query, read_timeout_s=ANSWER_TIMEOUT_S)
        for obj in page["items"] or ():
            self._cache.put(obj)
        return [job for obj in page["items"] or () if (job := _read(obj)) is not None]

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
        return _read(stored)

    def _patch(self, job: Job, patch: Object) -> Object:
        """The record as stored."""
        path = RECORDS.path(self._namespace, job.record)
        stored: Object = self._client.request(
            "PATCH", path, body=patch, content_type=MERGE, read_timeout_s=ANSWER_TIMEOUT_S
        )
        self._cache.put(stored)
        return stored

    def _read_stored(self, job: Job) -> Job:
        """The record of a job from the API server itself. The cache gets it, too."""
        path = RECORDS.path(self._namespace, job.record)
        raw: Object = self._client.request("GET", path, read_timeout_s=ANSWER_TIMEOUT_S)
        if raw["metadata"].get("uid") != job.uid:
            raise NotFoundError(f"NestedJob {job.record}: another record has this name now")
        self._cache.put(raw)
        return job_from_record(raw)

    def _write_spec(self, stored: Job, field: str, value: bool | int) -> None:
        """
        Set one field of the spec, on the version that was read.

        Raises:
            RefusedError: the CRD does not know the field, so the API server dropped it.
        """
        patch = {"metadata": {"resourceVersion": stored.resource_version}, "spec": {field: value}}
        if self._patch(stored, patch)["spec"].get(field) != value:
            raise RefusedError(
                f"NestedJob {stored.record}: the host cluster did not store spec.{field}; apply "
                "manifests/crd-nestedjob.yaml of this release"
            )

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
        """Pool members have numbers that no record has yet."""
        numbers = (job.number or 0 for _, job in self._cache.all_objects() if job is not None)
        return max(*numbers, 0, self._highest_elsewhere())

    def _keep(self, obj: Object) -> _Kept:
        """What the cache holds of a record. An invalid record is logged once, because it is converted once."""
        record, job = obj["metadata"]["name"], _read(obj)
        if job is None or job.read_error is not None:
            log.warning("record_unreadable", record=record, error=job.read_error if job else "nothing of it is valid")
        return record, None if job is None else pack_job(job)


def _read(obj: Object) -> Job | None:
    """The job of a record. An invalid one is salvaged, so that it can be ended and removed; None if it cannot be."""
    try:
        return job_from_record(obj)
    except InvalidInputError as fault:
        try:
            return salvage_job(obj, fault)
        except InvalidInputError:
            return None
