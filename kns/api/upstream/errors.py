"""The error table of the upstream protocol. Every failure of a submit is 500 in it."""

from kns.http.errors import COMMON_ERRORS, ErrorResponse, ErrorTable, Explained
from kns.model.errors import InvalidInputError, UnknownAppError
from kns.service.errors import (
    JobGoneError,
    NameTakenError,
    NoJobNamedError,
    NotEndedError,
    NotRunningError,
    NotStoredError,
    UnknownJobError,
)

_MALFORMED = "Missing or Malformed API Syntax"

ERRORS: ErrorTable = {
    **COMMON_ERRORS,
    NoJobNamedError: ErrorResponse(400, "No job specified"),
    UnknownJobError: ErrorResponse(404, "Job not found"),
    JobGoneError: ErrorResponse(404, "Not found"),
    NotRunningError: ErrorResponse(404, "Running job is not found"),
    NotEndedError: ErrorResponse(500, "Job has not ended"),
}

# Rows of `submit`.
SUBMIT_ERRORS: ErrorTable = {
    InvalidInputError: Explained(500, _MALFORMED),
    NameTakenError: Explained(500, f"{_MALFORMED}: args.name"),
    UnknownAppError: Explained(500, "Application Not Found"),
    NotStoredError: ErrorResponse(500, "Unable to create Job Submission"),
}
