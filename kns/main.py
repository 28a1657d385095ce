"""
The one place where things are wired; owns threads and signals.

Start: settings and catalogue are checked whole, every fault is told, exit 2. Then caches fill, HTTP answers, and the
replica that holds the Lease reconciles. Any end of a part that must run (lost Lease, dead HTTP server or worker)
ends the process: Kubernetes starts a fresh one, and no state is lost with the old.
"""

import gc
import math
import os
import random
import secrets
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from kns import __version__, metrics
from kns.adapters.bearer import RealmTokens
from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.clock import SystemClock
from kns.adapters.helm import HelmRenderer
from kns.adapters.kube.client import KubeClient, connect
from kns.adapters.kube.cluster import KubeCluster
from kns.adapters.kube.discovery import find_installation_uid, find_service_cidr
from kns.adapters.kube.health import HostHealth
from kns.adapters.kube.lease import KubeLease
from kns.adapters.kube.owned import KubeOutputs, KubeTokens
from kns.adapters.kube.records import KubeRecords
from kns.adapters.kube.throttle import Throttle
from kns.adapters.kube.virtual import KubeVirtualClusters
from kns.adapters.recent import RecentLists
from kns.api.front_ends import list_front_ends
from kns.engine.fence import fence, fence_world
from kns.engine.intake import Intake
from kns.engine.leader import Leader
from kns.engine.queue import WorkQueue
from kns.engine.reconciler import Reconciler
from kns.engine.sweeper import Sweeper
from kns.engine.workers import Workers
from kns.http.app import build_app
from kns.http.server import ServerConfig, listen
from kns.logs import configure_logging, get_logger
from kns.model.catalog.catalog import CatalogError
from kns.model.errors import KnsError
from kns.ports import Kind, World
from kns.service.ports import ServicePorts
from kns.settings import DEFAULT_CHART, Settings, SettingsError, forget_secrets, list_unknown, load_settings
from kns.stages import NESTED_JOB
from kns.stages.swept import SWEPT
from kns.wiring import (
    build_identity_provider,
    build_limits,
    build_site,
    build_sweep_rules,
    build_terms,
    warn_of_missing_classes,
)

log = get_logger(__name__)

EXIT_LOST, EXIT_UNUSABLE = 1, 2
_USAGE_DELAY_S = 5.0
_SWITCH_S = 0.0005
_STOP_S = 8.0  # for requests and passes in flight; below Kubernetes' grace of 30 s


def run() -> int:
    """Run the scheduler until SIGTERM or SIGINT; the process's exit status."""
    # A request of a user waits for the interpreter behind workers that are busy; the default gives each of them 5 ms.
    sys.setswitchinterval(_SWITCH_S)
    clock = SystemClock()
    try:
        settings, catalog = _load()
        configure_logging(settings.log_level)
        for name in list_unknown(os.environ):
            log.warning("unknown_variable", name=name)
        forget_secrets(os.environ)
        client = connect(settings.kubeconfig)
    except SettingsError as error:
        for name, problem in error.problems:
            sys.stderr.write(f"kns: {name}: {problem}\n")
        return EXIT_UNUSABLE
    except KnsError as error:
        where = "JARVICE_K8S_ADMIN_CONF: " if settings.kubeconfig else ""
        sys.stderr.write(f"kns: {where}{' '.join(str(error).split())}\n")
        return EXIT_UNUSABLE
    try:
        return _Scheduler(settings, catalog, client, clock).run()
    finally:
        client.close()


def _load() -> tuple[Settings, CatalogDirectory]:
    """Settings and catalogue; the faults of both are told together."""
    problems: list[tuple[str, str]] = []
    settings: Settings | None = None
    try:
        settings = load_settings()
    except SettingsError as error:
        problems += error.problems
    directory = settings.catalog_dir if settings else Path(os.environ.get("KNS_CATALOG_DIR") or "/etc/kns/catalog")
    catalog = CatalogDirectory(directory)
    try:
        catalog.load()
    except CatalogError as error:
        problems.append(("KNS_CATALOG_DIR", str(error)))
    helm = settings.helm if settings else os.environ.get("KNS_HELM") or "helm"
    if shutil.which(helm) is None:
        problems.append(("KNS_HELM", "is not an executable program"))
    chart = settings.chart if settings else Path(os.environ.get("KNS_VCLUSTER_CHART") or DEFAULT_CHART)
    if not chart.is_file():
        problems.append(("KNS_VCLUSTER_CHART", "is not a file"))
    if problems or settings is None:
        raise SettingsError(problems)
    return settings, catalog


