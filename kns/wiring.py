"""
Construct every part of the scheduler from the settings. Each part receives only the values that it needs.

Nothing here starts a thread; `kns.main` runs the parts.
"""

import math
import random
import secrets
import shutil
import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from kns import __version__, metrics
from kns.adapters.bearer import RealmTokens
from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.clock import SystemClock
from kns.adapters.doors import OwnPods
from kns.adapters.helm import HelmRenderer, digest_chart
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.cluster import KubeCluster
from kns.adapters.kube.discovery import find_installation_uid, find_service_cidr
from kns.adapters.kube.health import HostHealth
from kns.adapters.kube.isolation import IsolatedVirtualClusters
from kns.adapters.kube.lease import KubeLease
from kns.adapters.kube.owned import KubeInputs, KubeOutputs, KubeTokens
from kns.adapters.kube.records import KubeRecords
from kns.adapters.kube.relay import KubeJobClusters
from kns.adapters.kube.session_keys import KubeSessionKeys
from kns.adapters.kube.throttle import Throttle
from kns.adapters.kube.virtual import KubeVirtualClusters
from kns.adapters.recent import RecentLists
from kns.adapters.rooms import Rooms
from kns.adapters.sliding_window import SlidingWindow
from kns.adapters.traffic import ScrapedTraffic
from kns.api.front_ends import SOCKETS_AT, list_front_ends
from kns.engine.claims import Claims
from kns.engine.fence import fence, fence_world
from kns.engine.idle import DoorWatch, IdleWatch
from kns.engine.intake import Intake
from kns.engine.leader import Leader
from kns.engine.periodic import Periodic
from kns.engine.pool import Pool, PoolRules
from kns.engine.queue import WorkQueue
from kns.engine.reconciler import Reconciler, Term
from kns.engine.sweeper import Sweeper, SweepRules
from kns.engine.workers import Workers
from kns.http.app import FrontEnd, build_app
from kns.http.server import ServerConfig
from kns.logs import get_logger
from kns.model import names
from kns.model.job.job import Job
from kns.model.site import Site
from kns.ports import IdentityProvider, Kind, SignInProvider, World
from kns.prepare import StateKeeper, list_wanted_versions
from kns.service.control import wake_visited
from kns.service.find import LOOKUPS_PER_MINUTE
from kns.service.overview import UsualDurations
from kns.service.ports import ClusterAccess, Limits, ServicePorts
from kns.settings import Settings, build_proxies, build_site, build_terms
from kns.stages import NESTED_JOB, NESTED_MEMBER
from kns.stages.access import read_users_kubeconfig
from kns.stages.orphans import Installation
from kns.stages.swept import SWEPT
from kns.start_checks import warn_of_missing_classes, warn_of_unfit_chart
from kns.web import build_front_end
from kns.web.live import LivePages
from kns.web.site import WebSite
from kns.web.wake_page import Visits, WakePages

log = get_logger(__name__)

STOP_S = 8.0  # time to finish requests and reconciles in flight; less than Kubernetes' grace period of 30 s
SYSTEM_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")  # charts mount their own bundle here

_QUOTA_DELAY_S = 5.0
_WATCHED_AT_END = frozenset({Kind.NAMESPACE, Kind.PERSISTENT_VOLUME})


@dataclass(frozen=True, slots=True)
class LeaderWork:
    """The parts that run in the leader only."""

    workers: Workers
    sweeper: Sweeper
    preparing: Periodic
    pool: Pool
    resting: tuple[Periodic, ...]

    def start(self) -> None:
        self.workers.start()
        self.sweeper.start()
        self.preparing.start()
        self.pool.start()
        for task in self.resting:
            task.start()

    def stop(self) -> bool:
        """Stop all; whether everything in flight finished in time."""
        reconciles_ended = self.workers.stop(timeout_s=STOP_S)
        if not reconciles_ended:
            log.warning("reconciles_cut_off")
        sweep_ended = self.sweeper.stop(timeout_s=STOP_S / 4)
        if not sweep_ended:
            log.warning("sweep_cut_off")
        round_ended = self.pool.stop(timeout_s=STOP_S / 4)
        if not round_ended:
            log.warning("pool_cut_off")
        preparing_ended = self.preparing.stop(timeout_s=STOP_S / 4)
        if not preparing_ended:
            log.warning("preparing_cut_off")
        stopped = [task.stop(timeout_s=STOP_S / 4) for task in self.resting]
        resting_ended = all(stopped)
        if not resting_ended:
            log.warning("resting_cut_off")
        return reconciles_ended and sweep_ended and round_ended and preparing_ended and resting_ended


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


