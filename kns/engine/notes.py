"""What a status says of a stage that waits, fails or is skipped. Pure."""

from datetime import datetime

from kns.model.job.conditions import Reason, with_condition
from kns.model.job.job import JobStatus, Stuck
from kns.stages.lifecycle import Stage
from kns.stages.outcome import Failed, Skipped, Wait


def note_wait(status: JobStatus, stage: Stage, outcome: Wait, now: datetime) -> JobStatus:
    """Note what the job waits for. A condition that is True stays True: that stage handles its own problems."""
    if not status.is_true(stage.condition):
        status = note(status, stage, outcome, now)
    return status.model_copy(
        update={
            "substatus": stage.substatus,
            "reason": str(outcome.reason),
            "message": outcome.message,
            "stuck": _note_stuck(status.stuck, outcome.stuck, now),
        }
    )


def _note_stuck(before: Stuck | None, reason: Reason | None, now: datetime) -> Stuck | None:
    if reason is None or before is None or before.reason != reason:
        return Stuck(reason=reason, since=now) if reason else None
    return before


def note_retry(status: JobStatus, stage: Stage, message: str, now: datetime) -> JobStatus:
    """Note an error that says nothing about the job's progress, so the job stays as stuck as it was."""
    noted = note_wait(status, stage, Wait(0, Reason.RETRYING, message), now)
    return noted.model_copy(update={"stuck": status.stuck})


def note_retry_ahead(status: JobStatus, stage: Stage, message: str, now: datetime) -> JobStatus:
    """Note an error of a stage whose turn has not come. The record keeps saying what the job waits for."""
    return status if status.is_true(stage.condition) else note(status, stage, Wait(0, Reason.RETRYING, message), now)


def note(status: JobStatus, stage: Stage, outcome: Wait | Failed, now: datetime) -> JobStatus:
    conditions = with_condition(
        status.conditions, stage.condition, true=False, reason=outcome.reason, message=outcome.message, now=now
    )
    return status.model_copy(update={"conditions": conditions})


def note_skipped(status: JobStatus, stage: Stage, outcome: Skipped, now: datetime) -> JobStatus:
    """A stage that the job did not ask for has no condition."""
    if outcome.reason is None:
        return status
    return note(status, stage, Wait(0, outcome.reason, outcome.message), now)
