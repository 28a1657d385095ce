"""
A job: spec and status of its record as checked values, and the rules that every part of kns keeps.

The record (a NestedJob object) is the only durable state. `spec` is the request. `spec.accepted` holds the values that
kns froze when it accepted the job, so that a later change of the catalogue does not change a running job. `status` is
the result. `job_status` changes only along `TRANSITIONS`; it never changes after the end of the job.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
from kns.model.job.conditions import Condition, ConditionType, Reason, find_condition
from kns.model.job.location import Location
from kns.model.job.usage import Usage
from kns.model.reading.duration import MAX_WALLTIME_S


class JobState(StrEnum):
    """`job_status` of the public API. Clients compare these texts, so they never change."""

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
    """`job_substatus`: the current activity of a job; 0 is none. Values start above those of the original service."""

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
    """Part of a record: camelCase when stored; unknown keys are ignored on reading."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


class MachineChoice(_Stored):
    type: str = Field(min_length=1, max_length=253)
    nodes: int = Field(default=1, ge=1, le=10_000)


class VaultChoice(_Stored):
    name: str = Field(min_length=1, max_length=253)
    readonly: bool = False


class AdoptedNamespace(_Stored):
    """
    A namespace that existed before the record, with a virtual cluster that runs in it already.

    The uid proves that this very namespace is meant, and not a later one of the same name. The pattern keeps a record
    from naming a namespace that kns does not make.
    """

    name: str = Field(pattern=names.JOB_OBJECT_PATTERN)
    uid: str = Field(min_length=1, max_length=64)


class StoredInputs(_Stored):
    """
    The parameters that are not in the record but in an object beside it (`kns.model.job.inputs`): the SHA-256 of that
    object's content, and the keys of the values that only the object has.
    """

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    keys: list[str] = []


