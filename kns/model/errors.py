"""
The error tree. Who must act decides the class: the caller, time, or an operator.

Adapters translate every outside error into one of these and chain the cause; nothing above the adapters knows an
HTTP library. A message says what was tried, on what, what came back and, where we know it, what to do.
"""

CLIP = 600  # a guess: long enough for an API server's message, short enough for a log line and a condition


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
    """Anything kns raises on purpose."""


class InvalidInputError(KnsError):
    """The caller must change the input. `path` is the key path of the fault, `""` for the whole."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}" if path else problem)


class UnknownAppError(KnsError):
    """The app or command is not in the catalogue, or not visible to this user."""


class TokenError(KnsError):
    """A bearer token that proves nothing. The message says why and never holds any of the token."""


class TransientError(KnsError):
    """Time may heal it: look again later. `retry_after_s` is the server's own wish, if it had one."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ConflictError(TransientError):
    """The object changed since it was read; drop the decision and take a new one."""


class NotFoundError(TransientError):
    """The object is not there (any more)."""


class AlreadyExistsError(TransientError):
    """A create found the name taken."""


class ExpiredError(TransientError):
    """The resource version is too old for a watch: list again."""


class UnavailableError(TransientError):
    """No answer, or an answer that says "not now": timeouts, resets, 429, 5xx, a cache that is not filled yet."""


class ForbiddenError(TransientError):
    """
    The API server refused the right.

    Transient because a RoleBinding made a moment ago takes a moment to count; the queue's backoff bounds the noise.
    """


class UnauthorizedError(TransientError):
    """
    The other side does not take the credentials that kns was given.

    Transient because an administrator may be changing them right now; whoever waits sets the limit.
    """


class RefusedError(KnsError):
    """The API server understood and refused (4xx): quota, admission, schema. Trying again changes nothing."""


class RenderError(KnsError):
    """helm could not render the chart."""
