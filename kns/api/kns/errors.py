"""The error table of kns's own API. Its texts are for people, so most end with the error's own."""

from kns.http.errors import COMMON_ERRORS, UNAUTHORIZED, ErrorResponse, ErrorTable, Explained
from kns.http.routes import Expected
from kns.model.errors import InvalidInputError, RefusedError, TransientError
from kns.service.errors import (
    CannotSleepError,
    InactiveAccountError,
    NoJobNamedError,
    NotEndedError,
    NotPermittedError,
    NotRunningError,
    UnknownJobError,
    WrongCredentialsError,
)

NO_JOB = ErrorResponse(400, "No job specified")
UNKNOWN_JOB = ErrorResponse(404, "Job not found")

ERRORS: ErrorTable = {
    **COMMON_ERRORS,
    WrongCredentialsError: UNAUTHORIZED,
    NotPermittedError: Explained(403),
    NoJobNamedError: NO_JOB,
    UnknownJobError: UNKNOWN_JOB,
    NotRunningError: Explained(409),
    NotEndedError: Explained(409),
    CannotSleepError: Explained(409),
    InvalidInputError: Explained(400),
    InactiveAccountError: Explained(403),
    RefusedError: Explained(500),
}

LOOKUP: tuple[Expected, ...] = (TransientError, NoJobNamedError, UnknownJobError)
