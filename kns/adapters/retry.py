"""A few quick retries of one call, with jitter and a deadline. The work queue does all longer retries."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from kns.model.errors import ConflictError, ForbiddenError, KnsError

ResultT = TypeVar("ResultT")


def retry_on_conflict(call: Callable[[], ResultT]) -> ResultT:
    """
    Run a read-modify-write, and repeat it for at most five seconds if another writer was faster.

    Raises:
        ConflictError: another writer was faster in every attempt.
    """
    return _retry(call, ConflictError, limit_s=5)


def retry_while_forbidden(call: Callable[[], ResultT]) -> ResultT:
    """
    Run a call that needs rights which were bound a moment ago, and repeat it for at most two seconds while it is
    forbidden. An API server hears of new rights by a watch, usually within some milliseconds.

    Raises:
        ForbiddenError: the rights are still missing.
    """
    return _retry(call, ForbiddenError, limit_s=2)


def _retry(call: Callable[[], ResultT], error: type[KnsError], *, limit_s: float) -> ResultT:
    attempts = Retrying(
        retry=retry_if_exception_type(error),
        stop=stop_after_delay(limit_s),
        wait=wait_random_exponential(multiplier=0.02, max=0.5),
        reraise=True,
    )
    return attempts(call)
