"""
The error tree. The class tells who can fix the error: the caller, time, or an operator.

Adapters translate every error of a library into one of these and chain the cause, so the layers above do not depend on
the library. A message says what was tried, on which object, what came back, and what to do if that is known.
"""

CLIP = 600  # an estimate: an API server's message fits, and so does a log line or a condition


def clip(text: str, limit: int = CLIP) -> str:
    """
    `text` on one line and no longer than `limit` characters.

    >>> clip("a\\n b", 10)
    'a b'
    >>> clip("abcdefgh", 5)
    'abcd…'
    """
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


class KnsError(Exception):
    """Base class of the errors that kns raises on purpose."""


class InvalidInputError(KnsError):
    """The caller must change the input. `path` is the key path of the problem, `""` for the whole input."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}" if path else problem)


class UnknownAppError(KnsError):
    """The app or command is not in the catalogue, or not visible to this user."""


class TokenError(KnsError):
    """A bearer token is not valid. The message says why and never contains a part of the token."""


class TransientError(KnsError):
    """May succeed later. `retry_after_s` is the delay that the server asked for, if any."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ConflictError(TransientError):
    """The object changed since it was read. Read it again and decide again."""


class NotFoundError(TransientError):
    """The object does not exist, or no longer exists."""


class AlreadyExistsError(TransientError):
    """A create request used a name that is taken."""


class ExpiredError(TransientError):
    """The resource version is too old for a watch. List again."""


class UnavailableError(TransientError):
    """No response, or a temporary refusal: timeout, reset, 429, 5xx, or a cache that has not synced."""


class ForbiddenError(TransientError):
    """
    The account lacks the right for the request.

    Transient, because a new RoleBinding takes a moment to take effect. The queue's backoff limits the retries.
    """


class UnauthorizedError(TransientError):
    """
    The server does not accept the credentials of kns.

    Transient, because an administrator may be changing them. The caller limits how long it waits.
    """


class RefusedError(KnsError):
    """The API server refused the request (4xx): quota, admission, schema. A retry would fail in the same way."""


class RenderError(KnsError):
    """helm could not render the chart."""


class MetricsMissingError(KnsError):
    """The cluster has no metrics API, or its account may not read it. An administrator must act."""