@dataclass(frozen=True, slots=True)
class _Work:
    """What only the leader does."""

    workers: Workers
    sweeper: Sweeper

    def start(self) -> None:
        self.workers.start()
        self.sweeper.start()

    def stop(self) -> bool:
        """Whether all that was in flight came to its end."""
        passes_ended = self.workers.stop(timeout_s=_STOP_S)
        if not passes_ended:
            log.warning("passes_cut_off")
        sweep_ended = self.sweeper.stop(timeout_s=_STOP_S / 4)
        if not sweep_ended:
            log.warning("sweep_cut_off")
        return passes_ended and sweep_ended


@dataclass(frozen=True, slots=True)
class _Parts:
    """
    What the process is made of. `build_work` asks the host about itself, which may be out of reach at a start;
    `servers` are by the variables that name their ports.
    """

    catalog: CatalogDirectory
    records: KubeRecords
    cluster: KubeCluster
    queue: WorkQueue
    build_work: Callable[[], _Work]
    leader: Leader
    servers: dict[str, uvicorn.Server]


class _Scheduler:
    """Wires the parts and runs them until told to stop."""

    def __init__(self, settings: Settings, catalog: CatalogDirectory, client: KubeClient, clock: SystemClock) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._exit_status = 0
        self._parts = self._wire(settings, catalog, client, clock)

    def run(self) -> int:
        parts, stop = self._parts, self._stop
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        http: list[threading.Thread] = []
        for variable, server in parts.servers.items():
            try:
                listener = listen(server.config.host, server.config.port)
            except OSError as error:
                sys.stderr.write(f"kns: {variable}: cannot listen on {server.config.port}: {error.strerror}\n")
                return EXIT_UNUSABLE
            name = f"http-{server.config.port}"
            http.append(threading.Thread(target=self._serve, args=(server, listener), name=name, daemon=True))
        metrics.watch_live_jobs(partial(_count_live, parts.records))
        metrics.watch_oldest_key(partial(getattr, parts.queue, "oldest_s"))
        for cache in (parts.records.cache, *parts.cluster.caches):
            metrics.watch_age(cache.kind, partial(getattr, cache, "age_s"))
        threading.Thread(target=parts.catalog.run, args=(stop,), name="watch-catalog", daemon=True).start()
        threading.Thread(target=parts.records.cache.run, args=(stop,), name="watch-records", daemon=True).start()
        parts.cluster.start(stop)
        for thread in http:
            thread.start()
        leading = threading.Thread(target=self._lead, name="leader", daemon=True)
        leading.start()
        log.warning("started", version=__version__, namespace=self._settings.system_namespace)
        stop.wait()
        parts.queue.close()
        for server in parts.servers.values():
            server.should_exit = True
        leading.join(2 * _STOP_S)
        for thread in http:
            thread.join(_STOP_S)
        log.warning("stopped", status=self._exit_status)
        return self._exit_status

    def _wire(self, settings: Settings, catalog: CatalogDirectory, client: KubeClient, clock: SystemClock) -> _Parts:
        rng = random.SystemRandom()
        namespace = settings.system_namespace
        queue = WorkQueue(clock=clock, rng=rng)
        records = KubeRecords(client, namespace=namespace, clock=clock, on_change=queue.add)
        lease = KubeLease(client, namespace=namespace, clock=clock)
        # New at every start: a container that comes back after a kill is not the holder it was.
        leader = Leader(lease, holder=f"{socket.gethostname()}-{secrets.token_hex(4)}", clock=clock)

        def may_work() -> bool:
            return leader.may_work

        writes = settings.writes_per_second
        throttle = Throttle(writes, burst=max(1, writes // 2), clock=clock, may_work=may_work)
        cluster = KubeCluster(client, clock=clock, on_change=partial(_wake, records, queue), throttle=throttle)
        outputs = KubeOutputs(client, namespace=namespace)
        tokens = KubeTokens(client, namespace=namespace)
        world = World(
            cluster=cluster,
            renderer=HelmRenderer(helm=shutil.which(settings.helm) or settings.helm, chart=settings.chart),
            virtual_clusters=KubeVirtualClusters(),
            outputs=outputs,
            tokens=tokens,
            catalog=catalog,
            identity=build_identity_provider(settings, clock, may_work=may_work),
        )
        terms = build_terms(settings)

        def build_work() -> _Work:
            uid = find_installation_uid(client, namespace)
            cidr = settings.service_cidr or find_service_cidr(client)
            site = build_site(settings, service_cidr=cidr, installation_uid=uid)
            warn_of_missing_classes(cluster, site.classes)
            fenced = fence_world(world, may_work)
            reconciler = Reconciler(
                store=fence(records, may_work),
                writer=fence(records, may_work),
                world=fenced,
                site=site,
                clock=clock,
                intake=Intake(store=records, catalog=catalog, terms=terms, rng=rng),
                lifecycle=NESTED_JOB,
            )
            return _Work(
                workers=Workers(
                    queue,
                    reconciler,
                    clock=clock,
                    count=settings.workers,
                    may_work=may_work,
                    on_death=self._fail,
                ),
                sweeper=Sweeper(
                    build_sweep_rules(settings, installation_uid=uid),
                    kinds=SWEPT,
                    world=fenced,
                    store=records,
                    authority=records,
                    clock=clock,
                    may_work=may_work,
                ),
            )

        app = build_app(
            ServicePorts(
                jobs=records,
                outputs=outputs,
                tokens=tokens,
                catalog=catalog,
                health=HostHealth(client, records.cache, clock=clock),
                clock=clock,
                terms=terms,
                rng=rng,
                namespaces=RecentLists(cluster, clock=clock, kinds={Kind.POD_METRICS}),
                limits=build_limits(settings, clock),
                bearer=RealmTokens(settings.realm_public_key) if settings.realm_public_key else None,
            ),
            list_front_ends(server_key=settings.server_key.get_secret_value() if settings.server_key else None),
            version=__version__,
        )
        build_config = partial(
            ServerConfig,
            host=settings.http_host,
            trusted_proxies=settings.trusted_proxies,
            request_limit_s=settings.request_limit_s,
        )
        return _Parts(
            catalog=catalog,
            records=records,
            cluster=cluster,
            queue=queue,
            build_work=build_work,
            leader=leader,
            servers={
                "KNS_HTTP_PORT": uvicorn.Server(build_config(app, port=settings.http_port)),
                "KNS_METRICS_PORT": uvicorn.Server(build_config(metrics.build_app(), port=settings.metrics_port)),
            },
        )

    def _serve(self, server: uvicorn.Server, listener: socket.socket) -> None:
        # In a thread of its own: on the main thread uvicorn re-raises SIGTERM when done, past our own end.
        try:
            server.run(sockets=[listener])
        finally:
            if not self._stop.is_set():
                log.error("http_server_ended", port=server.config.port)
                self._fail()

    def _lead(self) -> None:
        try:
            if not self._await_caches():
                return
            self._parts.records.list_jobs()  # parsed once, for good
            _spare_the_collector()
            work = self._parts.build_work()
            self._parts.leader.run(
                self._stop, on_start=partial(self._start_work, work), on_loss=self._fail, on_stop=work.stop
            )
        except Exception:
            log.exception("leader_crashed")
            self._fail()

    def _await_caches(self) -> bool:
        """Before the Lease is asked for: a leader that only waits would let it run out. False if told to stop."""
        caches = (self._parts.records.cache, *self._parts.cluster.caches)
        while not all(cache.is_synced for cache in caches):
            if self._stop.wait(0.05):
                return False
        return True

    def _start_work(self, work: _Work) -> None:
        """Every record once, whatever its state; then only what changes."""
        work.start()
        for job in self._parts.records.list_jobs():
            self._parts.queue.add(job.record)

    def _fail(self) -> None:
        self._exit_status = EXIT_LOST
        self._parts.queue.close()
        self._stop.set()


def _spare_the_collector() -> None:
    """What is there by now stays. A full collection would look through all of it, and every request would wait."""
    gc.collect()
    gc.freeze()


def _count_live(records: KubeRecords) -> float:
    """NaN while nobody knows: the other metrics are told all the same."""
    return sum(not job.is_ended for job in records.list_jobs()) if records.cache.is_synced else math.nan


def _wake(records: KubeRecords, queue: WorkQueue, kind: Kind, namespace: str) -> None:
    """A host object changed: look at its job again, if there is one; a quota moves with each pod, so without hurry."""
    if not records.cache.is_synced:
        return
    job = records.find_by_namespace(namespace)
    if job is not None:
        queue.add_after(job.record, _USAGE_DELAY_S if kind is Kind.RESOURCE_QUOTA else 0.0)
