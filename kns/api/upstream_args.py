"""
What an upstream JARVICE sends: its Basic credentials, and the form field `args`, which holds JSON.

Unknown keys are ignored, since upstream sends one set of keys to schedulers of every kind; a known key of a wrong type
is refused, since these calls start and end jobs.
"""

import base64
import binascii
import hmac
import re
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from kns.api.auth import Sent
from kns.api.errors import BAD_REQUEST, INVALID_PARAMETERS, TOO_MANY_REQUESTS, UNAUTHORIZED, ApiError
from kns.api.lookup import fetch_job, find_job
from kns.api.params import Given, Params, decode_json
from kns.api.ports import ApiPorts, Ports
from kns.model.errors import InvalidInputError
from kns.model.job.job import Job
from kns.model.reading.parsing import parse_model

_JOBID = re.compile(r"kns-job-([1-9][0-9]{0,17})")
# Part of a path and of the job's environment: no slash, no space, nothing that a shell or a URL would read.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@+=~-]{0,252}$"

Number = int | Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
ArgsT = TypeVar("ArgsT", bound="Args")


class WrongKeyError(Exception):
    """The request does not carry the server key."""


def ask_for_key(_request: Request, _error: Exception) -> Response:
    """The answer to `WrongKeyError`."""
    answer = UNAUTHORIZED.answer()
    answer.headers["www-authenticate"] = 'Basic realm="kns"'
    return answer


async def check_key(request: Request, sender: Sent, ports: Ports) -> None:
    """
    Raises:
        WrongKeyError: no credentials, or wrong ones.
        ApiError: too many failures of this user from this address in the last minute.
    """
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        given = b""
    if not given:
        raise WrongKeyError
    user = given.partition(b":")[0].decode("latin-1")
    guesser = ("upstream", user, sender.address)  # three words, so never a user of the public API
    failures = ports.limits.failed_logins
    wait_s = failures.wait_s(*guesser)
    if wait_s > 0:
        raise ApiError(TOO_MANY_REQUESTS.after(wait_s))
    if ports.server_key is None or not hmac.compare_digest(given, ports.server_key.encode()):
        failures.take(*guesser)
        raise WrongKeyError


class Args(BaseModel):
    """The keys of `args` that have an effect."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class JobArgs(Args):
    """
    A job as upstream names it. `jobid` is the answer of `submit`; upstream has none if that answer was lost, and then
    `name` leads to the job. `number` is upstream's own and only given back.
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


def read_args(model: type[ArgsT], params: Params) -> ArgsT:
    """
    Raises:
        ApiError: `args` is absent or not JSON, or a key of it has a wrong type.
    """
    args = params.values.get("args")
    if args is None:
        raise ApiError(BAD_REQUEST.because("args is missing: the body is a form with a field args that holds JSON"))
    try:
        return parse_model(model, decode_json(args.encode()) if isinstance(args, str) else args, prefix="args")
    except (InvalidInputError, UnicodeEncodeError) as error:
        raise ApiError(INVALID_PARAMETERS.because(_explain(error))) from error


def _explain(error: InvalidInputError | UnicodeEncodeError) -> str:
    """A fault inside has its key path; a text that is no JSON has none yet."""
    path = error.path if isinstance(error, InvalidInputError) else ""
    return str(error) if path else "args: is not JSON that can be read"


def find_upstream_job(ports: ApiPorts, *, jobid: str | None, name: str | None) -> Job | None:
    """
    The job of that jobid, if it also has that name; without a jobid, the job of that name.

    Raises:
        ApiError: neither is given.
    """
    number = None
    if jobid:
        match = _JOBID.fullmatch(jobid)
        if match is None:
            return None
        number = int(match[1])
    params = Params({"number": number, "name": name})
    return find_job(params, ports) or fetch_job(params, ports)


async def _read_job_args(params: Given) -> JobArgs:
    return read_args(JobArgs, params)


async def _read_submit_args(params: Given) -> SubmitArgs:
    return read_args(SubmitArgs, params)


async def _read_request_args(params: Given) -> RequestArgs:
    return read_args(RequestArgs, params)


GivenJob = Annotated[JobArgs, Depends(_read_job_args)]
GivenSubmission = Annotated[SubmitArgs, Depends(_read_submit_args)]
GivenRequest = Annotated[RequestArgs, Depends(_read_request_args)]
