"""The fakes of a simulation. Each checks every change, and an illegal one fails immediately."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kns.model import names
from kns.model.job.job import TRANSITIONS, Job, JobStatus
from kns.model.job.output import JobOutput
from kns.model.job.tokens import TOKEN_LENGTHS, Tokens
from kns.objects.namespace import refuses_pods
from kns.ports import Kind, Object
from tests.fakes.host import FakeHost
from tests.fakes.keycloak import MemoryRealm
from tests.fakes.stores import FakeClock, MemoryJobStore, MemoryOutputStore, MemoryTokenStore

ONCE = ("spawn_start_time", "start_time", "end_time", "control_plane_uid", "url", "address")


class WitnessedRecords(MemoryJobStore):
    """`last` has the newest version of each existing record, `gone` the last version of each deleted one."""

    def __init__(self, clock: FakeClock, *, first_number: int = 1) -> None:
        super().__init__(clock, first_number=first_number)
        self.last: dict[str, Job] = {}
        self.gone: dict[str, Job] = {}

    def _write(self, verb: str, job: Job) -> Job:
        before = self._jobs.get(job.record)
        stored = super()._write(verb, job)
        if before is not None:
            check_step(before, stored)
        self.last[job.record] = stored
        if job.record not in self._jobs:
            self.gone[job.record] = self.last.pop(job.record)
        return stored


def check_step(before: Job, after: Job) -> None:
    """job_status follows the table, times are set once, an end never changes, and a job is accepted once."""
    old, new = before.status, after.status
    assert new.job_status in TRANSITIONS[old.job_status] | {old.job_status}, f"{old.job_status} to {new.job_status}"
    for name in ONCE:
        assert getattr(old, name) in (None, getattr(new, name)), f"{name} changed"
    assert before.spec.accepted in (None, after.spec.accepted), "accepted twice"
    assert not before.is_ended or _end_of(old) == _end_of(new), "the end changed"


def _end_of(status: JobStatus) -> tuple[Any, ...]:
    return status.job_status, status.exit_code, status.reason, status.message, status.usage


class WitnessedHost(FakeHost):
    """
    No object is created twice, such as the init job or the control plane. Only pods are: all of them once something was
    scaled, and the tenant's once the quota of a sleep was lifted: a job that wakes gets new ones. A removal goes on if
    the host refuses that quota. If the deletion of the namespace fails as well, the syncer replaces the tenant's pods,
    and the next try ends them, too.
    """

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.made: Counter[str] = Counter()
        self._has_lifted = False

    def put(self, kind: Kind, namespace: str, name: str, obj: Mapping[str, Any]) -> Object:
        what = f"{kind} {namespace}/{name}"
        self.made[what] += (kind, namespace, name) not in self._objects
        self._has_lifted |= name == names.DRAIN_QUOTA and not refuses_pods(obj)
        is_tenants = names.SYNCED_LABEL in (obj.get("metadata") or {}).get("labels", ())
        if kind is Kind.POD and (self.has_scaled or (self._has_lifted and is_tenants)):
            return super().put(kind, namespace, name, obj)
        assert self.made[what] == 1, f"{what} was made again"
        return super().put(kind, namespace, name, obj)

    def delete_pods(self, namespace: str, selector: str, *, grace_s: int) -> None:
        self._has_lifted |= self._may_create_pod(namespace)
        super().delete_pods(namespace, selector, grace_s=grace_s)

    def settle(self) -> None:
        """The quota of each job is used so much that it may have refused pods."""
        super().settle()
        for (kind, _, _), obj in self._objects.items():
            if kind is Kind.RESOURCE_QUOTA:
                obj["status"] = {"hard": {"pods": "130"}, "used": {"pods": "100"}}


class WitnessedRealm(MemoryRealm):
    """No client is created twice."""

    def create_client(self, client: Object) -> None:
        super().create_client(client)
        call = f"create {client['clientId']}"
        assert self.calls.count(call) == 1, f"{call} again"


class WitnessedTokens(MemoryTokenStore):
    """No job's tokens are made twice. As in the real store, new tokens would differ."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Counter[str] = Counter()

    def ensure(self, job: Job) -> Tokens:
        if job.record not in self.tokens:
            self.made[job.record] += 1
            assert self.made[job.record] == 1, "tokens were made again"
            password = f"P{self.made.total()}".ljust(16, "x")
            self.tokens[job.record] = Tokens(
                password, {length: password.ljust(length, "x") for length in TOKEN_LENGTHS}
            )
        return self.tokens[job.record]


class WitnessedOutputs(MemoryOutputStore):
    """`final` outlives the record."""

    def __init__(self) -> None:
        super().__init__()
        self.final: dict[str, JobOutput] = {}

    def write(self, job: Job, output: JobOutput) -> None:
        super().write(job, output)
        self.final[job.record] = output
