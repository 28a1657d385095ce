"""A few quick retries of one call, with jitter and a deadline. The work queue does all longer retries."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from kns.model.errors import ConflictError, ForbiddenError, KnsError

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


def retry_on_conflict(call: Callable[P, ResultT]) -> Callable[P, ResultT]:
    """
    A read-modify-write that is repeated for at most five seconds if another writer was faster.

    Raises:
        ConflictError: another writer was faster in every attempt.
    """
    return _repeat(call, ConflictError, limit_s=5)


def retry_while_forbidden(call: Callable[P, ResultT]) -> Callable[P, ResultT]:
    """
    A call that needs rights which were bound a moment ago. It is repeated for at most two seconds while it is
    forbidden. An API server hears of new rights by a watch, usually within some milliseconds.

    Raises:
        ForbiddenError: the rights are still missing.
    """
    return _repeat(call, ForbiddenError, limit_s=2)


def _repeat(call: Callable[P, ResultT], error: type[KnsError], *, limit_s: float) -> Callable[P, ResultT]:
    repeated = retry(
        retry=retry_if_exception_type(error),
        stop=stop_after_delay(limit_s),
        wait=wait_random_exponential(multiplier=0.02, max=0.5),
        reraise=True,
    )
    return repeated(call)