def wire_scheduler(
    settings: Settings,
    catalog: CatalogDirectory,
    client: KubeClient,
    clock: SystemClock,
    *,
    on_death: Callable[[], None],
) -> Scheduler:
    """Construct the scheduler. A worker thread that dies calls `on_death`, which must end the process."""
    return _Wiring(settings, catalog, client, clock).build_scheduler(on_death)


class _Wiring:
    """The parts that others are built from."""

    def __init__(self, settings: Settings, catalog: CatalogDirectory, client: KubeClient, clock: SystemClock) -> None:
        self._settings, self._catalog, self._client, self._clock = settings, catalog, client, clock
        self._namespace = settings.system_namespace
        self._rng = random.SystemRandom()
        self._terms = build_terms(settings)
        self._queue = WorkQueue(clock=clock, rng=self._rng)
        self._pages = LivePages(read_job=self._read_job, read_mark=self._read_output_mark)
        self._records = KubeRecords(
            client,
            namespace=self._namespace,
            clock=clock,
            on_change=self._announce,
            first_number=settings.first_job_number,
            highest_elsewhere=self._find_highest_member,
        )
        # The holder is new at every start: a container that restarts after a kill must not resume its old lease.
        holder = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._leader = Leader(KubeLease(client, namespace=self._namespace, clock=clock), holder=holder, clock=clock)
        writes = settings.writes_per_second
        throttle = Throttle(writes, burst=max(1, writes // 2), clock=clock, may_work=self._may_work)
        on_change = partial(_wake, self._records, self._queue)
        optional = (Kind.HTTP_ROUTE,) if settings.gateway else ()
        self._cluster = KubeCluster(client, clock=clock, on_change=on_change, throttle=throttle, optional=optional)
        self._world = World(
            cluster=self._cluster,
            renderer=HelmRenderer(helm=shutil.which(settings.helm) or settings.helm, chart=settings.chart),
            virtual_clusters=IsolatedVirtualClusters(KubeVirtualClusters(may_work=self._may_work), clock=clock),
            outputs=KubeOutputs(client, namespace=self._namespace, throttle=throttle),
            tokens=KubeTokens(client, namespace=self._namespace),
            inputs=KubeInputs(client, namespace=self._namespace),
            catalog=catalog,
            identity=build_identity_provider(settings, clock, may_work=self._may_work),
            rooms=Rooms(),
            doors=OwnPods(self._cluster.list_objects, namespace=self._namespace, clock=clock),
        )

        self._site: Site | None = None  # until the facts of the host are known
        self._release = f"{__version__} {digest_chart(settings.chart)}"  # what starts virtual clusters

    def build_scheduler(self, on_death: Callable[[], None]) -> Scheduler:
        return Scheduler(
            namespace=self._namespace,
            catalog=self._catalog,
            records=self._records,
            cluster=self._cluster,
            queue=self._queue,
            leader=self._leader,
            build_leader_work=partial(self._build_leader_work, on_death),
            servers=self._build_servers(),
            pages=self._pages,
        )

    def _build_servers(self) -> dict[str, uvicorn.Server]:
        settings, service = self._settings, self._build_service()
        server_key = settings.server_key.get_secret_value() if settings.server_key else None
        app = build_app(service, (*list_front_ends(server_key=server_key), *self._build_page()), version=__version__)
        build_config = partial(
            ServerConfig,
            host=settings.http_host,
            trusted_proxies=settings.trusted_proxies,
            request_limit_s=settings.request_limit_s,
        )
        return {
            "KNS_HTTP_PORT": uvicorn.Server(
                build_config(
                    self._wrap(app, service),
                    port=settings.http_port,
                    sockets_at=None if service.clusters is None else SOCKETS_AT,
                )
            ),
            "KNS_METRICS_PORT": uvicorn.Server(build_config(metrics.build_app(), port=settings.metrics_port)),
        }

    def _announce(self, record: str) -> None:
        """A record has changed."""
        self._queue.add(record)
        self._pages.wake(record)

    def _read_job(self, record: str) -> Job | None:
        return self._records.get(record)

    def _read_output_mark(self, record: str) -> Hashable:
        return self._world.outputs.read(record, recent=True).log_time

    def _build_page(self) -> tuple[FrontEnd, ...]:
        settings = self._settings
        if not settings.web_page:
            return ()
        return (
            build_front_end(
                WebSite(
                    keys=KubeSessionKeys(self._client, namespace=self._namespace, clock=self._clock),
                    live=self._pages,
                    usual=UsualDurations(self._clock),
                    url=settings.web_url,
                    provider=_build_sign_in(settings),
                )
            ),
        )

    def _find_highest_member(self) -> int:
        """The highest number of a pool member; 0 if there is none."""
        return max((member.number for member in self._cluster.observe_members(self._namespace)), default=0)

    def _may_work(self) -> bool:
        return self._leader.may_work

    def _build_leader_work(self, on_death: Callable[[], None]) -> LeaderWork:
        settings, clock, may_work = self._settings, self._clock, self._may_work
        uid = find_installation_uid(self._client, self._namespace)
        cidr = settings.service_cidr or find_service_cidr(self._client)
        site = self._site = build_site(settings, service_cidr=cidr, installation_uid=uid)
        warn_of_missing_classes(self._cluster, site.classes)
        warn_of_unfit_chart(settings.chart, self._world.renderer, site.virtual)
        fenced = fence_world(self._world, may_work)
        reconciler = Reconciler(
            store=fence(self._records, may_work),
            writer=fence(self._records, may_work),
            world=fenced,
            site=site,
            clock=clock,
            intake=Intake(store=self._records, catalog=self._catalog, terms=self._terms, rng=self._rng),
            lifecycle=NESTED_JOB,
            term=Term(since=clock.now(), is_clock_trusted=self._client.server_time.is_trusted),
        )
        resting = self._build_resting(site, fenced)
        list_wanted = partial(list_wanted_versions, self._records, settings.pools)
        keeper = StateKeeper(fenced.cluster, site, list_wanted, clock=clock)
        return LeaderWork(
            resting=resting,
            preparing=Periodic("preparing", keeper.step, may_work=may_work),
            workers=Workers(
                self._queue, reconciler, clock=clock, count=settings.workers, may_work=may_work, on_death=on_death
            ),
            sweeper=Sweeper(
                build_sweep_rules(settings, installation_uid=uid),
                kinds=SWEPT,
                world=fenced,
                store=self._records,
                authority=self._records,
                clock=clock,
                may_work=may_work,
                is_clock_trusted=self._client.server_time.is_trusted,
            ),
            pool=Pool(
                PoolRules(
                    pools=settings.pools,
                    at_once=settings.pool_at_once,
                    max_age_s=settings.pool_max_age_s,
                    release=self._release,
                ),
                kind=NESTED_MEMBER,
                site=site,
                world=fenced,
                store=fence(self._records, may_work),
                clock=clock,
                may_work=may_work,
                is_clock_trusted=self._client.server_time.is_trusted,
            ),
        )

    def _build_resting(self, site: Site, world: World) -> tuple[Periodic, ...]:
        """What the leader does about jobs that sleep, or shall. Without the metrics of a controller none is idle."""
        settings, may_work = self._settings, self._may_work
        assert world.doors is not None  # noqa: S101 - it is set above
        doors = DoorWatch(world.doors.list_addresses, self._records.list_sleeping, look_again=self._queue.add)
        tasks = [Periodic("doors", doors.step, may_work=may_work)]
        if settings.traffic_metrics_urls:
            idle = IdleWatch(
                settings.idle_sleep_s,
                traffic=ScrapedTraffic(settings.traffic_metrics_urls, clock=self._clock),
                lifecycle=NESTED_JOB,
                site=site,
                world=world,
                store=fence(self._records, may_work),
                clock=self._clock,
            )
            tasks.append(Periodic("idle", idle.step, may_work=may_work))
        return tuple(tasks)

    def _has_volume(self, job: Job) -> bool:
        """Whether the job's virtual cluster has a volume, as far as the cache knows."""
        location = job.location
        if location is None:
            return False
        return self._cluster.observe(Kind.STATEFUL_SET, location.namespace, location.vcluster) is not None

    def _find_visited(self, host: str, path: str) -> Job | None:
        """The job whose Ingress or HTTPRoute routes this address."""
        for route in self._cluster.observe_routes_at(host, path):
            job = self._records.find_by_namespace(route["metadata"]["namespace"])
            if job is not None:
                return job
        return None

    def _is_jobs_host(self, host: str) -> bool:
        """Whether the host name is that of a single job, which may not exist any more."""
        domain = self._settings.jobs_domain
        name, _, rest = host.partition(".")
        return domain is not None and rest == domain.host and names.is_job_object_name(name)

    def _wrap(self, app: ASGIApp, service: ServicePorts) -> ASGIApp:
        visits = Visits(
            find_job=self._find_visited, is_jobs_host=self._is_jobs_host, wake=partial(wake_visited, service)
        )
        return WakePages(app, visits, clock=self._clock)

    def _build_members(self) -> Claims | None:
        """The pool as submissions see it; None if no members are made."""
        if not self._settings.pools:
            return None
        return Claims(
            pools=self._settings.pools,
            kind=NESTED_MEMBER,
            release=self._release,
            find_site=lambda: self._site,
            world=self._world,
            store=self._records,
            clock=self._clock,
            rng=self._rng,
        )

    def _build_cluster_access(self) -> ClusterAccess | None:
        """How users reach their jobs' clusters through kns; None if the site does not want it."""
        mode = self._settings.cluster_gateway
        if mode == "off":
            return None
        for_all = mode == "all"
        find_access = partial(read_users_kubeconfig, self._cluster, for_all=for_all)
        return ClusterAccess(KubeJobClusters(find_access), for_all=for_all)

    def _build_service(self) -> ServicePorts:
        settings, clock = self._settings, self._clock
        return ServicePorts(
            jobs=self._records,
            outputs=self._world.outputs,
            tokens=self._world.tokens,
            catalog=self._catalog,
            health=HostHealth(self._client, self._records.cache, clock=clock, others=self._cluster.caches),
            clock=clock,
            terms=self._terms,
            rng=self._rng,
            namespaces=RecentLists(self._cluster, clock=clock, kinds={Kind.POD_METRICS, Kind.RESOURCE_QUOTA}),
            limits=_build_limits(settings, clock),
            bearer=_build_bearer(settings),
            members=self._build_members(),
            clusters=self._build_cluster_access(),
            system_namespace=settings.system_namespace,
            has_volume=self._has_volume,
        )


def _build_sign_in(settings: Settings) -> SignInProvider | None:
    """The sign-in to the page in the realm; None if it is not configured."""
    url, realm, client_id = settings.keycloak_url, settings.keycloak_realm, settings.web_keycloak_client_id
    if url is None or realm is None or client_id is None or settings.web_url is None:
        return None
    from kns.adapters.keycloak_sign_in import KeycloakSignIn, SignInAccess

    secret = settings.web_keycloak_client_secret
    return KeycloakSignIn(
        SignInAccess(
            url=url,
            realm=realm,
            client_id=client_id,
            client_secret=secret.get_secret_value() if secret else None,
            ca_bundle=_find_ca_bundle(settings),
            proxies=build_proxies(settings),
        )
    )


def _find_ca_bundle(settings: Settings) -> Path | None:
    return settings.ca_bundle or (SYSTEM_CA_BUNDLE if SYSTEM_CA_BUNDLE.exists() else None)


def _build_bearer(settings: Settings) -> RealmTokens | None:
    key = settings.realm_public_key
    return RealmTokens(key, clients=settings.token_clients) if key else None


def _wake(records: KubeRecords, queue: WorkQueue, kind: Kind, namespace: str) -> None:
    """
    Queue the job of a host object that changed, if the job has a record. Every pod changes its job's quota, so a
    change of a quota waits a while and is handled together with those that follow. An ended job waits only until its
    namespace and its volumes are gone; each of its other objects that goes would cost a look for nothing.
    """
    if not records.cache.is_synced:
        return
    job = records.find_by_namespace(namespace)
    if job is not None and not (job.is_ended and kind not in _WATCHED_AT_END):
        queue.add_after(job.record, _QUOTA_DELAY_S if kind is Kind.RESOURCE_QUOTA else 0.0)


def build_sweep_rules(settings: Settings, *, installation_uid: str) -> SweepRules:
    return SweepRules(
        installation=Installation(settings.system_namespace, installation_uid),
        interval_s=settings.sweep_interval_s,
        grace_s=settings.sweep_grace_s,
        max_share=settings.sweep_max_share,
        dry_run=settings.sweep_dry_run,
    )


def _build_limits(settings: Settings, clock: SystemClock) -> Limits:
    return Limits(
        failed_logins=SlidingWindow(settings.failed_logins_per_minute, clock=clock),
        submits=SlidingWindow(settings.submits_per_minute, clock=clock),
        lookups=SlidingWindow(LOOKUPS_PER_MINUTE, clock=clock),
        live_jobs=settings.live_jobs_per_user,
    )


def build_identity_provider(
    settings: Settings, clock: SystemClock, *, may_work: Callable[[], bool] = lambda: True
) -> IdentityProvider | None:
    """The Keycloak client of the site; None if Keycloak is not configured, and then its library is not imported."""
    url, secret = settings.keycloak_url, settings.keycloak_client_secret
    realm, client_id = settings.keycloak_realm, settings.keycloak_client_id
    if url is None or realm is None or client_id is None or secret is None:
        return None
    from kns.adapters.keycloak_admin import KeycloakAccess, KeycloakClients

    access = KeycloakAccess(
        url=url,
        realm=realm,
        client_id=client_id,
        client_secret=secret.get_secret_value(),
        ca_bundle=_find_ca_bundle(settings),
        proxies=build_proxies(settings),
    )
    return KeycloakClients(access, clock=clock, may_work=may_work)
