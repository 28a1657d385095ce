"""
The requests of the Launcher: JSON to values, with the errors of the protocol.

Message types of requests and responses differ: after `submit` they are shifted by one.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from kns.launcher.fields import is_text, replace_halves
from kns.model.errors import (
    ForbiddenError,
    InvalidInputError,
    KnsError,
    MetricsMissingError,
    NotFoundError,
    RefusedError,
    clip,
)
from kns.plain.control import Operation
from kns.plain.errors import (
    ControlError,
    InvalidStateError,
    NotRunningError,
    OutputMissingError,
    UnknownJobError,
)
from kns.plain.output import Kind
from kns.plain.state import Status
from kns.plain.views import EVERYBODY

API_VERSION = (3, 0, 0)
_MOST_UINT64 = 2**64 - 1
MOST_USER = 256  # characters; Linux allows 32, directory services some more
_MOST_ID = 1024  # characters of a job's id, so that no error message grows without bound


class RequestType(IntEnum):
    HEARTBEAT = 0
    BOOTSTRAP = 1
    SUBMIT_JOB = 2
    GET_JOB = 3
    JOB_STATUS = 4
    CONTROL_JOB = 5
    JOB_OUTPUT = 6
    JOB_RESOURCES = 7
    JOB_NETWORK = 8
    CLUSTER_INFO = 9


class ResponseType(IntEnum):
    ERROR = -1
    HEARTBEAT = 0
    BOOTSTRAP = 1
    JOB_STATE = 2
    JOB_STATUS = 3
    CONTROL_JOB = 4
    JOB_OUTPUT = 5
    JOB_RESOURCES = 6
    JOB_NETWORK = 7
    CLUSTER_INFO = 8


class Code(IntEnum):
    UNKNOWN = 0
    NOT_SUPPORTED = 1
    INVALID_REQUEST = 2
    JOB_NOT_FOUND = 3
    PLUGIN_RESTARTED = 4
    TIMEOUT = 5
    JOB_NOT_RUNNING = 6
    OUTPUT_NOT_FOUND = 7
    INVALID_JOB_STATE = 8
    CONTROL_FAILURE = 9
    UNSUPPORTED_VERSION = 10


class UnsupportedVersionError(KnsError):
    """The Launcher speaks another major version of the protocol."""


class NotSupportedError(KnsError):
    """The plugin does not know this kind of request."""


class StaleError(KnsError):
    """The request waited longer than the Launcher waits for its answer, so nothing was done."""


class TooManyError(KnsError):
    """A limit of what may be open or may wait is reached. The request itself is in order."""


# The first class that fits counts.
_CODES: tuple[tuple[type[KnsError], Code], ...] = (
    (UnsupportedVersionError, Code.UNSUPPORTED_VERSION),
    (NotSupportedError, Code.NOT_SUPPORTED),
    (StaleError, Code.TIMEOUT),
    (TooManyError, Code.UNKNOWN),
    (InvalidInputError, Code.INVALID_REQUEST),
    (UnknownJobError, Code.JOB_NOT_FOUND),
    (NotRunningError, Code.JOB_NOT_RUNNING),
    (OutputMissingError, Code.OUTPUT_NOT_FOUND),
    (InvalidStateError, Code.INVALID_JOB_STATE),
    (ControlError, Code.CONTROL_FAILURE),
    (MetricsMissingError, Code.NOT_SUPPORTED),
    (RefusedError, Code.INVALID_REQUEST),
    (NotFoundError, Code.UNKNOWN),
    (ForbiddenError, Code.UNKNOWN),
)


def choose_code(error: Exception) -> Code:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return Code.UNKNOWN


def describe(error: Exception) -> str:
    """What the user sees. An unexpected error is described in the log alone."""
    return (
        replace_halves(clip(str(error)))
        if isinstance(error, KnsError)
        else "the plugin failed; its log has the details"
    )


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request. `user` is the effective user, `*` for all. `size` is the number of bytes of its message, `received` the
    monotonic time at which it came.
    """

    type: int
    id: int
    user: str
    data: Mapping[str, Any]
    size: int = 0
    received: float = field(default_factory=time.monotonic)

    @property
    def job_id(self) -> str:
        """
        Raises:
            InvalidInputError: it is missing.
        """
        value = self.data.get("jobId")
        if not isinstance(value, str) or not value or len(value) > _MOST_ID:
            raise InvalidInputError("jobId", "is missing or is not the id of a job")
        return value

    @property
    def is_cancel(self) -> bool:
        return self.data.get("cancel") is True


def parse_request(frame: bytes) -> Request:
    """
    Raises:
        InvalidInputError: the frame is not a request. Its `requestId` is unknown then.
    """
    try:
        data = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("", f"the message is not JSON: {clip(str(error), 200)}") from error
    if not isinstance(data, dict):
        raise InvalidInputError("", "the message is not a JSON object")
    message_type = data.get("messageType")
    if isinstance(message_type, bool) or not isinstance(message_type, int):
        raise InvalidInputError("messageType", "is missing or is not a number")
    user = data.get("username")
    if not isinstance(user, str) or len(user) > MOST_USER:
        user = ""
    return Request(message_type, read_request_id(data), user, data, len(frame))


