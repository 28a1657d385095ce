"""What the pool applies gives way to jobs."""

from collections.abc import Callable
from typing import Any, cast

from kns.model.errors import UnavailableError
from kns.ports import Cluster


def yield_to_jobs(cluster: Cluster, must_yield: Callable[[], bool]) -> Cluster:
    """
    `cluster`, but `apply` raises UnavailableError while `must_yield`, because all writes share one limit.
    """
    return cast(Cluster, _Yielding(cluster, must_yield))


class _Yielding:
    def __init__(self, cluster: Cluster, must_yield: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._must_yield = must_yield

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def apply(self, obj: Any) -> Any:
        if self._must_yield():
            raise UnavailableError("a job waits for its start; the pool goes on afterwards")
        return self._cluster.apply(obj)