class Accepted(_Stored):
    """
    The values that kns froze when it accepted the job. `nested` keeps the AppDef's own snake_case keys.

    `variables` are the names of the account variables that the app wants; `inherited_variables` are those of them that
    the payer's account may provide. The values stay in the catalogue. `vault` is None if kns cannot use the requested
    vault. `adopted` is None if kns makes the namespace for this record. If `inputs` is set, `parameters` is empty and
    the object beside the record has all of them.
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
    walltime_s: int | None = Field(default=None, ge=1, le=MAX_WALLTIME_S)
    connectable: bool = True
    parameters: list[ParameterValue] = []
    inputs: StoredInputs | None = None
    variables: list[str] = []
    inherited_variables: list[str] = []
    billing_code: int = 0
    vault: AcceptedVault | None = None
    adopted: AdoptedNamespace | None = None

    @property
    def location(self) -> Location:
        """Where the job runs on the host cluster: in the namespace that it adopted, else in the one of its number."""
        if self.adopted is not None:
            return Location(self.number, self.adopted.name, self.adopted.uid)
        return Location(self.number, names.job_object_name(self.number))


class JobSpec(_Stored):
    """
    The request. Only `desired_state`, `stop_reason`, `extended_walltime_s`, `keep`, `sleep` and, once, `accepted` may
    change (CEL rules in the CRD).

    `extended_walltime_s` is the walltime, counted from the start, after somebody extended it. `keep`: an administrator
    wants the job's objects after its end. `sleep`: the job shall be asleep. An earlier release of kns ignores it.
    """

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
    extended_walltime_s: int | None = Field(default=None, ge=1, le=MAX_WALLTIME_S)
    keep: bool | None = None
    sleep: bool | None = None
    desired_state: DesiredState = DesiredState.RUNNING
    stop_reason: StopReason | None = None
    accepted: Accepted | None = None


class Rest(StrEnum):
    """Whether a job is asleep, and on its way to which of the two."""

    AWAKE = "awake"
    FALLING_ASLEEP = "falling asleep"
    ASLEEP = "asleep"
    WAKING = "waking up"


_RESTS: Mapping[str, Rest] = {
    Reason.FALLING_ASLEEP: Rest.FALLING_ASLEEP,
    Reason.ASLEEP: Rest.ASLEEP,
    Reason.WAKING: Rest.WAKING,
}


class Stuck(_Stored):
    """
    Since when the job has made no progress, and the reason of its end if this lasts for the limit. After the end: when
    the record last said what holds the removal.
    """

    reason: str
    since: AwareDatetime


class JobStatus(_Stored):
    """
    The observed state. A time is set once and never changes, except the one in `stuck`.

    `control_plane_uid` is the uid of the control-plane pod that the job started with. Without a volume the virtual
    cluster's data is in that pod, so another uid means that the data is lost. `usage` is the running sum;
    `usage_reports` are its values at each report, the newest last. `stuck` is None while the job makes progress.
    """

    observed_generation: int = 0
    job_status: JobState = JobState.SUBMITTED
    substatus: Substatus = Substatus.NONE
    exit_code: int = 0
    reason: str | None = None
    message: str | None = None
    stuck: Stuck | None = None
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
        """Whether the job could ever be reached. It stays True, while `Exposed` is False when the target is missing."""
        return self.url is not None or self.is_true(ConditionType.EXPOSED)

    @property
    def rest(self) -> Rest:
        """Whether the job is asleep, as far as the host has followed the request."""
        condition = self.condition(ConditionType.ASLEEP)
        return _RESTS.get(condition.reason, Rest.AWAKE) if condition is not None else Rest.AWAKE

    @property
    def was_sleep_refused(self) -> bool:
        """Whether the job could not follow the last request to sleep."""
        condition = self.condition(ConditionType.ASLEEP)
        return condition is not None and condition.reason == Reason.SLEEP_NOT_POSSIBLE

    @property
    def activity(self) -> str | None:
        """What the job does at this moment, in a few words; None if it serves or has ended."""
        if self.job_status is JobState.PROCESSING and self.rest is not Rest.AWAKE:
            return str(self.rest)
        return SUBSTATUS_TEXT[self.substatus]

    @property
    def lives_without_url(self) -> bool:
        """Whether the job was exposed without a URL. It then never gets one, as a job with a URL keeps that URL."""
        return self.url is None and self.is_true(ConditionType.EXPOSED)


@dataclass(frozen=True, slots=True)
class Job:
    """One record: spec, status, and the metadata that decisions need."""

    record: str  # metadata.name
    uid: str
    resource_version: str
    generation: int
    created: datetime
    deleting: bool
    finalizers: tuple[str, ...]
    spec: JobSpec
    status: JobStatus
    read_error: str | None = None  # why the stored record is unreadable; `spec` then has only what removal needs

    @property
    def number(self) -> int | None:
        return self.spec.accepted.number if self.spec.accepted else None

    @property
    def location(self) -> Location | None:
        """Where the job runs on the host cluster; None until kns has accepted it."""
        return self.spec.accepted.location if self.spec.accepted else None

    @property
    def is_ended(self) -> bool:
        return self.status.job_status.is_ended

    @property
    def submit_time(self) -> datetime:
        return self.spec.accepted.submit_time if self.spec.accepted else self.created

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the job must stop; None if it must not. `Stopped` without a reason (set by kubectl) is a shutdown."""
        if self.deleting:
            return StopReason.TERMINATE
        if self.spec.desired_state is DesiredState.STOPPED:
            return self.spec.stop_reason or StopReason.SHUTDOWN
        return None

    @property
    def shall_sleep(self) -> bool:
        """Whether the job was asked to sleep, and can follow: it serves, and nobody asked it to stop."""
        return bool(self.spec.sleep) and self.stop_reason is None and not self.is_ended and self.has_served

    @property
    def has_served(self) -> bool:
        return self.status.job_status is JobState.PROCESSING and self.status.has_been_exposed

    @property
    def awake_since(self) -> datetime | None:
        """When the job began to serve, or was woken last; None if it never served."""
        kinds = (ConditionType.EXPOSED, ConditionType.ASLEEP)
        found = [each for kind in kinds if (each := self.status.condition(kind)) is not None]
        return max((each.last_transition_time for each in found), default=None) if self.has_served else None

    @property
    def walltime_s(self) -> int | None:
        """The walltime with its extensions; None if the job has none, which no extension changes."""
        accepted = self.spec.accepted
        if accepted is None or accepted.walltime_s is None:
            return None
        return max(accepted.walltime_s, self.spec.extended_walltime_s or 0)

    @property
    def walltime_end(self) -> datetime | None:
        """When the walltime ends; None if the job has no walltime or has not started."""
        walltime_s, start = self.walltime_s, self.status.start_time
        return None if walltime_s is None or start is None else start + timedelta(seconds=walltime_s)