def read_request_id(data: Mapping[str, Any]) -> int:
    """The id of a request; 0 if it is missing or is no unsigned number of 64 bits."""
    value = data.get("requestId")
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_UINT64
    return int(value) if is_number and value is not None else 0


def require_user(request: Request) -> str:
    """
    The user whose jobs a request is about; `*` is everybody.

    Raises:
        InvalidInputError: the request names nobody, so nothing says what it may see.
    """
    if not request.user:
        raise InvalidInputError("username", f"must not be empty, and must have at most {MOST_USER} characters")
    return request.user


def choose_user(named: str, request: Request, *, server_user: str) -> str:
    """
    The user of a submitted job. `named` is the job's own field, "" if it has none. An administrator, whose request is
    of everybody, and Workbench's own user submit for the user that the job names. Anybody else submits for themselves.

    Raises:
        InvalidInputError: nobody is named, or somebody else, or the user of the request is none.
    """
    if not request.user and request.data.get("username") not in (None, ""):  # an error must not give rights
        raise InvalidInputError("username", f"is not a text of at most {MOST_USER} characters")
    user = named or request.user
    if user in ("", EVERYBODY):
        raise InvalidInputError("", "User must not be empty.")
    if len(user) > MOST_USER:
        raise InvalidInputError("job.user", f"has {len(user)} characters; at most {MOST_USER} are possible")
    if not is_text(user):  # it would be in each list of all jobs
        raise InvalidInputError("username", "contains a zero byte or half of a surrogate pair; remove it")
    if request.user not in ("", EVERYBODY, server_user, user):
        said = (
            f"is {clip(user, 64)!r}, and the request is of {clip(request.user, 64)!r}; a user submits jobs of their own"
        )
        raise InvalidInputError("job.user", said)
    return user


def check_version(request: Request) -> None:
    """
    Raises:
        UnsupportedVersionError: the Launcher's major version is another one.
        InvalidInputError: there is none.
    """
    version = request.data.get("version")
    parts = [version.get(key) for key in ("major", "minor", "patch")] if isinstance(version, dict) else []
    if not parts or isinstance(parts[0], bool) or not isinstance(parts[0], int):
        raise InvalidInputError("version", "is missing; the Launcher sends its API version")
    if parts[0] != API_VERSION[0]:
        launcher = ".".join(str(part) for part in parts if part is not None)
        raise UnsupportedVersionError(
            f"The plugin supports API version {API_VERSION[0]}.X.XXXX. The Launcher's version is {clip(launcher, 40)}."
        )


_OPERATIONS = (Operation.SUSPEND, Operation.RESUME, Operation.STOP, Operation.KILL, Operation.CANCEL)
_KINDS = (Kind.STDOUT, Kind.STDERR, Kind.MIXED)


def read_operation(request: Request) -> Operation:
    value = request.data.get("operation")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(_OPERATIONS):
        allowed = ", ".join(f"{index} ({operation})" for index, operation in enumerate(_OPERATIONS))
        raise InvalidInputError("operation", f"is missing or unknown; use {allowed}")
    return _OPERATIONS[value]


def read_output_kind(request: Request) -> Kind:
    value = request.data.get("outputType", 2)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(_KINDS):
        raise InvalidInputError("outputType", "is unknown; use 0 (stdout), 1 (stderr) or 2 (both)")
    return _KINDS[value]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a list has. Empty fields select all."""

    tags: frozenset[str]
    statuses: frozenset[Status]
    start: datetime | None
    end: datetime | None


def read_filter(data: Mapping[str, Any]) -> Filter:
    """
    Raises:
        InvalidInputError: a time or a status is unreadable.
    """
    statuses = set()
    for text in _read_texts(data, "statuses"):
        try:
            statuses.add(Status(text))
        except ValueError as error:
            allowed = ", ".join(Status)
            raise InvalidInputError("statuses", f"{clip(text, 40)!r} is unknown; use {allowed}") from error
    return Filter(
        frozenset(_read_texts(data, "tags")),
        frozenset(statuses),
        _read_time(data, "startTime"),
        _read_time(data, "endTime"),
    )


def read_fields(data: Mapping[str, Any]) -> frozenset[str]:
    """The wanted fields of a job; empty means all."""
    return frozenset(_read_texts(data, "fields"))


def _read_texts(data: Mapping[str, Any], key: str) -> list[str]:
    value = data.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInputError(key, "is not a list of texts")
    return value


def _read_time(data: Mapping[str, Any], key: str) -> datetime | None:
    """A time of ISO 8601; without a zone it is UTC."""
    value = data.get(key)
    if value is None or value == "":
        return None
    try:
        time = datetime.fromisoformat(value)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(key, "is not a time like 2026-01-05T14:15:30Z") from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
