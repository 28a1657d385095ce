"""
The HTTP client of kns, for programs that call its API: the demo, the measurements, the tests, the command line.

It imports the model and httpx only, so that it works without the scheduler's dependencies.
"""

from kns.client.errors import AnswerError, ClientError, NoResponseError, ResponseError, UnknownJobError
from kns.client.http import TIMEOUT_S, Client, read_error
from kns.client.wire import (
    ENDED,
    OWN_PREFIX,
    PREFIX,
    ApiKey,
    Bearer,
    Credentials,
    JobEntry,
    JobRef,
    Renewed,
    Submitted,
    build_submission,
    is_gone,
)

__all__ = [
    "ENDED",
    "OWN_PREFIX",
    "PREFIX",
    "TIMEOUT_S",
    "AnswerError",
    "ApiKey",
    "Bearer",
    "Client",
    "ClientError",
    "Credentials",
    "JobEntry",
    "JobRef",
    "NoResponseError",
    "Renewed",
    "ResponseError",
    "Submitted",
    "UnknownJobError",
    "build_submission",
    "is_gone",
    "read_error",
]
