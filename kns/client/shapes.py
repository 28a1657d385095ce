"""
What the answers of kns must have, as far as the command line reads them. Further keys stay as they are.

An address may lead to another server, or to one that somebody else controls. An answer that fails these checks becomes
one error, in place of a failure wherever its values are used.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kns.client.errors import AnswerError

_YEAR_9999_S = 253_402_300_799  # the last second that Python can write as a date
_MOST_S = 1e12  # of a duration


def _check_moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("has no time zone")
    return text


Moment = Annotated[str, AfterValidator(_check_moment)]
Epoch = Annotated[int, Field(ge=0, le=_YEAR_9999_S)]
Seconds = Annotated[float, Field(ge=0, le=_MOST_S)]
Number = Annotated[int, Field(ge=1)]


class Shape(BaseModel):
    """`check` makes one of an answer and drops it."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Step(Shape):
    name: str
    title: str
    state: str
    began: Moment | None
    ended: Moment | None
    seconds: Seconds | None
    message: str


class Usage(Shape):
    core_hours: float
    memory_gib_hours: float
    gpu_hours: float
    cores: float
    memory_gib: float
    gpus: float


class Job(Shape):
    number: Number
    name: str
    user: str
    app: str
    command: str
    machine: str
    nodes: int
    label: str | None
    project: str | None
    status: str
    substatus: str | None
    exit_code: int
    reason: str | None
    message: str | None
    submitted: Moment
    started: Moment | None
    ended: Moment | None
    walltime_seconds: Annotated[int, Field(ge=0, le=_YEAR_9999_S)] | None
    walltime_end: Moment | None
    now: Moment
    steps: list[Step]
    rest: str = ""  # a server of an earlier release does not have these
    namespace: str = ""
    usage: Usage | None = None


class ListedJob(Shape):
    job_number: Number
    job_name: str
    job_status: str
    job_substatus: int
    job_substatus_text: str | None
    job_label: str | None
    job_project: str | None
    job_application: str
    job_command: str
    job_mc_name: str
    job_mc_scale: int
    job_owner_username: str
    job_exitcode: int
    job_address: str | None
    job_submit_time: Epoch
    job_start_time: Epoch
    job_end_time: Epoch


class SubmittedParameters(Shape):
    parameters: dict[str, Any]


class Submission(Shape):
    app: str
    application: SubmittedParameters
    machine: dict[str, Any]


class SubmittedJob(ListedJob):
    job_api_submission: Submission


class Use(Shape):
    used: float
    limit: float
    unit: str


class Warning_(Shape):  # noqa: N801 - `Warning` is Python's
    subject: str
    reason: str
    message: str
    count: int


class Explanation(Shape):
    summary: str
    cause: str
    uses: list[Use]
    warnings: list[Warning_]
    advice: list[str]


class Connection(Shape):
    url: str | None
    shell_url: str | None
    user: str
    password: str


class Limits(Shape):
    live_jobs: int
    live_jobs_limit: int | None


class Free(Shape):
    machines: dict[str, int | None]


class Measured(Shape):
    cpu_used: float
    memory_used: float
    memory_total: float


class Measurement(Shape):
    summary: Measured


class Share(Shape):
    user: str
    live_jobs: int
    cores: float
    memory_gib: float
    gpus: float


class Failure(Shape):
    reason: str
    count: int


class Orphan(Shape):
    time: str | None
    reason: str
    message: str
    count: int


class Overview(Shape):
    users: list[Share]
    live_jobs_limit: int | None
    starting: int
    running: int
    failures: list[Failure]
    failed: list[Job]
    orphans: list[Orphan] | None
    live: list[Job]
    more: bool


class Command(Shape):
    description: str
    parameters: dict[str, dict[str, Any]] | None = None
    machines: list[str] | None = None


class AppDef(Shape):
    name: str
    description: str
    author: str
    commands: Annotated[dict[str, Command], Field(min_length=1)]
    classifications: list[str] = []
    machines: list[str] = []


class App(Shape):
    id: str
    data: AppDef


class Accepted(Shape):
    number: Number
    name: str


class Extended(Shape):
    walltime_seconds: Annotated[int, Field(ge=0, le=_YEAR_9999_S)]


def check(shape: type[Shape], call: str, data: Any) -> dict[str, Any]:
    """
    `data` as it is.

    Raises:
        AnswerError: it does not have that shape.
    """
    try:
        shape.model_validate(data)
    except (ValidationError, RecursionError) as error:
        raise AnswerError(call, _describe(error)) from error
    found: dict[str, Any] = data
    return found


def check_each(shape: type[Shape], call: str, data: Any) -> dict[str, dict[str, Any]]:
    """
    An object of objects, as it is.

    Raises:
        AnswerError: it is something else.
    """
    if not isinstance(data, dict):
        raise AnswerError(call, "it is no object")
    return {str(key): check(shape, call, value) for key, value in data.items()}


def _describe(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "it is nested too deeply"
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
