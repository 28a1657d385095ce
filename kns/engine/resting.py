"""
How a job falls asleep and wakes up, as steps in its record.

`spec.sleep` says what is wanted, the condition `Asleep` what is going on. It is written before the first change on the
host, so that a new leader never takes what was ended on purpose for something that was lost.
"""

from datetime import datetime

from kns.model.job.conditions import ConditionType, Reason, with_condition
from kns.model.job.job import Job, JobStatus, Rest

SLEEPING = frozenset({Rest.FALLING_ASLEEP, Rest.ASLEEP})


def must_begin_to_sleep(job: Job) -> bool:
    return job.shall_sleep and job.status.rest not in SLEEPING and not must_withdraw_sleep(job)


def must_withdraw_sleep(job: Job) -> bool:
    """
    Whether the request to sleep was refused, and still stands. It must not come true at a later change of the record,
    and whoever asks again must make a change. The generation tells a refused request from a new one.
    """
    return job.shall_sleep and job.status.was_sleep_refused and job.status.observed_generation == job.generation


def must_begin_to_wake(job: Job) -> bool:
    return not job.shall_sleep and job.status.rest in SLEEPING


def note_rest(status: JobStatus, reason: Reason, message: str, now: datetime) -> JobStatus:
    """The status with what the job does. Its transition time is that of the last request to sleep or to wake."""
    conditions = with_condition(
        status.conditions,
        ConditionType.ASLEEP,
        true=reason in (Reason.FALLING_ASLEEP, Reason.ASLEEP),
        reason=reason,
        message=message,
        now=now,
    )
    return status.model_copy(update={"conditions": conditions})


def begin_to_sleep(status: JobStatus, now: datetime) -> JobStatus:
    return note_rest(status, Reason.FALLING_ASLEEP, "the job was asked to sleep", now)


def begin_to_wake(status: JobStatus, now: datetime) -> JobStatus:
    return note_rest(status, Reason.WAKING, "the job was woken", now)


def note_asleep(status: JobStatus, message: str, now: datetime) -> JobStatus:
    return note_rest(status, Reason.ASLEEP, message, now)


def note_awake(status: JobStatus, now: datetime) -> JobStatus:
    return note_rest(status, Reason.OK, "", now)


def note_message(status: JobStatus, message: str, now: datetime) -> JobStatus:
    """The status of a job that goes on falling asleep, resting or waking, with what it waits for."""
    condition = status.condition(ConditionType.ASLEEP)
    return status if condition is None else note_rest(status, Reason(condition.reason), message, now)


def waking_for_s(status: JobStatus, now: datetime) -> float:
    """Seconds since the job was woken."""
    condition = status.condition(ConditionType.ASLEEP)
    return 0.0 if condition is None else max(0.0, (now - condition.last_transition_time).total_seconds())


def note_refusal(status: JobStatus, message: str, now: datetime) -> JobStatus:
    return note_rest(status, Reason.SLEEP_NOT_POSSIBLE, message, now)
