"""
The scheduler's process: load, check, run, stop. `kns.wiring` constructs the parts; this module owns threads and
signals.

At start, settings and catalogue are checked completely and every problem is printed; the exit status is then 2. After
that the caches fill, HTTP is served, and the replica that holds the Lease reconciles. If a required part ends (lost
Lease, dead HTTP server or worker), the process ends with status 1 and Kubernetes starts a new one. No state is lost,
because the process keeps none.
"""

import gc
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from functools import partial
from typing import Any

import uvicorn

from kns import __version__, metrics
from kns.adapters.catalog_dir import CatalogDirectory
from kns.adapters.clock import SystemClock
from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.connect import connect
from kns.adapters.kube.watch import WatchCache
from kns.http.server import listen
from kns.logs import configure_logging, get_logger
from kns.model.catalog.catalog import CatalogError
from kns.model.errors import KnsError
from kns.ports import Clock
from kns.settings import Settings, SettingsError, forget_secrets, list_unknown, read_settings
from kns.wiring import STOP_S, LeaderWork, wire_scheduler

log = get_logger(__name__)

EXIT_LOST, EXIT_UNUSABLE = 1, 2
# The leader's workers, then its tasks, then the Lease; requests in flight meanwhile. With the preStop of the pod it is
# less than the grace period (manifests/deployment.yaml).
LONGEST_STOP_S = 3 * STOP_S

# How long a thread may keep the interpreter. Python's default of 5 ms would add up for a request behind busy workers.
_SWITCH_INTERVAL_S = 0.0005
_CACHE_POLL_S = 0.05


def run() -> int:
    """Run the scheduler until SIGTERM or SIGINT. Returns the exit status of the process."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        settings, catalog = _load()
    except SettingsError as error:
        for name, problem in error.problems:
            sys.stderr.write(f"kns: {name}: {problem}\n")
        return EXIT_UNUSABLE
    configure_logging(settings.log_level)
    for name in list_unknown(os.environ):
        log.warning("unknown_variable", name=name)
    forget_secrets(os.environ)
    try:
        client = connect(settings.kubeconfig)
    except KnsError as error:
        variable = "JARVICE_K8S_ADMIN_CONF: " if settings.kubeconfig else ""
        sys.stderr.write(f"kns: {variable}{' '.join(str(error).split())}\n")
        return EXIT_UNUSABLE
    try:
        return _Process(settings, catalog, client).run()
    finally:
        client.close()


def _load() -> tuple[Settings, CatalogDirectory]:
    """
    The settings and the loaded catalogue.

    Raises:
        SettingsError: with the problems of both, and of the helm program and the chart.
    """
    settings, problems = read_settings(os.environ)
    catalog = CatalogDirectory(settings.catalog_dir)
    try:
        catalog.load()
    except CatalogError as error:
        problems.append(("KNS_CATALOG_DIR", str(error)))
    if shutil.which(settings.helm) is None:
        problems.append(("KNS_HELM", "is not an executable program"))
    if not settings.chart.is_file():
        problems.append(("KNS_VCLUSTER_CHART", "is not a file"))
    if problems:
        raise SettingsError(problems)
    return settings, catalog


class _Process:
    """The threads of one scheduler, from start to stop."""

    def __init__(self, settings: Settings, catalog: CatalogDirectory, client: KubeClient) -> None:
        self._stop = threading.Event()
        self._exit_status = 0
        self._server_time = client.server_time
        self._parts = wire_scheduler(settings, catalog, client, SystemClock(), on_death=self._fail)

    def run(self) -> int:
        """Run until a signal or a failure. Returns the exit status."""
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
        metrics.watch_live_jobs(parts.count_live_jobs)
        metrics.watch_sleeping_jobs(parts.count_sleeping_jobs)
        metrics.watch_oldest_removal(parts.read_oldest_removal_s)
        metrics.watch_clock_skew(partial(getattr, self._server_time, "skew_s"))
        metrics.watch_oldest_key(partial(getattr, parts.queue, "oldest_s"))
        caches: tuple[WatchCache[Any], ...] = (parts.records.cache, *parts.cluster.caches)
        for cache in caches:
            metrics.watch_age(cache.kind, partial(getattr, cache, "age_s"))
        gc.freeze()  # what was imported, or each full collection would visit it while the caches fill
        threading.Thread(target=parts.catalog.run, args=(stop,), name="watch-catalog", daemon=True).start()
        threading.Thread(target=parts.records.cache.run, args=(stop,), name="watch-records", daemon=True).start()
        parts.cluster.start(stop)
        for thread in http:
            thread.start()
        leading = threading.Thread(target=self._lead, name="leader", daemon=True)
        leading.start()
        log.warning("started", version=__version__, namespace=parts.namespace)
        stop.wait()
        parts.queue.close()
        parts.pages.close()
        for server in parts.servers.values():
            server.should_exit = True
        join_all((leading, *http), clock=SystemClock())
        log.warning("stopped", status=self._exit_status)
        return self._exit_status

    def _serve(self, server: uvicorn.Server, listener: socket.socket) -> None:
        """Serve in a thread: on the main thread, uvicorn raises SIGTERM again when it ends and skips the clean stop."""
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
            _freeze_heap()
            work = self._parts.build_leader_work()
            self._parts.leader.run(
                self._stop, on_start=partial(self._start_work, work), on_loss=self._fail, on_stop=work.stop
            )
        except Exception:
            log.exception("leader_crashed")
            self._fail()

    def _await_caches(self) -> bool:
        """
        Wait until every cache has synced; False if the process stops first. This comes before the Lease is requested:
        a leader that only waits would let the Lease expire.
        """
        caches: tuple[WatchCache[Any], ...] = (self._parts.records.cache, *self._parts.cluster.required_caches)
        while not all(cache.is_synced for cache in caches):
            if self._stop.wait(_CACHE_POLL_S):
                return False
        return True

    def _start_work(self, work: LeaderWork) -> None:
        """Queue every record once, whatever its state. Afterwards only changes are queued."""
        self._parts.queue.open()
        for record in self._parts.records.list_records():
            self._parts.queue.add(record)
        work.start()

    def _fail(self) -> None:
        self._exit_status = EXIT_LOST
        self._parts.queue.close()
        self._stop.set()


def join_all(threads: Iterable[threading.Thread], *, clock: Clock) -> None:
    """Wait until all threads have ended. All of them have one deadline: the pod has one grace period."""
    deadline = clock.monotonic() + LONGEST_STOP_S
    for thread in threads:
        thread.join(max(0.0, deadline - clock.monotonic()))


def _freeze_heap() -> None:
    """Exclude the objects that exist now from garbage collection: a full collection would delay every request."""
    gc.collect()
    gc.freeze()
