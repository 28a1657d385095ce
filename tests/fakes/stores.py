"""
In-memory stores: records, outputs, tokens, the catalogue, the clock.

`MemoryJobStore` behaves like the API server where kns depends on it: a resource version per write, conflicts for
decisions on old versions, a generation that counts changes of the spec, deletion that waits for finalizers. Every write
converts the job to JSON and back, so a value that cannot be stored is lost here, too.
"""

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import RLock

from kns.model import names
from kns.model.catalog.catalog import Catalog
from kns.model.errors import AlreadyExistsError, ConflictError, InvalidInputError, NotFoundError
from kns.model.job.conditions import ConditionType
from kns.model.job.idempotency import find_first, request_record
from kns.model.job.inputs import JobInputs, unpack_inputs
from kns.model.job.job import Accepted, DesiredState, Job, JobSpec, JobState, JobStatus, StopReason
from kns.model.job.output import JobOutput
from kns.model.job.packed import pack_job, read_packed
from kns.model.job.record import build_record, job_from_record, status_to_record
from kns.model.job.tokens import TOKEN_LENGTHS, Tokens
from kns.model.reading.event_time import read_event_time
from kns.ports import MOST_EVENTS, MOST_EVENTS_READ, MOST_SURPLUS, MOST_WARNINGS, Kind, Object, Retained, Share, Tally

START = datetime(2026, 1, 5, 14, 15, 30, tzinfo=UTC)


class FakeClock:
    """A clock that only moves when a test moves it."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock, which moves no other."""
        self._now += timedelta(seconds=seconds)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


def _as_cached(job: Job) -> Job:
    """As the cache holds it, which is less than the record has once the job was removed."""
    return read_packed(pack_job(job)) if job.is_ended and job.status.is_true(ConditionType.REMOVED) else job


def _is_named(job: Job, name: str) -> bool:
    return job.spec.accepted is not None and job.spec.accepted.name == name


def _add_share(share: Share, job: Job) -> Share:
    accepted, nodes = job.spec.accepted, job.spec.machine.nodes
    if accepted is None:
        return replace(share, jobs=share.jobs + 1)
    machine = accepted.machine
    return Share(
        share.jobs + 1,
        share.cores + machine.cores(nodes),
        share.gib + machine.memory_gib(nodes),
        share.gpus + machine.gpus(nodes),
    )


class MemoryInputStore:
    """The port `InputStore`."""

    def __init__(self) -> None:
        self.packed: dict[int, bytes] = {}  # by the job's number

    def read(self, job: Job) -> JobInputs:
        accepted = job.spec.accepted
        assert accepted is not None
        assert accepted.inputs is not None, "the inputs of this job are in its record"
        what = f"Secret {names.job_inputs(accepted.number)}"
        if accepted.number not in self.packed:
            raise InvalidInputError(what, "is missing; submit the job again")
        return unpack_inputs(self.packed[accepted.number], digest=accepted.inputs.digest, what=what)

    def remove(self, job: Job) -> None:
        assert job.spec.accepted is not None
        self.packed.pop(job.spec.accepted.number, None)


