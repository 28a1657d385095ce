"""The ports that use cases need, as one bundle."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from kns.model.catalog.catalog import User
from kns.model.job.job import Job
from kns.model.submit.submission import Terms
from kns.ports import (
    Bearer,
    CatalogSource,
    Clock,
    FreeRoom,
    Health,
    JobClusters,
    JobStore,
    Members,
    NamespaceReader,
    OutputStore,
    RateLimit,
    TokenStore,
)
from kns.service.errors import TooManyRequestsError
from kns.service.lanes import Lanes


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Limits for one user: failed logins, submits and look-ups of unknown jobs per minute, live jobs at a time (0 =
    unlimited). What a user may do to a job again and again, each time with a write, counts as a submit.
    """

    failed_logins: RateLimit
    submits: RateLimit
    lookups: RateLimit
    live_jobs: int = 0

    def take_submit(self, user: User) -> None:
        """
        Raises:
            TooManyRequestsError: the user has none left in this minute.
        """
        wait_s = self.submits.take(user.username)
        if wait_s > 0:
            raise TooManyRequestsError(wait_s)


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """
    `for_all`: users reach the clusters of all their jobs, not only of those with a web shell. `with_shells`: the site
    allows web shells.
    """

    clusters: JobClusters
    for_all: bool = False
    with_shells: bool = True
    lanes: Lanes = field(default_factory=Lanes)


@dataclass(frozen=True, slots=True)
class ServicePorts:
    """
    The outside world of the use cases. If `bearer` is None, every token is refused; if `members` is None, there is no
    warm pool; if `clusters` is None, no user reaches the cluster of a job through kns; if `room` is None, nobody learns
    what is free of a machine. `system_namespace` is kns's own. `has_volume`: the state of a job's virtual cluster
    outlives its pods, as far as the watch cache knows.
    """

    jobs: JobStore
    outputs: OutputStore
    tokens: TokenStore
    catalog: CatalogSource
    health: Health
    clock: Clock
    terms: Terms
    rng: random.Random
    namespaces: NamespaceReader
    limits: Limits
    bearer: Bearer | None = None
    members: Members | None = None
    clusters: ClusterAccess | None = None
    room: FreeRoom | None = None
    system_namespace: str = "kns-system"
    has_volume: Callable[[Job], bool] = lambda _job: False
