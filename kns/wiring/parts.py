"""What several parts are built from: records, host cluster, queue, leader, open pages, and the outside world."""

import random
import secrets
import shutil
import socket
from collections.abc import Hashable
from functools import partial

from kns import __version__
from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.doors import OwnPods
from kns.adapters.helm import HelmRenderer, digest_chart
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.cluster import KubeCluster
from kns.adapters.kube.isolation import IsolatedVirtualClusters
from kns.adapters.kube.lease import KubeLease
from kns.adapters.kube.owned import KubeInputs, KubeOutputs, KubeTokens
from kns.adapters.kube.records import KubeRecords
from kns.adapters.kube.server_time import HostClock
from kns.adapters.kube.throttle import Throttle
from kns.adapters.kube.virtual import KubeVirtualClusters
from kns.adapters.rooms import Rooms
from kns.engine.leader import Leader
from kns.engine.queue import WorkQueue
from kns.model.job.job import Job, Rest
from kns.model.site import Site
from kns.ports import Clock, Kind, World
from kns.settings import Settings, build_terms
from kns.web.live import LivePages
from kns.wiring.keycloak import build_identity_provider

_QUOTA_DELAY_S = 5.0  # changes of one quota within it are handled together
_SERVING_DELAY_S = 1.0  # so are those of a serving job: a tenant can make any number, and each may cost a write
_WATCHED_AT_END = frozenset({Kind.NAMESPACE, Kind.PERSISTENT_VOLUME})


class Parts:
    """Nothing changes after construction except `site`, which is known once the leader's work is built."""

    def __init__(self, settings: Settings, catalog: CatalogDirectory, client: KubeClient, clock: Clock) -> None:
        self.settings, self.catalog, self.client = settings, catalog, client
        self.clock = clock = HostClock(clock, client.server_time)
        self.namespace = settings.system_namespace
        self.rng = random.SystemRandom()
        self.terms = build_terms(settings)
        self.queue = WorkQueue(clock=clock, rng=self.rng, opened=False)
        self.records = KubeRecords(
            client,
            namespace=self.namespace,
            clock=clock,
            on_change=self._announce,
            first_number=settings.first_job_number,
            highest_elsewhere=self._find_highest_member,
        )
        self.pages = LivePages(read_job=self.records.get, read_mark=self._read_output_mark)
        # The holder is new at every start: a container that restarts after a kill must not resume its old lease.
        holder = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self.leader = Leader(KubeLease(client, namespace=self.namespace, clock=clock), holder=holder, clock=clock)
        writes = settings.writes_per_second
        throttle = Throttle(writes, burst=max(1, writes // 2), clock=clock, may_work=self.may_work)
        on_change = partial(_wake, self.records, self.queue)
        optional = (Kind.HTTP_ROUTE,) if settings.gateway else ()
        self.cluster = KubeCluster(client, clock=clock, on_change=on_change, throttle=throttle, optional=optional)
        self.world = World(
            cluster=self.cluster,
            renderer=HelmRenderer(helm=shutil.which(settings.helm) or settings.helm, chart=settings.chart),
            virtual_clusters=IsolatedVirtualClusters(KubeVirtualClusters(may_work=self.may_work), clock=clock),
            outputs=KubeOutputs(client, namespace=self.namespace, throttle=throttle),
            tokens=KubeTokens(client, namespace=self.namespace),
            inputs=KubeInputs(client, namespace=self.namespace),
            catalog=catalog,
            identity=build_identity_provider(settings, clock, may_work=self.may_work),
            rooms=Rooms(count_live=self.records.count_all_live),
            doors=OwnPods(self.cluster.list_objects, namespace=self.namespace, clock=clock),
        )
        self.site: Site | None = None
        self.release = f"{__version__} {digest_chart(settings.chart)}"  # what starts virtual clusters

    def _announce(self, record: str) -> None:
        """A record has changed."""
        self.queue.add(record)
        self.pages.wake(record)

    def _read_output_mark(self, job: Job) -> Hashable:
        return self.world.outputs.read(job, recent=True).log_time

    def _find_highest_member(self) -> int:
        """The highest number of a pool member; 0 if there is none."""
        return max((member.number for member in self.cluster.observe_members(self.namespace)), default=0)

    def may_work(self) -> bool:
        """Whether this replica leads now."""
        return self.leader.may_work


def _wake(records: KubeRecords, queue: WorkQueue, kind: Kind, namespace: str) -> None:
    """
    Queue the job of a host object that changed, if the job has a record. Every pod changes its job's quota, so a
    change of a quota waits a while and is handled together with those that follow, and so does any change of a job that
    serves. Somebody waits for a job that starts, wakes, falls asleep or ends. An ended job waits only until its
    namespace and its volumes are gone; each of its other objects that goes would cost a look for nothing.
    """
    if not records.cache.is_synced:
        return
    job = records.find_by_namespace(namespace)
    if job is not None and not (job.is_ended and kind not in _WATCHED_AT_END):
        is_calm = job.has_served and job.stop_reason is None and job.status.rest is Rest.AWAKE
        delay_s = _QUOTA_DELAY_S if kind is Kind.RESOURCE_QUOTA else _SERVING_DELAY_S if is_calm else 0.0
        queue.add_after(job.record, delay_s)
