"""The warm pool as a submission sees it."""

from typing import Protocol

from kns.model.job.job import Accepted, JobSpec
from kns.model.job.member import Member


class Members(Protocol):
    """The warm pool as a submission sees it."""

    def claim(self, spec: JobSpec, draft: Accepted) -> Member | None:
        """
        A member for this job that no other job gets; None if none fits or is free, and then the job starts cold.

        `draft` is the job's accepted part; its number has no meaning. It raises nothing, and never waits for a member.
        """
        ...
