"""
The one place where things are wired; owns threads and signals.

Start: settings and catalogue are checked whole, every fault is told, exit 2. Then caches fill, HTTP answers, and the
replica that holds the Lease reconciles. Any end of a part that must run (lost Lease, dead HTTP server) ends the
process: Kubernetes starts a fresh one, and no state is lost with the old.
"""

import os
import random
import secrets
import shutil
import signal
import socket
import sys
import threading
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
from kns.adapters.kube.discovery import find_service_cidr
from kns.adapters.kube.health import HostHealth
from kns.adapters.kube.lease import KubeLease
from kns.adapters.kube.owned import KubeOutputs, KubeTokens
from kns.adapters.kube.records import KubeRecords
from kns.adapters.kube.throttle import Throttle
from kns.adapters.kube.virtual import KubeVirtualClusters
from kns.adapters.moving_window import MovingWindow
from kns.adapters.recent import RecentLists
from kns.api.app import ApiPorts, build_app
from kns.api.ports import Limits
from kns.engine.intake import Intake
from kns.engine.leader import Leader
from kns.engine.queue import WorkQueue
from kns.engine.reconciler import Reconciler
from kns.engine.workers import Workers
from kns.logs import configure_logging, get_logger
from kns.model.catalog import CatalogError
from kns.model.errors import KnsError
from kns.model.site import (
    ClassSettings,
    IngressSettings,
    KeycloakSettings,
    NetworkSettings,
    Proxies,
    Site,
    VirtualKubernetes,
)
from kns.model.submission import Terms
from kns.ports import IdentityProvider, Kind, World
from kns.settings import DEFAULT_CHART, Settings, SettingsError, forget_secrets, list_unknown, load_settings
from kns.stages import vcluster

log = get_logger(__name__)

EXIT_LOST, EXIT_UNUSABLE = 1, 2
SYSTEM_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")  # where charts mount a bundle of their own
_USAGE_DELAY_S = 5.0
_SWITCH_S = 0.0005
_STOP_S = 8.0  # for requests and passes in flight; below Kubernetes' grace of 30 s


def run() -> int:
    """Run the scheduler until SIGTERM or SIGINT; the process's exit status."""
    # A request of a user waits for the interpreter behind workers that are busy; the default gives each of them 5 ms.
    sys.setswitchinterval(_SWITCH_S)
    clock = SystemClock()
    try:
        settings, catalog = _load(clock)
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
        sys.stderr.write(f"kns: {error}\n")
        return EXIT_UNUSABLE
    try:
        return _Scheduler(settings, catalog, client, clock).run()
    finally:
        client.close()


def _load(clock: SystemClock) -> tuple[Settings, CatalogDirectory]:
    """Settings and catalogue; the faults of both are told together."""
    problems: list[tuple[str, str]] = []
    settings: Settings | None = None
    try:
        settings = load_settings()
    except SettingsError as error:
        problems += error.problems
    directory = settings.catalog_dir if settings else Path(os.environ.get("KNS_CATALOG_DIR") or "/etc/kns/catalog")
    catalog = CatalogDirectory(directory, clock=clock)
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


