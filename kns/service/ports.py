"""The ports that use cases need, as one bundle."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

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
from kns.service.lanes import Lanes


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Limits for one user: failed logins, submits and look-ups of unknown jobs per minute, live jobs at a time (0 =
    unlimited).
    """

    failed_logins: RateLimit
    submits: RateLimit
    lookups: RateLimit
    live_jobs: int = 0


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
