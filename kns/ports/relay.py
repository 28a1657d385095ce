"""
The API servers of jobs' virtual clusters, for requests that users send themselves.

A tenant controls such a server: it may answer with anything, at any speed. Implementations bound the time until an
answer begins and the size of a message; whoever passes an answer on bounds the rest.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from kns.model.job.location import Location

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ClusterRequest:
    """`target` is path and query as the client encoded them; it begins with `/`. Names of headers are lower case."""

    method: str
    target: str = field(repr=False)
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False, default=b"")


class ClusterAnswer(Protocol):
    """The beginning of an answer, and its body as it arrives."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers:
        """Names are lower case. The body is encoded as they say."""
        ...

    def parts(self) -> AsyncIterator[bytes]:
        """
        The body as sent. Iterate once.

        Raises:
            UnavailableError: the server broke the connection before the end.
        """
        ...


class ClusterChannel(Protocol):
    """An open WebSocket."""

    @property
    def subprotocol(self) -> str | None: ...

    async def receive(self) -> str | bytes | None:
        """The next message; None after the end."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send a message, or drop it after the end."""
        ...


@dataclass(frozen=True, slots=True)
class RefusedChannel:
    """The server answered a request for a WebSocket with this instead."""

    status: int
    content_type: str
    body: bytes


class JobClusters(Protocol):
    """All errors of `open` and `connect` are `TransientError`s; `NotFoundError`: there are no credentials yet."""

    def open(self, location: Location, request: ClusterRequest) -> AbstractAsyncContextManager[ClusterAnswer]:
        """Send a request with the credentials of the job's cluster. Redirects are not followed."""
        ...

    def connect(
        self, location: Location, request: ClusterRequest, subprotocols: Sequence[str]
    ) -> AbstractAsyncContextManager[ClusterChannel | RefusedChannel]:
        """Open a WebSocket with the credentials of the job's cluster. Method and body of the request have no effect."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
