"""
Stop a job, put it to sleep and wake it, extend its walltime, keep it after its end. These are stored in the record, and
the leader acts on them. And delete the record of an ended job.
"""

from kns.logs import get_logger
from kns.model.catalog.catalog import User
from kns.model.errors import ConflictError, InvalidInputError, NotFoundError
from kns.model.job.job import Job, StopReason
from kns.model.reading.duration import format_walltime, parse_walltime
from kns.service.catalog import require_active, require_admin
from kns.service.errors import CannotSleepError, JobGoneError, NotEndedError, NotRunningError
from kns.service.find import require_running
from kns.service.ports import ServicePorts

log = get_logger(__name__)


def shut_down(ports: ServicePorts, job: Job) -> None:
    """
    Ask a running job to end.

    Raises:
        NotRunningError: the job has not started, or it has ended.
        JobGoneError: the record was deleted meanwhile.
    """
    require_running(job)
    _request_stop(ports, job, StopReason.SHUTDOWN)


def terminate(ports: ServicePorts, job: Job) -> None:
    """
    End a live job. An ended job is left unchanged, so the call can be repeated.

    Raises:
        JobGoneError: the record was deleted meanwhile.
    """
    if not job.is_ended:
        _request_stop(ports, job, StopReason.TERMINATE)


def extend(ports: ServicePorts, caller: User, job: Job, walltime: str) -> int:
    """
    Extend the walltime of a live job, and return it in seconds.

    `walltime` (HH:MM:SS) counts from the start of the job, so that a repeated call has no further effect. Whoever may
    see the job may extend it, because they may also submit such a job or stop it. The bound is that of a submission.

    Raises:
        InvalidInputError: the text is no walltime, the job has none, or it is longer already.
        NotRunningError: the job has ended, or must stop.
        InactiveAccountError: the caller may not use more resources.
        TooManyRequestsError: see `Limits`.
        JobGoneError: the record was deleted meanwhile.
        RefusedError: the host cluster does not store it.
    """
    require_active(caller)
    wanted_s = parse_walltime(walltime, path="walltime")
    too_late = "its walltime cannot be extended"
    _require_lasting(job, too_late)
    if job.walltime_s is None:
        raise InvalidInputError("walltime", f"job {job.number} has none, so it needs no extension")
    if wanted_s < job.walltime_s:
        raise InvalidInputError(
            "walltime", f"job {job.number} has {format_walltime(job.walltime_s)}; give a longer one"
        )
    ports.limits.take_submit(caller)
    try:
        ports.jobs.extend_walltime(job, wanted_s)
    except NotFoundError as error:
        raise JobGoneError(f"{job.record} was deleted before it could be extended") from error
    _require_lasting(ports.jobs.get(job.record), too_late)
    log.info("walltime_extended", job=job.record, walltime_s=wanted_s, user=caller.username)
    return wanted_s


def put_to_sleep(ports: ServicePorts, caller: User, job: Job) -> None:
    """
    Let a job that serves fall asleep. Whoever may see the job may do so, because they may also stop it. A repeated call
    has no further effect.

    Raises:
        NotRunningError: the job does not serve yet, has ended, or must stop.
        CannotSleepError: the job's cluster keeps nothing without its pods.
        TooManyRequestsError: see `Limits`.
        JobGoneError: the record was deleted meanwhile.
        RefusedError: the host cluster does not store it.
    """
    too_late = "it cannot sleep"
    _require_lasting(job, too_late)
    if not job.has_served:
        raise NotRunningError(f"job {job.number} does not serve yet, so it cannot sleep")
    if not ports.has_volume(job):
        raise CannotSleepError(
            f"job {job.number} cannot sleep: its virtual cluster has no volume to keep its state in "
            "(KNS_VCLUSTER_STORAGE_CLASS of the site when the job started)"
        )
    ports.limits.take_submit(caller)
    _set_sleep(ports, job, asleep=True)
    _require_lasting(ports.jobs.get(job.record), too_late)
    log.info("sleep_requested", job=job.record, user=caller.username)


