"""The warm pool as a submission sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kns.model.job.job import Accepted, JobSpec
from kns.model.job.member import Member


@dataclass(frozen=True, slots=True)
class PoolState:
    """
    One pool of the settings. `wanted` is its size, `ready` the members that a job can claim, `making` those that will
    be, `claimed` those whose jobs have not taken them over yet. `oldest` is when the oldest ready one was made.
    """

    name: str
    wanted: int
    ready: int = 0
    making: int = 0
    claimed: int = 0
    oldest: datetime | None = None


class Members(Protocol):
    """The warm pool as a submission sees it."""

    def claim(self, spec: JobSpec, draft: Accepted) -> Member | None:
        """
        A member for this job that no other job gets; None if none fits or is free, and then the job starts cold.

        `draft` is the job's accepted part; its number has no meaning. It raises nothing, and never waits for a member.
        """
        ...

    def list_pools(self) -> Sequence[PoolState]:
        """The pools of the settings, in their order, as the watch cache has them."""
        ...
