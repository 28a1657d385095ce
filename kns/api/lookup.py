"""
The job that a request is about.

The order of refusals is the order of a route's parameters: credentials, other parameters, unknown job; what the job's
state forbids is checked in the route itself. Somebody else's job is refused exactly like an unknown one.
"""

from typing import Annotated

from fastapi import Depends
from fastapi.concurrency import run_in_threadpool

from kns.api.auth import Caller, may_see
from kns.api.errors import (
    NO_JOB_SPECIFIED,
    NOT_RUNNING,
    UNKNOWN_JOB,
    UNKNOWN_JOB_AT_STATUS,
    UNKNOWN_JOB_AT_STOP,
    ApiError,
    Refusal,
)
from kns.api.params import Given, Params
from kns.api.ports import ApiPorts, Ports
from kns.api.shapes import accepted_of
from kns.model.job.job import Job, JobState

_LARGEST = 2**63 - 1


class Integers:
    """A dependency for parameters that are integers and have no effect: a bad one is refused all the same."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    async def __call__(self, _caller: Caller, params: Given) -> None:
        for key in self._keys:
            params.integer(key)


class Lookup:
    """A dependency: the job that the request names. `unknown` is this route's text for a job that is not there."""

    def __init__(self, unknown: Refusal) -> None:
        self._unknown = unknown

    async def __call__(self, caller: Caller, params: Given, ports: Ports) -> Job:
        job = find_job(params, ports) or await run_in_threadpool(fetch_job, params, ports)
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
    return _check_name(ports.jobs.find(number), name)


def fetch_job(params: Params, ports: ApiPorts) -> Job | None:
    """
    The same from the host, for a number that this replica does not know. Whoever submits by one replica asks the other
    a moment later, and a client that is told "unknown" takes its job for lost.
    """
    number = params.integer("number")
    if number is None or not 0 < number <= _LARGEST:
        return None
    return _check_name(ports.jobs.fetch(number), params.text("name"))


def _check_name(job: Job | None, name: str | None) -> Job | None:
    return job if job is not None and name in (None, accepted_of(job).name) else None


def accepted_jobs(ports: ApiPorts) -> list[Job]:
    """Records applied by hand have no number until the leader accepts them; until then no route shows them."""
    return [job for job in ports.jobs.list_jobs() if job.spec.accepted is not None]


def require_running(job: Job) -> None:
    if job.status.job_status is not JobState.PROCESSING:
        raise ApiError(NOT_RUNNING)


KnownJob = Annotated[Job, Depends(Lookup(UNKNOWN_JOB))]
JobToStop = Annotated[Job, Depends(Lookup(UNKNOWN_JOB_AT_STOP))]
JobToReport = Annotated[Job, Depends(Lookup(UNKNOWN_JOB_AT_STATUS))]
