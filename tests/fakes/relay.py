"""The clusters of jobs, in memory: each answers what the test says."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kns.model.job.location import Location
from kns.ports import ClusterAnswer, ClusterChannel, ClusterRequest, RefusedChannel
from kns.ports.relay import Headers


@dataclass
class FakeAnswer:
    """`broken` is raised after `body`."""

    status: int = 200
    headers: Headers = (("content-type", "application/json"),)
    body: Sequence[bytes] = (b'{"kind":"PodList"}',)
    broken: Exception | None = None

    async def parts(self) -> AsyncIterator[bytes]:
        for part in self.body:
            yield part
        if self.broken is not None:
            raise self.broken


@dataclass
class FakeJobClusters:
    answer: FakeAnswer = field(default_factory=FakeAnswer)
    seen: list[tuple[Location, ClusterRequest]] = field(default_factory=list)
    fault: Exception | None = None
    on_open: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def open(self, location: Location, request: ClusterRequest) -> AsyncIterator[ClusterAnswer]:
        self.seen.append((location, request))
        self.on_open()
        if self.fault is not None:
            raise self.fault
        yield self.answer

    @asynccontextmanager
    async def connect(
        self, location: Location, request: ClusterRequest, subprotocols: Sequence[str]
    ) -> AsyncIterator[ClusterChannel | RefusedChannel]:
        self.seen.append((location, request))
        if self.fault is not None:
            raise self.fault
        yield RefusedChannel(404, "application/json", b'{"kind":"Status"}')

    async def close(self) -> None:
        return
