"""
A job: the record's spec and status as checked values, and the rules that no part of kns may break.

The record (a NestedJob object) is the only durable state. `spec` is what was asked for; `spec.accepted` is what kns
froze when it took the job, so that a later catalogue change never changes a running job; `status` is what came of it.
Statuses move only along `TRANSITIONS`; an ended job never changes again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.appdef.parameters import ParameterValue
from kns.model.catalog.machine import Machine
from kns.model.catalog.vault import AcceptedVault
from kns.model.errors import InvalidInputError
from kns.model.job.conditions import Condition, ConditionType, find_condition
from kns.model.job.usage import Usage
from kns.model.reading.parsing import parse_model


class JobState(StrEnum):
    """`job_status` of the public API. Frozen: clients compare these texts."""

    SUBMITTED = "SUBMITTED"
    PROCESSING = "PROCESSING STARTING"  # this *is* the running state
    COMPLETED = "COMPLETED"
    FAILED = "COMPLETED WITH ERROR"
    TERMINATED = "TERMINATED"
    CANCELED = "CANCELED"

    @property
    def is_ended(self) -> bool:
        return self not in (JobState.SUBMITTED, JobState.PROCESSING)


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.SUBMITTED: frozenset({JobState.PROCESSING, JobState.CANCELED, JobState.FAILED}),
    JobState.PROCESSING: frozenset({JobState.COMPLETED, JobState.FAILED, JobState.TERMINATED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.TERMINATED: frozenset(),
    JobState.CANCELED: frozenset(),
}

EXIT_CODES = {JobState.COMPLETED: 0, JobState.FAILED: 1, JobState.TERMINATED: -15, JobState.CANCELED: -9}


class Substatus(IntEnum):
    """`job_substatus`: what a job is busy with; 0 says nothing. Above 1000, clear of the original's codes."""

    NONE = 0
    NAMESPACE = 1001
    SPAWNING = 1002
    PREPARING = 1003
    DEPLOYING = 1004
    REMOVING = 1005


SUBSTATUS_TEXT = {
    Substatus.NONE: None,
    Substatus.NAMESPACE: "preparing namespace",
    Substatus.SPAWNING: "starting virtual cluster",
    Substatus.PREPARING: "preparing virtual cluster",
    Substatus.DEPLOYING: "deploying application",
    Substatus.REMOVING: "removing",
}


class DesiredState(StrEnum):
    RUNNING = "Running"
    STOPPED = "Stopped"


class StopReason(StrEnum):
    SHUTDOWN = "Shutdown"
    TERMINATE = "Terminate"
    WALLTIME = "Walltime"


class _Stored(BaseModel):
    """Part of a record: camelCase outside, unknown keys tolerated on reading."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


class MachineChoice(_Stored):
    type: str = Field(min_length=1, max_length=253)
    nodes: int = Field(default=1, ge=1, le=10_000)


class VaultChoice(_Stored):
    name: str = Field(min_length=1, max_length=253)
    readonly: bool = False


class Accepted(_Stored):
    """
    What kns froze when it took the job. `nested` keeps the AppDef's own snake_case keys.

    `variables` are the names of the account variables that the app wants, `inherited_variables` those of them that the
    payer's account may provide; their values stay in the catalogue. `vault` is there if kns can use the one asked for.
    """

    number: int = Field(ge=1)
    name: str
    payer: str
    submit_time: AwareDatetime
    image: str
    command: str
    machine: Machine
    nested: NestedKubernetes
    url: str | None = None
    walltime_s: int | None = None
    connectable: bool = True
    parameters: list[ParameterValue] = []
    variables: list[str] = []
    inherited_variables: list[str] = []
    billing_code: int = 0
    vault: AcceptedVault | None = None


class JobSpec(_Stored):
    """What was asked for. Only `desired_state`, `stop_reason` and (once) `accepted` may change (CEL in the CRD)."""

    user: str
    app: str
    command: str | None = None
    parameters: dict[str, Any] = {}
    machine: MachineChoice
    vault: VaultChoice | None = None
    walltime: str | None = None
    label: str | None = Field(default=None, max_length=255)
    project: str | None = None
    submission: dict[str, Any] = {}
    desired_state: DesiredState = DesiredState.RUNNING
    stop_reason: StopReason | None = None
    accepted: Accepted | None = None


class JobStatus(_Stored):
    """
    What came of it. Times go from absent to a value once.

    `control_plane_uid` is the uid of the control-plane pod that the job started with: another uid means that the
    virtual cluster's data is gone, because without a volume it lives and dies with that pod. `usage` is the running
    sum, `usage_reports` what it was at each report, the newest last.
    """

    observed_generation: int = 0
    job_status: JobState = JobState.SUBMITTED
    substatus: Substatus = Substatus.NONE
    exit_code: int = 0
    reason: str | None = None
    message: str | None = None
    spawn_start_time: AwareDatetime | None = None
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None
    control_plane_uid: str | None = None
    url: str | None = None
    address: str | None = None
    conditions: tuple[Condition, ...] = ()
    usage: Usage | None = None
    usage_reports: tuple[Usage, ...] = ()

    def condition(self, kind: ConditionType) -> Condition | None:
        return find_condition(self.conditions, kind)

    def is_true(self, kind: ConditionType) -> bool:
        condition = self.condition(kind)
        return condition is not None and condition.is_true

    @property
    def has_been_exposed(self) -> bool:
        """From the moment it can be reached, and for good: `Exposed` is False again while the target is gone."""
        return self.url is not None or self.is_true(ConditionType.EXPOSED)

    @property
    def lives_without_url(self) -> bool:
        """It was told that it has none, and keeps to that as it would to an address."""
        return self.url is None and self.is_true(ConditionType.EXPOSED)


@dataclass(frozen=True, slots=True)
class Job:
    """One record as read: spec and status with the metadata that decisions need."""

    record: str  # metadata.name
    uid: str
    resource_version: str
    generation: int
    created: datetime
    deleting: bool
    finalizers: tuple[str, ...]
    spec: JobSpec
    status: JobStatus
    fault: str | None = None  # why the stored spec cannot be read; then `spec` holds only what removal needs

    @property
    def number(self) -> int | None:
        return self.spec.accepted.number if self.spec.accepted else None

    @property
    def is_ended(self) -> bool:
        return self.status.job_status.is_ended

    @property
    def submit_time(self) -> datetime:
        return self.spec.accepted.submit_time if self.spec.accepted else self.created

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the job is to stop, or None; `kubectl` may say Stopped without a reason: that is a shutdown."""
        if self.deleting:
            return StopReason.TERMINATE
        if self.spec.desired_state is DesiredState.STOPPED:
            return self.spec.stop_reason or StopReason.SHUTDOWN
        return None

    @property
    def walltime_end(self) -> datetime | None:
        """The moment the walltime is over; it counts from the start, so a job that has not started has none."""
        accepted, start = self.spec.accepted, self.status.start_time
        if accepted is None or accepted.walltime_s is None or start is None:
            return None
        return start + timedelta(seconds=accepted.walltime_s)


