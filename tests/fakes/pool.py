"""In-memory part of the warm pool, as submissions see it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kns.model.job.job import Accepted, JobSpec
from kns.model.job.member import Marks, Member
from kns.ports import PoolState
from tests.fakes.stores import START


@dataclass
class FakePool:
    """The port `Members`, with the numbers of members to give away. `asked` counts the claims."""

    numbers: list[int] = field(default_factory=list)
    states: Sequence[PoolState] = ()
    asked: int = 0

    def claim(self, spec: JobSpec, draft: Accepted) -> Member | None:
        self.asked += 1
        return _a_member(self.numbers.pop()) if self.numbers else None

    def list_pools(self) -> Sequence[PoolState]:
        return self.states


def _a_member(number: int) -> Member:
    return Member(
        number=number,
        namespace=f"kns-job-{number}",
        uid=f"uid-of-{number}",
        version="1",
        created=START,
        terminating=False,
        marks=Marks("any", "s1"),
    )