def wake(ports: ServicePorts, caller: User, job: Job) -> None:
    """
    Wake a job. It has no effect on one that is awake. Whoever may see the job may wake it.

    Raises:
        NotRunningError: the job has ended, or must stop.
        InactiveAccountError: the caller may not use more resources.
        TooManyRequestsError: see `Limits`.
        JobGoneError: the record was deleted meanwhile.
        RefusedError: the host cluster does not store it.
    """
    require_active(caller)
    too_late = "it cannot be woken"
    _require_lasting(job, too_late)
    ports.limits.take_submit(caller)
    _set_sleep(ports, job, asleep=False)
    _require_lasting(ports.jobs.get(job.record), too_late)
    log.info("wake_requested", job=job.record, user=caller.username)


def wake_visited(ports: ServicePorts, job: Job) -> None:
    """
    Wake a job because somebody opened its page. The page decides who may see it, so nobody is asked for here.

    Raises:
        JobGoneError: the record was deleted meanwhile.
        RefusedError: the host cluster does not store it.
    """
    _set_sleep(ports, job, asleep=False)
    log.info("woken_by_visit", job=job.record)


def set_keep(ports: ServicePorts, caller: User, job: Job, *, keep: bool) -> None:
    """
    Keep everything of a live job after its end, or no longer; for system admins, because a kept job occupies nodes that
    nobody pays for, until an administrator undoes it or deletes the record. A repeated call has no further effect.

    Raises:
        NotPermittedError: the caller is not a system admin.
        NotRunningError: the job has ended, and was not kept.
        JobGoneError: the record was deleted meanwhile.
        RefusedError: the host cluster does not store it.
    """
    require_admin(caller)
    too_late = f"job {job.number} has ended, so it is too late to keep it"
    if keep and job.is_ended and not job.spec.keep:
        raise NotRunningError(too_late)
    try:
        ports.jobs.set_keep(job, keep=keep)
    except NotFoundError as error:
        raise JobGoneError(f"{job.record} was deleted before it could be kept") from error
    stored = ports.jobs.get(job.record)
    if keep and stored is not None and not stored.spec.keep:  # it ended a moment ago
        raise NotRunningError(too_late)
    log.info("job_kept" if keep else "job_no_longer_kept", job=job.record, user=caller.username)


def delete_record(ports: ServicePorts, caller: User, job: Job) -> None:
    """
    Delete the record of an ended job, and what was kept of the job. For system admins: the record is the account of
    what the job used.

    Raises:
        NotPermittedError: the caller is not a system admin.
        NotEndedError: the job is live; stop it first.
    """
    require_admin(caller)
    if not job.is_ended:
        raise NotEndedError(f"job {job.number} has not ended; stop it first")
    try:
        ports.jobs.delete(job)
    except ConflictError as error:
        raise JobGoneError(f"{job.record} was deleted already") from error
    log.info("record_deleted", job=job.record, user=caller.username)


def _require_lasting(job: Job | None, too_late: str) -> None:
    """
    Called again after a write, which has read the record from the host: only then does this replica know of an end that
    another one was asked for. The write had no effect in that case.

    Raises:
        NotRunningError: the job has ended, or must stop.
    """
    if job is not None and (job.is_ended or job.stop_reason is not None):
        raise NotRunningError(f"job {job.number} has ended or is ending, so {too_late}")


def _set_sleep(ports: ServicePorts, job: Job, *, asleep: bool) -> None:
    try:
        ports.jobs.set_sleep(job, asleep=asleep)
    except NotFoundError as error:
        raise JobGoneError(f"{job.record} was deleted before it could {'sleep' if asleep else 'wake'}") from error


def _request_stop(ports: ServicePorts, job: Job, reason: StopReason) -> None:
    try:
        ports.jobs.request_stop(job, reason)
    except NotFoundError as error:
        raise JobGoneError(f"{job.record} was deleted before it could be stopped") from error
    log.info("stop_requested", job=job.record, reason=str(reason))
