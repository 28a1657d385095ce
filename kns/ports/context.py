"""What a stage receives: the job, the time, the site, and the ports that stages use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from kns.model import names
from kns.model.job.job import Accepted, Job
from kns.model.job.location import Location
from kns.model.job.member import Marks
from kns.model.job.room import Room
from kns.model.site import JobAddress, Site
from kns.ports.catalog import CatalogSource
from kns.ports.cluster import Cluster
from kns.ports.identity import IdentityProvider
from kns.ports.owned import InputStore, OutputStore, TokenStore
from kns.ports.virtual import Renderer, VirtualClusters


class RoomMemory(Protocol):
    """
    What the leader last saw of each job's quota, by the uid of its record. It may forget any of it: then refused pods
    wait for their syncer's own delays.
    """

    def recall(self, uid: str) -> Room | None: ...

    def keep(self, uid: str, room: Room) -> None: ...


class Doors(Protocol):
    """The HTTP servers of kns, which answer in place of a job that is asleep."""

    def list_addresses(self) -> Sequence[str]:
        """The IP addresses of the pods of kns that are ready, sorted. They may be some seconds old."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """
    The ports that stages use. `identity` is None on a site without Keycloak. Without `rooms`, pods that the quota
    refused wait for their syncer's own delays. Without `doors`, nothing answers at the address of a job that is asleep.
    """

    cluster: Cluster
    renderer: Renderer
    virtual_clusters: VirtualClusters
    outputs: OutputStore
    tokens: TokenStore
    inputs: InputStore
    catalog: CatalogSource
    identity: IdentityProvider | None = None
    rooms: RoomMemory | None = None
    doors: Doors | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """
    One reconcile of one job: the record as read, the time, the site, and the ports.

    `is_time_trusted`: the clock of this machine agrees with the host API's. `leading_since` is when this process became
    the leader; None if that does not matter. `member` is set while a pool member is made or checked; `job` and
    `accepted` are then drafts, and no record exists.
    """

    job: Job
    accepted: Accepted
    now: datetime
    site: Site
    world: World
    is_time_trusted: bool = True
    leading_since: datetime | None = None
    member: Marks | None = None

    def elapsed_since(self, start: datetime) -> timedelta:
        """
        The time since a stored time, for every limit that ends a job. Zero while the clock is wrong, so that no limit
        passes.
        """
        return self.now - start if self.is_time_trusted else timedelta()

    @property
    def location(self) -> Location:
        """Where the job runs on the host cluster."""
        return self.accepted.location

    @property
    def namespace(self) -> str:
        """The job's namespace on the host cluster."""
        return self.location.namespace

    @property
    def public_name(self) -> str:
        """The job's public name, which is the name of its Keycloak client."""
        return names.job_object_name(self.accepted.number)

    @property
    def address(self) -> JobAddress | None:
        """The job's address, or the one it will have; None if the job has no target or the site no jobs domain."""
        return self.site.job_address(self.accepted.number, self.accepted.nested, url=self.job.status.url)