class MemoryJobStore:
    """
    The ports `JobStore`, `RecordAuthority` and `RecordWriter`.

    After each change, the callbacks in `wake` are called with the record's name. A method named in `faults` raises that
    error.
    """

    def __init__(self, clock: FakeClock | None = None, *, first_number: int = 1) -> None:
        self.wake: list[Callable[[str], None]] = []
        self.faults: dict[str, Exception] = {}
        self.writes: list[str] = []  # "<verb> <record>", in order
        self.inputs = MemoryInputStore()
        self.unheard: set[int] = set()  # numbers that another replica stored a moment ago
        self._clock = clock or FakeClock()
        self._jobs: dict[str, Job] = {}
        self._versions = 0
        self._next_number = first_number
        self._lock = RLock()

    # JobStore

    def list_jobs(self) -> Sequence[Job]:
        """All jobs; only for tests."""
        with self._lock:
            return list(self._jobs.values())

    def get(self, record: str) -> Job | None:
        self._fail("get")
        job = self._jobs.get(record)
        return None if job is None else _as_cached(job)

    def find_retained(self, record: str) -> Retained | None:
        self._fail("find_retained")
        job = self._jobs.get(record)
        since = None if job is None else pack_job(job).retained_since
        return None if job is None or since is None else Retained(job.spec.user, since)

    def find(self, number: int) -> Job | None:
        self._fail("find")
        return None if number in self.unheard else self._find(lambda job: job.number == number, cached=True)

    def find_by_name(self, name: str) -> Job | None:
        self._fail("find_by_name")
        return self._find(lambda job: job.number not in self.unheard and _is_named(job, name), cached=True)

    def find_by_namespace(self, namespace: str) -> Job | None:
        self._fail("find_by_namespace")
        return self._find(lambda job: job.location is not None and job.location.namespace == namespace)

    def walk_jobs(self, usernames: Collection[str], *, live: bool) -> Iterator[Job]:
        self._fail("walk_jobs")
        found = [job for job in self.list_jobs() if job.number is not None and job.spec.user in usernames]
        found = [job for job in found if job.is_ended is not live]
        return map(_as_cached, sorted(found, key=lambda job: job.number or 0, reverse=True))

    def list_owners(self, payer: str) -> frozenset[str]:
        self._fail("list_owners")
        jobs = [job for job in self.list_jobs() if job.spec.accepted is not None and job.spec.accepted.payer == payer]
        return frozenset(job.spec.user for job in jobs)

    def list_surplus(self, username: str, *, most: int) -> Sequence[Job]:
        self._fail("list_surplus")
        jobs = self.list_jobs()
        ended = [job for job in jobs if job.spec.user == username and job.is_ended and not job.deleting]
        oldest = sorted(ended, key=lambda job: job.number or 0)
        gone = [job for job in oldest if job.number is None or job.status.is_true(ConditionType.REMOVED)]
        return gone[: min(max(0, len(ended) - most), MOST_SURPLUS)]

    def list_removed(self) -> Mapping[str, bool]:
        self._fail("list_removed")
        jobs = self.list_jobs()
        return {job.uid: job.is_ended and job.status.is_true(ConditionType.REMOVED) for job in jobs}

    def list_newest_of_app(self, app: str, *, most: int) -> Sequence[Job]:
        self._fail("list_newest_of_app")
        found = [job for job in self.list_jobs() if job.is_ended and job.spec.app == app]
        return [_as_cached(job) for job in sorted(found, key=lambda job: -(job.number or 0))[:most]]

    def list_newest_in_state(self, state: JobState, *, most: int) -> Sequence[Job]:
        self._fail("list_newest_in_state")
        found = [job for job in self.list_jobs() if job.number is not None and job.status.job_status is state]
        return [_as_cached(job) for job in sorted(found, key=lambda job: -(job.number or 0))[:most]]

    def tally(self) -> Tally:
        self._fail("tally")
        live: dict[str, Share] = {}
        failures: dict[str, int] = {}
        for job in self.list_jobs():
            if job.status.job_status is JobState.FAILED:
                failures[job.status.reason or ""] = failures.get(job.status.reason or "", 0) + 1
            if not job.is_ended:
                live[job.spec.user] = _add_share(live.get(job.spec.user, Share()), job)
        return Tally(live, failures)

    def list_in_state(self, state: JobState) -> Sequence[tuple[int, str]]:
        self._fail("list_in_state")
        accepted = [job.spec.accepted for job in self.list_jobs() if job.status.job_status is state]
        return [(each.number, each.name) for each in accepted if each is not None]

    def count_live(self, username: str) -> int:
        self._fail("count_live")
        return sum(not job.is_ended for job in self.list_jobs() if job.spec.user == username)

    def list_sleeping(self) -> Sequence[str]:
        self._fail("list_sleeping")
        return [job.record for job in self.list_jobs() if job.spec.sleep and not job.is_ended]

    def count_waiting(self) -> int:
        self._fail("count_waiting")
        return len(self.list_in_state(JobState.SUBMITTED))

    def fetch(self, number: int) -> Job | None:
        self._fail("fetch")
        return self._find(lambda job: job.number == number)

    def fetch_by_name(self, name: str) -> Job | None:
        self._fail("fetch_by_name")
        return self._find(lambda job: _is_named(job, name))

    def _find(self, fits: Callable[[Job], bool], *, cached: bool = False) -> Job | None:
        with self._lock:
            job = next((job for job in self._jobs.values() if fits(job)), None)
            return _as_cached(job) if cached and job is not None else job

    def allot_number(self) -> int:
        self._fail("allot_number")
        with self._lock:
            number, self._next_number = self._next_number, self._next_number + 1
            return number

    def find_request(self, request: str) -> Job | None:
        self._fail("find_request")
        return find_first(self.list_jobs(), request, now=self._clock.now())

    def create(self, spec: JobSpec, *, request: str | None = None, inputs: bytes | None = None) -> Job:
        self._fail("create")
        assert spec.accepted is not None, "create takes accepted specs only"
        with self._lock:
            if inputs is not None:
                self.inputs.packed[spec.accepted.number] = inputs
            if request is None:
                return self.add_spec(spec, record=names.job_object_name(spec.accepted.number))
            free = (request_record(request, n) for n in itertools.count())
            record = next(name for name in free if name not in self._jobs)
            return find_first(self._jobs.values(), request, now=self._clock.now()) or self.add_spec(spec, record=record)

    def request_stop(self, job: Job, reason: StopReason) -> None:
        """A repeated stop and a stop of an ended job change nothing. Only a Terminate replaces an earlier Shutdown."""
        self._fail("request_stop")
        with self._lock:
            current = self._own(job)
            overrides = reason is StopReason.TERMINATE and current.stop_reason is StopReason.SHUTDOWN
            if not current.is_ended and (current.stop_reason is None or overrides):
                wish = {"desired_state": DesiredState.STOPPED, "stop_reason": reason}
                self._write("request_stop", replace(current, spec=current.spec.model_copy(update=wish)))

    def extend_walltime(self, job: Job, walltime_s: int) -> None:
        self._fail("extend_walltime")
        with self._lock:
            current = self._own(job)
            if current.is_ended or current.stop_reason is not None or (current.walltime_s or 0) >= walltime_s:
                return
            spec = current.spec.model_copy(update={"extended_walltime_s": walltime_s})
            self._write("extend_walltime", replace(current, spec=spec))

    def set_keep(self, job: Job, *, keep: bool) -> None:
        self._fail("set_keep")
        with self._lock:
            current = self._own(job)
            if bool(current.spec.keep) is not keep and not (keep and current.is_ended):
                self._write("set_keep", replace(current, spec=current.spec.model_copy(update={"keep": keep})))

    def set_sleep(self, job: Job, *, asleep: bool) -> None:
        self._fail("set_sleep")
        with self._lock:
            current = self._own(job)
            if current.is_ended or current.stop_reason is not None or bool(current.spec.sleep) is asleep:
                return
            self._write("set_sleep", replace(current, spec=current.spec.model_copy(update={"sleep": asleep})))

    # RecordAuthority

    def list_uids(self) -> frozenset[str]:
        self._fail("list_uids")
        with self._lock:
            return frozenset(job.uid for job in self._jobs.values())

    # RecordWriter

    def accept(self, job: Job, accepted: Accepted) -> None:
        self._fail("accept")
        with self._lock:
            current = self._unchanged(job)
            self._write("accept", replace(current, spec=current.spec.model_copy(update={"accepted": accepted})))

    def write_status(self, job: Job, status: JobStatus) -> None:
        self._fail("write_status")
        with self._lock:
            self._write("write_status", replace(self._unchanged(job), status=status))

    def set_finalizer(self, job: Job, *, present: bool) -> None:
        self._fail("set_finalizer")
        with self._lock:
            current = self._unchanged(job)
            others = tuple(name for name in current.finalizers if name != names.FINALIZER)
            self._write("set_finalizer", replace(current, finalizers=(*others, names.FINALIZER) if present else others))

    def delete(self, job: Job) -> None:
        """An absent record is success; another one of that name conflicts with the uid precondition."""
        self._fail("delete")
        with self._lock:
            current = self._jobs.get(job.record)
            if current is None:
                return
            if current.uid != job.uid:
                raise ConflictError(f"NestedJob {job.record}: 409, the uid differs from {job.uid}")
            self._write("delete", replace(current, deleting=True))

    # Changes by tests

    def damage(self, record: str, error: str) -> None:
        """As if somebody had made the stored record unreadable."""
        with self._lock:
            self._jobs[record] = replace(self._jobs[record], read_error=error)

    def add_spec(self, spec: JobSpec, *, record: str) -> Job:
        """As `kubectl apply` of a new record would."""
        with self._lock:
            if record in self._jobs:
                raise AlreadyExistsError(f"create NestedJob {record}: 409, already exists")
            return self._write(
                "create",
                Job(
                    record=record,
                    uid=f"uid-{self._versions + 1}",
                    resource_version="",
                    generation=0,
                    created=self._clock.now(),
                    deleting=False,
                    finalizers=(names.FINALIZER,),
                    spec=spec,
                    status=JobStatus(),
                ),
            )

    def add(self, job: Job) -> Job:
        """Store a built job, in place of an older version of its record."""
        with self._lock:
            if job.number is not None:
                self._next_number = max(self._next_number, job.number + 1)
            return self._write("add", job)

    def force_away(self, record: str) -> None:
        """As if somebody had removed the finalizer and deleted the record: kns cleans nothing up."""
        with self._lock:
            self._write("force_away", replace(self._jobs[record], deleting=True, finalizers=()))

    # A watch cache that is behind

    def snapshot(self) -> "MemoryJobStore":
        """A copy of all records that no longer changes."""
        still = MemoryJobStore(self._clock)
        still._jobs = dict(self._jobs)
        return still

    def learn(self, record: str, source: "MemoryJobStore") -> None:
        """A cache shows immediately what its own process stored."""
        stored = source._jobs.get(record)
        if stored is not None:
            self._jobs[record] = stored

    # Inside

    def _fail(self, method: str) -> None:
        if method in self.faults:
            raise self.faults[method]

    def _stored(self, job: Job) -> Job:
        current = self._jobs.get(job.record)
        if current is None:
            raise NotFoundError(f"NestedJob {job.record}: 404, not found")
        return current

    def _own(self, job: Job) -> Job:
        current = self._stored(job)
        if current.uid != job.uid:
            raise NotFoundError(f"NestedJob {job.record}: another record has this name now")
        return current

    def _unchanged(self, job: Job) -> Job:
        current = self._stored(job)
        if (current.uid, current.resource_version) != (job.uid, job.resource_version):
            raise ConflictError(f"NestedJob {job.record}: 409, changed since version {job.resource_version}")
        return current

    def _write(self, verb: str, job: Job) -> Job:
        """Store the job if it differs. A deleted record without finalizers disappears."""
        old = self._jobs.get(job.record)
        if old == job:
            return job
        self._versions += 1
        moved = old is None or old.spec != job.spec or old.deleting != job.deleting
        stored = _through_json(
            replace(job, resource_version=str(self._versions), generation=job.generation + (1 if moved else 0))
        )
        self.writes.append(f"{verb} {job.record}")
        if stored.deleting and not stored.finalizers:
            self._jobs.pop(job.record, None)
        else:
            self._jobs[job.record] = stored
        for wake in list(self.wake):
            wake(job.record)
        return stored


