"""
The arguments of a call: the form field `args`, which holds JSON.

Unknown keys are ignored, because upstream sends the same keys to schedulers of every kind. A known key of a wrong type
is refused, because these calls start and end jobs.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field

from kns.http.errors import BAD_REQUEST, INVALID_PARAMETERS, HttpError
from kns.http.json_body import decode_appdef, decode_json
from kns.http.parameters import Given, Params
from kns.model import names
from kns.model.errors import InvalidInputError
from kns.model.job.job import Job
from kns.model.reading.parsing import parse_model
from kns.service.errors import UnknownJobError
from kns.service.find import JobRef, Trusted, fetch_job, find_job
from kns.service.ports import ServicePorts

# The name is part of a path and of the job's environment, so characters that a shell or a URL interprets are excluded.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@+=~-]{0,252}$"

Number = int | Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
ArgsT = TypeVar("ArgsT", bound="Args")


class Args(BaseModel):
    """The keys of `args` that have an effect."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class JobArgs(Args):
    """
    A job as upstream names it.

    `jobid` is the answer of `submit`. If that answer was lost, upstream has none, and `name` identifies the job.
    `number` is upstream's own; kns only returns it.
    """

    name: str | None = None
    number: Number | None = None
    jobid: str | None = None


class SubmitArgs(Args):
    """`submission` is the body of the public `submit`; `appdef` replaces the catalogue's for this job."""

    name: Annotated[str, Field(pattern=_NAME)] | None = None
    submission: dict[str, Any] = Field(repr=False)
    appdef: dict[str, Any] | None = Field(default=None, repr=False)


class RequestArgs(Args):
    """`qs` is a query as upstream received it: each name with the list of its values."""

    qs: dict[str, Any] = Field(default={}, repr=False)

    def params(self) -> Params:
        """The first value of each name."""
        firsts = {key: next(iter(value), None) if isinstance(value, list) else value for key, value in self.qs.items()}
        return Params(firsts)


def _read_args(model: type[ArgsT], params: Params, *, decode: Callable[[bytes], Any] = decode_json) -> ArgsT:
    """
    Raises:
        HttpError: `args` is absent or not JSON, or a key of it has a wrong type.
    """
    args = params.values.get("args")
    if args is None:
        raise HttpError(BAD_REQUEST.because("args is missing: the body is a form with a field args that holds JSON"))
    try:
        return parse_model(model, decode(args.encode()) if isinstance(args, str) else args, prefix="args")
    except (InvalidInputError, UnicodeEncodeError) as error:
        raise HttpError(INVALID_PARAMETERS.because(_explain(error))) from error


def _explain(error: InvalidInputError | UnicodeEncodeError) -> str:
    """An error inside the JSON has a key path; text that is not JSON has none."""
    path = error.path if isinstance(error, InvalidInputError) else ""
    return str(error) if path else "args: is not JSON that can be read"


async def _read_job_args(params: Given) -> JobArgs:
    return _read_args(JobArgs, params)


async def _read_submit_args(params: Given) -> SubmitArgs:
    return _read_args(SubmitArgs, params, decode=decode_appdef)


async def _read_request_args(params: Given) -> RequestArgs:
    return _read_args(RequestArgs, params)


GivenJob = Annotated[JobArgs, Depends(_read_job_args)]
GivenSubmission = Annotated[SubmitArgs, Depends(_read_submit_args)]
GivenRequest = Annotated[RequestArgs, Depends(_read_request_args)]


def get_job(ports: ServicePorts, *, jobid: str | None, name: str | None) -> Job:
    """
    The job with that jobid and, if given, that name. Without a jobid, the job with that name.

    Raises:
        NoJobNamedError: neither is given.
        UnknownJobError: there is no such job.
    """
    number = None
    if jobid:
        number = names.read_job_number(jobid)
        if number is None:
            raise UnknownJobError(f"{jobid!r} is not a jobid")
    ref = JobRef(number, name or None)
    return find_job(ports, Trusted.UPSTREAM, ref) or fetch_job(ports, Trusted.UPSTREAM, ref)


def get_job_or_none(ports: ServicePorts, args: JobArgs) -> Job | None:
    try:
        return get_job(ports, jobid=args.jobid, name=args.name)
    except UnknownJobError:
        return None
