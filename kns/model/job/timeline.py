"""
The timeline of a job: its steps in order, when each began and ended, and which one it is at.

It is computed from the record alone. A condition stores only the time of its last change, so the time of a step is
unknown if its condition changed again later, for example because the target of a serving job disappeared for a while.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kns.model.job.conditions import Condition, ConditionType, Reason
from kns.model.job.job import Job, JobState


class StepState(StrEnum):
    """`ACTIVE` is the step that the job is at, or one that has a problem now. `STOPPED`: the job was ended in it."""

    PENDING = "pending"
    ACTIVE = "active"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Step:
    """
    One step of a job. `name` never changes, `title` is for people. `reason` and `message` are those of its condition.

    `began` and `ended` are None if they have not happened or are unknown.
    """

    name: str
    title: str
    state: StepState
    began: datetime | None = None
    ended: datetime | None = None
    reason: str | None = None
    message: str = ""

    def seconds(self, now: datetime) -> float | None:
        """How long it took, or has taken so far; None if it has not begun or a time is unknown."""
        if self.began is None or (self.ended is None and self.state is not StepState.ACTIVE):
            return None
        return max(0.0, ((self.ended or now) - self.began).total_seconds())


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    kind: ConditionType
    title: str
    is_awaited: bool = True  # whether the stages after it wait for it


# In the order of `kns.stages.STAGES`; a test compares them.
STARTING_STAGES = (
    _Stage("namespace", ConditionType.NAMESPACE_READY, "prepare the namespace"),
    _Stage("vcluster", ConditionType.VIRTUAL_CLUSTER_READY, "start the virtual cluster"),
    _Stage("keycloak", ConditionType.KEYCLOAK_READY, "register with Keycloak"),
    _Stage("prepare", ConditionType.PREPARED, "prepare the virtual cluster"),
    _Stage("vault", ConditionType.VAULT_READY, "connect the vault", is_awaited=False),
    _Stage("init", ConditionType.DEPLOYED, "deploy the application"),
    _Stage("ingress", ConditionType.EXPOSED, "publish the address"),
    _Stage("shell", ConditionType.SHELL_READY, "start the web shell", is_awaited=False),
)


def build_timeline(job: Job) -> tuple[Step, ...]:
    """The steps of a job, from its submission to the removal of its objects. Steps that it does not need are absent."""
    return (*_build_start(job), *_build_end(job))


def find_active(steps: Iterable[Step]) -> Step | None:
    """The first step that the job is at; None if it is at none."""
    return next((step for step in steps if step.state is StepState.ACTIVE), None)


def _build_start(job: Job) -> Iterator[Step]:
    times = {each.type: each.last_transition_time for each in job.status.conditions if each.is_true}
    cursor: datetime | None = job.submit_time
    is_open = True  # whether all awaited stages so far are done
    for index, stage in enumerate(STARTING_STAGES):
        condition = job.status.condition(stage.kind)
        later = [times[each.kind] for each in STARTING_STAGES[index + 1 :] if each.is_awaited and each.kind in times]
        ended = _first_end(condition, [*later, *filter(None, [job.status.end_time])])
        was_done = (condition is not None and condition.is_true) or bool(later)
        if not _is_needed(job, stage, condition, began=cursor):
            cursor = cursor or ended  # it took no time, so the stage before it ended then
            continue
        state = _state_of(
            job, stage, condition, is_reached=is_open, was_passed=bool(later) or job.status.has_been_exposed
        )
        yield _build_step(job, stage, condition, state, began=cursor if was_done or is_open else None, ended=ended)
        if stage.is_awaited:
            cursor = ended if was_done else None
            is_open = is_open and was_done


def _is_needed(job: Job, stage: _Stage, condition: Condition | None, *, began: datetime | None) -> bool:
    """A stage that the job does not ask for has no condition, or a true one that took no time."""
    accepted = job.spec.accepted
    match stage.kind:
        case ConditionType.KEYCLOAK_READY:
            if accepted is not None and accepted.nested.keycloak is not None:
                return True
            return condition is not None and (
                not condition.is_true or began not in (None, condition.last_transition_time)
            )
        case ConditionType.VAULT_READY:
            return condition is not None or (accepted is not None and accepted.vault is not None)
        case ConditionType.SHELL_READY:
            asks = accepted is not None and bool(accepted.nested.enable_gotty_shell)
            return condition is not None or (asks and not job.is_ended)
    return condition is not None or not job.is_ended


def _first_end(condition: Condition | None, later: list[datetime]) -> datetime | None:
    """When a stage was done for the first time; None if it was not, or if that time was overwritten."""
    if condition is None or not condition.is_true:
        return None
    changed = condition.last_transition_time
    return changed if all(changed <= time for time in later) else None


def _build_step(
    job: Job,
    stage: _Stage,
    condition: Condition | None,
    state: StepState,
    *,
    began: datetime | None,
    ended: datetime | None,
) -> Step:
    reason, message = (condition.reason, condition.message) if condition is not None else (None, "")
    if state in (StepState.FAILED, StepState.STOPPED):
        ended = job.status.end_time
    if state in (StepState.PENDING, StepState.SKIPPED):
        began = None
    return Step(stage.name, stage.title, state, began, ended, reason, message)


def _state_of(job: Job, stage: _Stage, condition: Condition | None, *, is_reached: bool, was_passed: bool) -> StepState:
    """`was_passed`: a stage that waits for this one is done."""
    if condition.is_true if condition is not None else stage.is_awaited and was_passed:
        return StepState.DONE
    if not stage.is_awaited:
        starts = condition is None or condition.reason == Reason.SHELL_STARTING
        return StepState.PENDING if starts and not job.is_ended else StepState.SKIPPED
    if not job.is_ended:
        has_problem = condition is not None and job.status.has_been_exposed
        return StepState.ACTIVE if is_reached or has_problem else StepState.PENDING
    if job.status.has_been_exposed and job.status.reason != (condition.reason if condition else None):
        return StepState.DONE  # it was done, and had a problem when the job ended for another reason
    return StepState.FAILED if job.status.job_status is JobState.FAILED else StepState.STOPPED


def _build_end(job: Job) -> Iterator[Step]:
    status = job.status
    drained, removed = status.condition(ConditionType.DRAINED), status.condition(ConditionType.REMOVED)
    drain_began = drained.last_transition_time if drained else None
    if status.has_been_exposed or not job.is_ended:
        yield _build_serving(job, drain_began)
    if drained is not None:
        state = StepState.DONE if job.is_ended else StepState.ACTIVE
        yield Step("drain", "end the app's pods", state, drain_began, status.end_time, drained.reason, drained.message)
    if job.is_ended:
        yield _build_removal(job, removed)


def _build_serving(job: Job, drain_began: datetime | None) -> Step:
    status = job.status
    if not status.has_been_exposed:
        return Step("serve", "serve", StepState.PENDING)
    exposed = status.condition(ConditionType.EXPOSED)
    end = drain_began or status.end_time
    began = exposed.last_transition_time if exposed is not None and exposed.is_true else None
    if began is not None and end is not None and began > end:
        began = None
    return Step("serve", "serve", StepState.ACTIVE if end is None else StepState.DONE, began, end)


def _build_removal(job: Job, removed: Condition | None) -> Step:
    name, title, began = "remove", "remove everything", job.status.end_time
    if removed is None:
        return Step(name, title, StepState.ACTIVE, began)
    if removed.is_true:
        return Step(name, title, StepState.DONE, began, removed.last_transition_time)
    state = StepState.SKIPPED if removed.reason == Reason.KEPT else StepState.ACTIVE
    return Step(name, title, state, began, None, removed.reason, removed.message)