def build_site(settings: Settings, *, service_cidr: str) -> Site:
    """What stages may know of the settings."""
    return Site(
        system_namespace=settings.system_namespace,
        service_account=settings.service_account,
        init_image=settings.full_init_image,
        limit_range=tuple(settings.limit_range),
        virtual=VirtualKubernetes(
            syncer_image_tag=settings.syncer_tag,
            versions=settings.versions,
            default=next(reversed(settings.versions)),
            service_cidr=service_cidr,
            registry=settings.image_registry,
            storage_class=settings.vcluster_storage_class or "",
        ),
        spawn_delay_s=settings.spawn_delay_s,
        keep_vclusters=settings.keep_vclusters,
        jobs_domain=settings.jobs_domain,
        ingress=IngressSettings(
            ingress_class=settings.ingress_class,
            annotations=settings.ingress_annotations,
            cert_secret=settings.ingress_cert_secret,
            cert_issuer=settings.ingress_cert_issuer,
            cert_cluster_issuer=settings.ingress_cert_cluster_issuer,
        ),
        classes=ClassSettings(
            default_storage_class=settings.default_storage_class,
            storage_size=settings.dynamic_storage_size,
            runtime_classes=settings.runtime_classes,
        ),
        keycloak=_build_keycloak(settings),
        proxies=_build_proxies(settings),
        app_pull_policy=settings.app_pull_policy,
        init_pull_policy=settings.init_pull_policy,
        grace_s=settings.grace_s,
        target_limit_s=settings.target_limit_s,
        init_stuck_limit_s=settings.init_stuck_limit_s,
        retention_s=settings.retention_days * 86400,
        probe_interval_s=settings.probe_interval_s,
        report_interval_s=settings.report_interval_s,
        shell_image=settings.full_gotty_image if settings.allow_gotty_shell else None,
        network=NetworkSettings(
            internet=settings.internet_egress,
            ingress_namespace=settings.ingress_namespace,
            open_ranges=settings.open_ranges,
        )
        if settings.network_policies
        else None,
        pod_security=settings.pod_security,
    )


def build_limits(settings: Settings, clock: SystemClock) -> Limits:
    return Limits(
        failed_logins=MovingWindow(settings.failed_logins_per_minute, clock=clock),
        submits=MovingWindow(settings.submits_per_minute, clock=clock),
        live_jobs=settings.live_jobs_per_user,
    )


def build_terms(settings: Settings) -> Terms:
    """What submissions are checked against."""
    local = f"{settings.local_registry}/{settings.local_repo_base}" if settings.local_registry else ""
    return Terms(
        supported_versions=tuple(reversed(settings.versions)),
        api_url=settings.api_url or "",
        local_repository=local,
        keycloak=settings.keycloak_url is not None,
    )


def _build_keycloak(settings: Settings) -> KeycloakSettings | None:
    if settings.keycloak_url is None or settings.keycloak_realm is None:
        return None
    return KeycloakSettings(
        url=settings.keycloak_url.rstrip("/"), realm=settings.keycloak_realm, limit_s=settings.keycloak_limit_s
    )


def build_identity_provider(settings: Settings, clock: SystemClock) -> IdentityProvider | None:
    """The site's Keycloak, if it has one; its library is read only then."""
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
        ca_bundle=settings.ca_bundle or (SYSTEM_CA_BUNDLE if SYSTEM_CA_BUNDLE.exists() else None),
        proxies=_build_proxies(settings),
    )
    return KeycloakClients(access, clock=clock)