def job_from_record(record: Mapping[str, Any]) -> Job:
    """
    A NestedJob object (decoded JSON) as a checked value.

    Raises:
        InvalidInputError: spec or status cannot be read; the message has the key path.
    """
    meta = record["metadata"]
    return Job(
        record=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        generation=meta.get("generation", 1),
        created=_read_time(meta["creationTimestamp"]),
        deleting=meta.get("deletionTimestamp") is not None,
        finalizers=tuple(meta.get("finalizers") or ()),
        spec=parse_model(JobSpec, record.get("spec") or {}, prefix="spec"),
        status=parse_model(JobStatus, record.get("status") or {}, prefix="status"),
    )


def salvage_job(record: Mapping[str, Any], fault: InvalidInputError) -> Job:
    """
    A job from a record that cannot be read whole: enough to end it with that reason and to remove what it has.

    Raises:
        InvalidInputError: not even that.
    """
    raw = record.get("spec") or {}
    known = raw.get("accepted") or {}
    spec = {
        "user": str(raw.get("user") or "unknown"),
        "app": str(raw.get("app") or "unknown"),
        "machine": {"type": "unknown"},
        "desiredState": raw.get("desiredState", DesiredState.RUNNING),
    }
    if isinstance(known.get("number"), int):
        spec["accepted"] = {
            "number": known["number"],
            "name": str(known.get("name")),
            "payer": str(known.get("payer")),
            "submitTime": record["metadata"]["creationTimestamp"],
            "image": str(known.get("image")),
            "command": str(known.get("command")),
            "machine": {"mc_name": "unknown", "mc_cores": 0, "mc_ram": 0},
            "nested": {"templates": [{"name": "unknown", "type": "kubectl", "path": "unknown"}]},
        }
    try:
        job = job_from_record({**record, "spec": spec})
    except InvalidInputError:
        job = job_from_record({**record, "spec": spec, "status": {}})
    return replace(job, fault=str(fault))


def _read_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise InvalidInputError("metadata.creationTimestamp", "is not a time") from error


def spec_to_record(spec: JobSpec) -> dict[str, Any]:
    """`spec` as stored: camelCase, absent values left out (the CRD's schema has no nulls)."""
    data: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    if spec.accepted:  # the AppDef's own spelling, not ours
        data["accepted"]["nested"] = spec.accepted.nested.model_dump(mode="json", exclude_none=True)
        data["accepted"]["machine"] = spec.accepted.machine.model_dump(mode="json")
    return data


def status_to_record(status: JobStatus) -> dict[str, Any]:
    data: dict[str, Any] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    data["substatus"] = int(status.substatus)
    data["substatusText"] = SUBSTATUS_TEXT[status.substatus] or ""
    return data


def build_record(*, record: str, spec: JobSpec, namespace: str) -> dict[str, Any]:
    """A new NestedJob, finalizer included: nothing is ever made for a record that could vanish without cleanup."""
    labels = {names.MANAGED_BY_LABEL: "kns", names.USER_LABEL: names.label_value(spec.user)}
    if spec.accepted:
        labels[names.JOB_LABEL] = str(spec.accepted.number)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.RECORD_KIND,
        "metadata": {
            "name": record,
            "namespace": namespace,
            "labels": labels,
            "finalizers": [names.FINALIZER],
        },
        "spec": spec_to_record(spec),
    }
