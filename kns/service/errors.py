"""
The errors of the use cases. Each front end has a table that turns them into its own answers.

A use case may also raise `InvalidInputError` and `UnknownAppError` of the model, and `TransientError` of a port.
"""

from kns.model.errors import KnsError


class ServiceError(KnsError):
    """A request that a use case refuses."""


class WrongCredentialsError(ServiceError):
    """The key or token is wrong, or belongs to another user."""


class TooManyRequestsError(ServiceError):
    """The caller exceeded a rate limit; the next request is allowed after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"too many requests; try again in {retry_after_s:.0f} s")


class NotPermittedError(ServiceError):
    """The caller is known but lacks the right."""


class InactiveAccountError(ServiceError):
    """The caller's account is not active, so it may not submit."""


class NoJobNamedError(ServiceError):
    """The request has neither the number nor the name of a job."""


class UnknownJobError(ServiceError):
    """The job does not exist, or the caller may not see it. The two cases are never distinguished."""


class JobGoneError(UnknownJobError):
    """The job's record was deleted after the job was found."""


class NotRunningError(ServiceError):
    """The job is not running, or cannot be reached or measured yet. Clients poll until this error stops."""


class NotOfferedError(ServiceError):
    """The site does not offer this, or not for this job."""


class CannotSleepError(ServiceError):
    """The job's virtual cluster would lose its state in its sleep."""


class NotEndedError(ServiceError):
    """The job has not ended."""


class TooManyJobsError(ServiceError):
    """The user has as many live jobs as the site allows."""


class NameTakenError(ServiceError):
    """The name that a trusted system chose for a new job belongs to another job."""


class NotStoredError(ServiceError):
    """The record of a new job could not be stored."""
