"""
The job that a request names, and parameters that are checked before it is looked up.

A route answers the first error in the order of its function's parameters: credentials, other parameters, unknown job.
The route's function checks the job's state last.
"""

from typing import Annotated

from fastapi import Depends
from fastapi.concurrency import run_in_threadpool

from kns.http.auth import Caller
from kns.http.dependencies import Ports
from kns.http.parameters import DEFAULT_LINES, Given
from kns.http.routes import Parameter
from kns.http.schemas import INTEGER
from kns.model.job.job import Job
from kns.service.find import JobRef, fetch_job, find_job

JOB = (
    Parameter("name", "Name of the job; it or `number` is needed, and both must mean the same job."),
    Parameter("number", "Number of the job.", INTEGER),
)
LINES = Parameter(
    "lines", "How many of the last lines, 0 for all.", {**INTEGER, "minimum": 0, "default": DEFAULT_LINES}
)


class Integers:
    """A dependency that checks integer parameters which have no effect."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    async def __call__(self, _caller: Caller, params: Given) -> None:
        for key in self._keys:
            params.integer(key)


async def _read_lines(_caller: Caller, params: Given) -> int:
    return params.lines()


Lines = Annotated[int, Depends(_read_lines)]


async def _find_known_job(caller: Caller, params: Given, ports: Ports) -> Job:
    ref = JobRef(params.integer("number"), params.text("name"))
    job = find_job(ports, caller, ref)
    return await run_in_threadpool(fetch_job, ports, caller, ref) if job is None else job


KnownJob = Annotated[Job, Depends(_find_known_job)]