def _build_proxies(settings: Settings) -> Proxies:
    return Proxies(http=settings.http_proxy, https=settings.https_proxy, no_proxy=settings.no_proxy)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the process is made of."""

    records: KubeRecords
    cluster: KubeCluster
    queue: WorkQueue
    workers: Workers
    leader: Leader
    server: uvicorn.Server


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
        try:
            metrics.serve(host=self._settings.http_host, port=self._settings.metrics_port)
        except OSError as error:
            sys.stderr.write(f"kns: KNS_METRICS_PORT: cannot listen on {self._settings.metrics_port}: {error}\n")
            return EXIT_UNUSABLE
        metrics.watch_live_jobs(lambda: sum(not job.is_ended for job in parts.records.list_jobs()))
        threading.Thread(target=parts.records.cache.run, args=(stop,), name="watch-records", daemon=True).start()
        parts.cluster.start(stop)
        http = threading.Thread(target=self._serve_http, name="http", daemon=True)
        http.start()
        leading = threading.Thread(target=self._lead, name="leader", daemon=True)
        leading.start()
        log.warning("started", version=__version__, namespace=self._settings.system_namespace)
        stop.wait()
        parts.queue.close()
        parts.server.should_exit = True
        leading.join(2 * _STOP_S)
        http.join(_STOP_S)
        log.warning("stopped", status=self._exit_status)
        return self._exit_status

    def _wire(self, settings: Settings, catalog: CatalogDirectory, client: KubeClient, clock: SystemClock) -> _Parts:
        rng = random.SystemRandom()
        namespace = settings.system_namespace
        queue = WorkQueue(clock=clock, rng=rng)
        records = KubeRecords(client, namespace=namespace, clock=clock, on_change=queue.add)
        writes = settings.writes_per_second
        throttle = Throttle(writes, burst=2 * writes, clock=clock)
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
            identity=build_identity_provider(settings, clock),
        )
        site = build_site(settings, service_cidr=settings.service_cidr or find_service_cidr(client))
        warn_of_missing_classes(cluster, site.classes)
        terms = build_terms(settings)
        reconciler = Reconciler(
            store=records,
            writer=records,
            world=world,
            site=site,
            clock=clock,
            intake=Intake(store=records, catalog=catalog, terms=terms, rng=rng),
            drain=vcluster.drain,
        )
        lease = KubeLease(client, namespace=namespace, clock=clock)
        # New at every start: a container that comes back after a kill is not the holder it was.
        leader = Leader(lease, holder=f"{socket.gethostname()}-{secrets.token_hex(4)}", clock=clock)
        app = build_app(
            ApiPorts(
                jobs=records,
                outputs=outputs,
                tokens=tokens,
                catalog=catalog,
                health=HostHealth(client, records.cache, clock=clock),
                clock=clock,
                terms=terms,
                version=__version__,
                rng=rng,
                namespaces=RecentLists(cluster, clock=clock, kinds={Kind.POD_METRICS}),
                limits=build_limits(settings, clock),
                bearer=RealmTokens(settings.realm_public_key) if settings.realm_public_key else None,
                server_key=settings.server_key.get_secret_value() if settings.server_key else None,
            )
        )
        config = uvicorn.Config(
            app,
            host=settings.http_host,
            port=settings.http_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            server_header=False,
            forwarded_allow_ips=settings.trusted_proxies,
        )
        return _Parts(
            records=records,
            cluster=cluster,
            queue=queue,
            workers=Workers(queue, reconciler, clock=clock, count=settings.workers, may_work=lambda: leader.may_work),
            leader=leader,
            server=uvicorn.Server(config),
        )

    def _serve_http(self) -> None:
        # In a thread of its own: on the main thread uvicorn re-raises SIGTERM when done, past our own end.
        try:
            self._parts.server.run()
        finally:
            if not self._stop.is_set():
                log.error("http_server_ended")
                self._fail()

    def _lead(self) -> None:
        try:
            if not self._await_caches():
                return
            self._parts.leader.run(self._stop, on_start=self._start_work, on_loss=self._fail, on_stop=self._finish_work)
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

    def _start_work(self) -> None:
        """Every record once, whatever its state; then only what changes."""
        parts = self._parts
        parts.workers.start()
        for job in parts.records.list_jobs():
            parts.queue.add(job.record)

    def _finish_work(self) -> bool:
        ended = self._parts.workers.stop(timeout_s=_STOP_S)
        if not ended:
            log.warning("passes_cut_off")
        return ended

    def _fail(self) -> None:
        self._exit_status = EXIT_LOST
        self._parts.queue.close()
        self._stop.set()


def _wake(records: KubeRecords, queue: WorkQueue, kind: Kind, number: int) -> None:
    """A host object changed: look at its job again, if there is one; a quota moves with each pod, so without hurry."""
    if not records.cache.is_synced:
        return
    job = records.find(number)
    if job is not None:
        queue.add_after(job.record, _USAGE_DELAY_S if kind is Kind.RESOURCE_QUOTA else 0.0)


def warn_of_missing_classes(cluster: KubeCluster, classes: ClassSettings) -> None:
    wanted = [(Kind.RUNTIME_CLASS, name) for name in classes.runtime_classes]
    if classes.default_storage_class:
        wanted.append((Kind.STORAGE_CLASS, classes.default_storage_class))
    for kind, name in wanted:
        if cluster.read(kind, "", name) is None:
            log.warning("class_missing", kind=str(kind), name=name, effect="jobs do not see it until the host has it")
