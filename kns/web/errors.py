"""The error table of the page: what went wrong in words, for people. `pages.render_error` makes pages of them."""

from collections.abc import Mapping

from kns.http.errors import COMMON_ERRORS, ErrorResponse, ErrorTable, Explained
from kns.http.routes import Expected
from kns.model.errors import KnsError, RefusedError, TransientError, UnknownAppError
from kns.service.errors import (
    CannotSleepError,
    InactiveAccountError,
    NoJobNamedError,
    NotEndedError,
    NotPermittedError,
    NotRunningError,
    NotStoredError,
    TooManyJobsError,
    TooManyRequestsError,
    UnknownJobError,
    WrongCredentialsError,
)
from kns.web.live import TooManyPagesError

UNKNOWN_JOB = ErrorResponse(
    404, "There is no such job, or it is not yours. Records of ended jobs are removed after some weeks."
)
UNKNOWN_FILE = ErrorResponse(404, "There is no such file.")
FORGED = ErrorResponse(
    403, "The form did not come from this page, or your session has changed. Go back, reload, and try again."
)
UNREADABLE_FORM = ErrorResponse(400, "The form could not be read. Go back, reload the page, and try again.")
NO_KEYCLOAK = ErrorResponse(404, "This site has no sign-in by Keycloak.")
KEYCLOAK_BUSY = ErrorResponse(
    503, "Many people are signing in by Keycloak at this moment. Reload this page in some seconds.", retry_after_s=5
)
NO_LIVE_UPDATES = ErrorResponse(429, "Too many pages are open. Close some, then reload this one.", retry_after_s=60)

# Why a submission was refused, other than for what was filled in.
SUBMITTING: Mapping[type[KnsError], ErrorResponse] = {
    TooManyRequestsError: ErrorResponse(429, "That was too often. Wait a minute, then try again."),
    InactiveAccountError: ErrorResponse(403, "Your account is not active, so it cannot submit jobs."),
    TooManyJobsError: ErrorResponse(
        429, "You have as many live jobs as this site allows. Stop one, then submit again."
    ),
    NotStoredError: ErrorResponse(
        503,
        "kns cannot say whether the job was stored, because its cluster did not confirm it. Submit the same once "
        "more in a minute; that makes one job and not two. Changes do not count then: for another job, open the app "
        "again. If this happens again, ask your administrator.",
    ),
}
ERRORS: ErrorTable = {
    **COMMON_ERRORS,
    **SUBMITTING,
    TransientError: ErrorResponse(
        503, "kns cannot reach its cluster at this moment. Jobs go on. Try again in a minute."
    ),
    WrongCredentialsError: ErrorResponse(401, "The user name or the key is wrong."),
    NotPermittedError: ErrorResponse(403, "Only administrators of this site can see this page."),
    NoJobNamedError: UNKNOWN_JOB,
    UnknownJobError: UNKNOWN_JOB,
    NotRunningError: ErrorResponse(409, "The job is not running, so this is not possible now."),
    RefusedError: Explained(
        409,
        "Nothing has changed, because the cluster of kns does not accept this request, now or later. Give this reason "
        "to the administrator of this site",
    ),
    CannotSleepError: ErrorResponse(409, "The job cannot sleep: its cluster has no volume to keep its state in."),
    NotEndedError: ErrorResponse(409, "The job has not ended yet."),
    UnknownAppError: ErrorResponse(404, "There is no such app, or you cannot use it."),
    TooManyPagesError: NO_LIVE_UPDATES,
}

STORE: tuple[Expected, ...] = (TransientError,)
LOOKUP: tuple[Expected, ...] = (*STORE, UnknownJobError)
