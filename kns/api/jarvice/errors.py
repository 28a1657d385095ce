"""
The error table of the public API. The texts are the published ones; see `kns.http.errors`.
"""

from kns.http.errors import COMMON_ERRORS, UNAUTHORIZED, ErrorResponse, ErrorTable
from kns.http.routes import Expected
from kns.model.errors import TransientError, UnknownAppError
from kns.service.errors import (
    InactiveAccountError,
    NoJobNamedError,
    NotEndedError,
    NotPermittedError,
    NotRunningError,
    NotStoredError,
    TooManyJobsError,
    UnknownJobError,
    WrongCredentialsError,
)

MALFORMED = ErrorResponse(400, "Missing or Malformed API Syntax")  # submit only
NO_CONTAINERS = ErrorResponse(400, "Container cannot create Application")  # batch: a container is not a nested app
NO_SIGNAL = ErrorResponse(400, "signal not supported")  # a nested job has no single process
NO_SCREEN = ErrorResponse(404, "Not found")
UNKNOWN_QUEUE = ErrorResponse(404, "Queue not found")

ERRORS: ErrorTable = {
    **COMMON_ERRORS,
    WrongCredentialsError: UNAUTHORIZED,
    NotPermittedError: UNAUTHORIZED,
    InactiveAccountError: ErrorResponse(401, "Account billing not active"),
    NoJobNamedError: ErrorResponse(400, "No job specified"),
    UnknownJobError: ErrorResponse(404, "Job not found"),
    NotRunningError: ErrorResponse(404, "Running job is not found"),
    NotEndedError: ErrorResponse(404, "Job not found"),
    UnknownAppError: ErrorResponse(404, "Application Not Found"),
    TooManyJobsError: ErrorResponse(429, "Only one active job allowed per VM"),  # the original's text for its own limit
    NotStoredError: ErrorResponse(500, "Unable to create Job Submission"),
}

# Rows that routes replace.
UNKNOWN_AT_STATUS: ErrorTable = {UnknownJobError: ErrorResponse(404, "Not Found")}
UNKNOWN_AT_STOP: ErrorTable = {UnknownJobError: ErrorResponse(404, "Not found")}
WRONG_AT_SUBMIT: ErrorTable = {WrongCredentialsError: ErrorResponse(401, "Not Authorized")}

# What routes declare: reading the store, finding a job, finding a running job.
STORE: tuple[Expected, ...] = (TransientError,)
LOOKUP: tuple[Expected, ...] = (*STORE, NoJobNamedError, UnknownJobError)
RUNNING: tuple[Expected, ...] = (*LOOKUP, NotRunningError)