def _through_json(job: Job) -> Job:
    record = build_record(record=job.record, spec=job.spec, namespace="kns")
    record["metadata"] |= {
        "uid": job.uid,
        "resourceVersion": job.resource_version,
        "generation": job.generation,
        "creationTimestamp": job.created.isoformat(),
        "deletionTimestamp": job.created.isoformat() if job.deleting else None,
        "finalizers": list(job.finalizers),
    }
    record["status"] = status_to_record(job.status)
    return job_from_record(json.loads(json.dumps(record, allow_nan=False)))


class MemoryOutputStore:
    """The port `OutputStore`; `writes` counts the writes that changed something."""

    def __init__(self) -> None:
        self.outputs: dict[str, JobOutput] = {}
        self.owners: dict[str, str] = {}  # record -> its uid
        self.writes = 0

    def read(self, job: Job, *, recent: bool = False) -> JobOutput:
        is_own = self.owners.get(job.record, job.uid) == job.uid
        return self.outputs.get(job.record, JobOutput()) if is_own else JobOutput()

    def write(self, job: Job, output: JobOutput) -> None:
        if (self.outputs.get(job.record), self.owners.get(job.record)) != (output, job.uid):
            self.outputs[job.record], self.owners[job.record] = output, job.uid
            self.writes += 1


