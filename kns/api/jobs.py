"""
The routes about existing jobs.

The order of refusals is the order of a route's parameters: credentials, other parameters, unknown job; what the job's
state forbids is checked in the route itself. Somebody else's job is refused exactly like an unknown one.
"""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Response

from kns.api.answers import JsonAnswer, TextAnswer
from kns.api.auth import Caller, may_see
from kns.api.errors import (
    INVALID_PARAMETERS,
    NO_JOB_SPECIFIED,
    NOT_ENDED,
    NOT_RUNNING,
    UNKNOWN_JOB,
    UNKNOWN_JOB_AT_STATUS,
    UNKNOWN_JOB_AT_STOP,
    ApiError,
    Refusal,
)
from kns.api.params import Given, Params
from kns.api.ports import ApiPorts, Ports
from kns.api.shapes import accepted_of, info_entry, job_entry, status_entry
from kns.model.conditions import ConditionType
from kns.model.errors import NotFoundError
from kns.model.job import Job, JobState, StopReason
from kns.model.tokens import Tokens

NEWEST_ENDED = 1000  # an answer must stay readable; older jobs are found by number
DEFAULT_LINES = 100
METHODS = ["GET", "POST"]

log = structlog.get_logger(__name__)
router = APIRouter()


class Lookup:
    """A dependency: the job that the request names. `unknown` is this route's text for a job that is not there."""

    def __init__(self, unknown: Refusal) -> None:
        self._unknown = unknown

    def __call__(self, caller: Caller, params: Given, ports: Ports) -> Job:
        job = find_job(params, ports)
        if job is None or not may_see(caller, job, ports.catalog.current()):
            raise ApiError(self._unknown)
        return job


def find_job(params: Params, ports: ApiPorts) -> Job | None:
    """With both `name` and `number`, they must mean the same job."""
    number, name = params.integer("number"), params.text("name")
    if number is None:
        if name is None:
            raise ApiError(NO_JOB_SPECIFIED)
        return next((job for job in accepted_jobs(ports) if accepted_of(job).name == name), None)
    job = ports.jobs.find(number)
    return job if job is not None and name in (None, accepted_of(job).name) else None


def accepted_jobs(ports: ApiPorts) -> list[Job]:
    """Records applied by hand have no number until the leader accepts them; until then no route shows them."""
    return [job for job in ports.jobs.list_jobs() if job.spec.accepted is not None]


def read_lines(params: Params) -> int:
    """How many of the last lines are wanted, 0 for all."""
    lines = params.integer("lines")
    if lines is not None and lines < 0:
        raise ApiError(INVALID_PARAMETERS)
    return DEFAULT_LINES if lines is None else lines


def _lines_of(_caller: Caller, params: Given) -> int:
    return read_lines(params)


Lines = Annotated[int, Depends(_lines_of)]
KnownJob = Annotated[Job, Depends(Lookup(UNKNOWN_JOB))]
JobToStop = Annotated[Job, Depends(Lookup(UNKNOWN_JOB_AT_STOP))]
JobToReport = Annotated[Job, Depends(Lookup(UNKNOWN_JOB_AT_STATUS))]


def require_running(job: Job) -> None:
    if job.status.job_status is not JobState.PROCESSING:
        raise ApiError(NOT_RUNNING)


@router.api_route("/status", methods=METHODS)
def status(ports: Ports, job: JobToReport) -> Response:
    return JsonAnswer({str(accepted_of(job).number): status_entry(job, now=ports.clock.now())})


@router.api_route("/jobs", methods=METHODS)
def jobs(ports: Ports, caller: Caller, params: Given) -> Response:
    """The caller's own jobs, oldest first; of ended ones the newest thousand."""
    label, exact = params.text("label"), params.flag("exactmatch")
    show_ended = params.flag("completed") or params.flag("all")
    show_live = not params.flag("completed") or params.flag("all")
    mine = [
        job
        for job in sorted(accepted_jobs(ports), key=lambda job: accepted_of(job).number)
        if job.spec.user == caller.username and _has_label(job, label, exact=exact)
    ]
    newest = {job.record for job in [job for job in mine if job.is_ended][-NEWEST_ENDED:]}
    now = ports.clock.now()
    return JsonAnswer(
        {
            str(accepted_of(job).number): job_entry(job, now=now)
            for job in mine
            if (show_ended and job.record in newest if job.is_ended else show_live)
        }
    )


def _has_label(job: Job, label: str | None, *, exact: bool) -> bool:
    if label is None:
        return True
    return job.spec.label == label if exact else label in (job.spec.label or "")


@router.api_route("/info", methods=METHODS)
def info(ports: Ports, job: KnownJob) -> Response:
    return JsonAnswer(read_info(ports, job))


def read_info(ports: ApiPorts, job: Job) -> dict[str, Any]:
    tokens = read_tokens(ports, job)
    return info_entry(job, tokens, help_page=ports.outputs.read(job.record).help)


@router.api_route("/connect", methods=METHODS)
def connect(ports: Ports, job: KnownJob) -> Response:
    tokens = read_tokens(ports, job)
    if not accepted_of(job).connectable or not job.status.address:
        raise ApiError(NOT_RUNNING)
    return JsonAnswer({"address": job.status.address, "password": tokens.password})


def read_tokens(ports: ApiPorts, job: Job) -> Tokens:
    """
    The secrets of a job that can be reached.

    Raises:
        ApiError: too early or too late; clients poll until this error disappears.
    """
    require_running(job)
    tokens = ports.tokens.read(job.record) if job.status.is_true(ConditionType.EXPOSED) else None
    if tokens is None:
        raise ApiError(NOT_RUNNING)
    return tokens


@router.api_route("/tail", methods=METHODS)
def tail(ports: Ports, lines: Lines, job: KnownJob) -> Response:
    require_running(job)
    return TextAnswer(ports.outputs.read(job.record).render(lines))


@router.api_route("/output", methods=METHODS)
def output(ports: Ports, lines: Lines, job: KnownJob) -> Response:
    if not job.is_ended:
        raise ApiError(NOT_ENDED)
    return TextAnswer(ports.outputs.read(job.record).render(lines))


@router.api_route("/shutdown", methods=METHODS)
def shutdown(ports: Ports, job: JobToStop) -> Response:
    require_running(job)
    request_stop(ports, job, StopReason.SHUTDOWN)
    return JsonAnswer({"status": "shutdown requested"})


@router.api_route("/terminate", methods=METHODS)
def terminate(ports: Ports, job: JobToStop) -> Response:
    """An ended job stays as it is, and the answer is the same: a caller who repeats the call gets what it got."""
    if not job.is_ended:
        request_stop(ports, job, StopReason.TERMINATE)
    return JsonAnswer({"status": "terminated"})


def request_stop(ports: ApiPorts, job: Job, reason: StopReason) -> None:
    try:
        ports.jobs.request_stop(job, reason)
    except NotFoundError as error:  # purged between look-up and write
        raise ApiError(UNKNOWN_JOB_AT_STOP) from error
    log.info("stop_requested", job=job.record, reason=str(reason))
