"""
Stop a job. A stop is stored in the record; the leader acts on it.
"""

from kns.logs import get_logger
from kns.model.errors import NotFoundError
from kns.model.job.job import Job, StopReason
from kns.service.errors import JobGoneError
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


def _request_stop(ports: ServicePorts, job: Job, reason: StopReason) -> None:
    try:
        ports.jobs.request_stop(job, reason)
    except NotFoundError as error:
        raise JobGoneError(f"{job.record} was deleted before it could be stopped") from error
    log.info("stop_requested", job=job.record, reason=str(reason))
