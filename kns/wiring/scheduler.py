"""The whole scheduler, as `kns.main` runs it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import uvicorn

from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.cluster import KubeCluster
from kns.adapters.kube.records import KubeRecords
from kns.engine.leader import Leader
from kns.engine.queue import WorkQueue
from kns.ports import Clock
from kns.settings import Settings
from kns.web.live import LivePages
from kns.wiring.leader_work import LeaderWork, build_leader_work
from kns.wiring.parts import Parts
from kns.wiring.servers import build_servers


@dataclass(frozen=True, slots=True)
class Scheduler:
    """
    The parts of the process.

    `build_leader_work` reads facts of the host cluster, which may be unreachable at start, so it is called later.
    The keys of `servers` are the variables that set their ports. `pages` are the open pages, which must be closed
    before the servers can stop.
    """

    namespace: str
    catalog: CatalogDirectory
    records: KubeRecords
    cluster: KubeCluster
    queue: WorkQueue
    leader: Leader
    build_leader_work: Callable[[], LeaderWork]
    servers: dict[str, uvicorn.Server]
    pages: LivePages

    def count_live_jobs(self) -> float:
        """Jobs that have not ended; NaN until the record cache has synced, so that other metrics are still exported."""
        if not self.records.cache.is_synced:
            return math.nan
        return self.records.count_all_live()

    def count_sleeping_jobs(self) -> float:
        """Live jobs that shall be asleep; NaN like `count_live_jobs`."""
        return self.records.count_sleeping() if self.records.cache.is_synced else math.nan

    def read_oldest_removal_s(self) -> float:
        """How long the removal of a job has taken, the longest of all; NaN like `count_live_jobs`."""
        return self.records.read_oldest_removal_s() if self.records.cache.is_synced else math.nan


def wire_scheduler(
    settings: Settings,
    catalog: CatalogDirectory,
    client: KubeClient,
    clock: Clock,
    *,
    on_death: Callable[[], None],
) -> Scheduler:
    """Construct the scheduler. A worker thread that dies calls `on_death`, which must end the process."""
    parts = Parts(settings, catalog, client, clock)
    return Scheduler(
        namespace=parts.namespace,
        catalog=parts.catalog,
        records=parts.records,
        cluster=parts.cluster,
        queue=parts.queue,
        leader=parts.leader,
        build_leader_work=partial(build_leader_work, parts, on_death),
        servers=build_servers(parts),
        pages=parts.pages,
    )
