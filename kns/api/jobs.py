"""
The routes about existing jobs, those included that the original has and a nested job refuses.

The order of refusals is that of `lookup`; then come the job's state, and last what a nested job does not offer.
"""

from collections.abc import Iterable
from datetime import datetime
from threading import BoundedSemaphore
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Response

from kns.api.answers import JsonAnswer, TextAnswer
from kns.api.auth import Caller
from kns.api.errors import (
    INVALID_PARAMETERS,
    NO_SCREEN,
    NO_SIGNAL,
    NOT_ENDED,
    NOT_RUNNING,
    PARAMETERS_MISSING,
    UNKNOWN_JOB_AT_STOP,
    ApiError,
)
from kns.api.lookup import Integers, JobToReport, JobToStop, KnownJob, accepted_jobs, require_running
from kns.api.params import Given, Params
from kns.api.ports import ApiPorts, Ports
from kns.api.shapes import accepted_of, info_entry, job_entry, status_entry
from kns.model.errors import NotFoundError
from kns.model.job.job import Job, StopReason
from kns.model.job.tokens import Tokens

NEWEST_ENDED = 1000  # an answer must stay readable; older jobs are found by number
DEFAULT_LINES = 100
METHODS = ["GET", "POST"]

_RENDERING = BoundedSemaphore(8)

log = structlog.get_logger(__name__)
router = APIRouter()


def read_lines(params: Params) -> int:
    """How many of the last lines are wanted, 0 for all."""
    lines = params.integer("lines")
    if lines is not None and lines < 0:
        raise ApiError(INVALID_PARAMETERS)
    return DEFAULT_LINES if lines is None else lines


async def _lines_of(_caller: Caller, params: Given) -> int:
    return read_lines(params)


Lines = Annotated[int, Depends(_lines_of)]


@router.api_route("/status", methods=METHODS)
async def status(ports: Ports, job: JobToReport) -> Response:
    return JsonAnswer({str(accepted_of(job).number): status_entry(job, now=ports.clock.now())})


@router.api_route("/jobs", methods=METHODS)
def jobs(ports: Ports, caller: Caller, params: Given) -> Response:
    """The caller's own jobs."""
    label, exact = params.text("label"), params.flag("exactmatch")
    completed, everything = params.flag("completed"), params.flag("all")
    mine = [
        job for job in accepted_jobs(ports) if job.spec.user == caller.username and _has_label(job, label, exact=exact)
    ]
    now = ports.clock.now()
    return JsonAnswer(list_entries(mine, live=everything or not completed, ended=everything or completed, now=now))


def list_entries(found: Iterable[Job], *, live: bool, ended: bool, now: datetime) -> dict[str, dict[str, Any]]:
    """Entries by number, oldest first; of ended jobs the newest thousand."""
    ordered = sorted(found, key=lambda job: accepted_of(job).number)
    newest = {job.record for job in [job for job in ordered if job.is_ended][-NEWEST_ENDED:]}
    return {
        str(accepted_of(job).number): job_entry(job, now=now)
        for job in ordered
        if (ended and job.record in newest if job.is_ended else live)
    }


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
    tokens = ports.tokens.read(job.record) if job.status.has_been_exposed else None
    if tokens is None:
        raise ApiError(NOT_RUNNING)
    return tokens


@router.api_route("/tail", methods=METHODS)
def tail(ports: Ports, lines: Lines, job: KnownJob) -> Response:
    require_running(job)
    return TextAnswer(render_output(ports, job, lines, recent=True))


@router.api_route("/output", methods=METHODS)
def output(ports: Ports, lines: Lines, job: KnownJob) -> Response:
    if not job.is_ended:
        raise ApiError(NOT_ENDED)
    return TextAnswer(render_output(ports, job, lines))


def render_output(ports: ApiPorts, job: Job, last: int = 0, *, recent: bool = False) -> str:
    """The last lines of a job's output (0: all). A few at a time: a long log takes many times its size meanwhile."""
    output = ports.outputs.read(job.record, recent=recent)  # however long the host takes, nobody else waits for it
    with _RENDERING:
        return output.render(last)


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


@router.api_route("/screenshot", methods=METHODS, dependencies=[Depends(Integers("width", "height"))])
def screenshot(job: KnownJob) -> Response:
    require_running(job)
    raise ApiError(NO_SCREEN)


@router.api_route("/signal", methods=METHODS, dependencies=[Depends(Integers("signal"))])
def signal(job: JobToStop) -> Response:
    require_running(job)
    raise ApiError(NO_SIGNAL)


async def _require_action(_caller: Caller, params: Given) -> None:
    if params.text("action") is None:
        raise ApiError(PARAMETERS_MISSING)


@router.api_route("/action", methods=METHODS, dependencies=[Depends(_require_action)])
def action(job: KnownJob) -> Response:
    """A nested app defines no actions, so every one of them is unknown."""
    require_running(job)
    raise ApiError(INVALID_PARAMETERS)