class MemoryTokenStore:
    """The port `TokenStore`, with recognisable tokens: every password is `P...`."""

    def __init__(self) -> None:
        self.tokens: dict[str, Tokens] = {}

    def read(self, record: str) -> Tokens | None:
        return self.tokens.get(record)

    def ensure(self, job: Job) -> Tokens:
        made = Tokens(password="P" * 16, random={length: f"R{length}".ljust(length, "x") for length in TOKEN_LENGTHS})
        return self.tokens.setdefault(job.record, made)


@dataclass
class StaticCatalog:
    """The port `CatalogSource`, with the catalogue that a test sets."""

    catalog: Catalog

    def current(self) -> Catalog:
        return self.catalog


@dataclass
class AlwaysReady:
    """The port `Health`; a test may set it to not ready."""

    ready: bool = field(default=True)

    def is_ready(self) -> bool:
        return self.ready

    def watch_ages(self) -> Mapping[str, float | None]:
        return {"nestedjobs": 0.4, "httproutes": None}


class MemoryNamespaces:
    """The port `NamespaceReader`. An unknown namespace gives an empty list, as the API server does."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str], list[Object]] = {}
        self.faults: dict[Kind, Exception] = {}

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        if kind in self.faults:
            raise self.faults[kind]
        return self.objects.get((kind, namespace), [])

    def list_events(self, namespace: str) -> Sequence[Object]:
        return choose_newest(self.list_objects(Kind.EVENT, namespace), MOST_EVENTS)

    def list_warnings(self, namespace: str) -> Sequence[Object]:
        events = self.list_objects(Kind.EVENT, namespace)
        return choose_newest([event for event in events if event.get("type") == "Warning"], MOST_WARNINGS)


def choose_newest(events: Iterable[Object], most: int) -> list[Object]:
    """What `KubeCluster` keeps of the pages, which the API server gives in the order of the names."""
    paged = sorted(events, key=lambda event: str((event.get("metadata") or {}).get("name")))[:MOST_EVENTS_READ]
    return sorted(paged, key=read_event_time, reverse=True)[:most]
