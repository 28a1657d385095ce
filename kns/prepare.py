"""
Make the prepared states: as a task of the leader, and as `kns prepare`.

`kns.stages.prepared` has the single step; here is when and for which versions it is made.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

from kns import metrics
from kns.adapters.clock import SystemClock
from kns.adapters.kube.cluster import KubeCluster
from kns.adapters.kube.connect import connect, find_administrators_kubeconfig
from kns.adapters.kube.discovery import find_service_cidr
from kns.adapters.kube.throttle import Throttle
from kns.logs import configure_logging
from kns.model.errors import KnsError
from kns.model.findings import Finding, Severity
from kns.model.job.job import JobState
from kns.model.job.pool import PoolSize
from kns.model.site import Site, VirtualKubernetes
from kns.objects.prepare_job import DEADLINE_S
from kns.ports import Clock, Cluster, JobStore
from kns.settings import SettingsError, build_site, load_settings
from kns.stages.prepared import StateOutcome, StateReport, prepare_states

RUNNING_S = 5.0  # between two looks at a Job that runs
IDLE_S = 15.0  # between two looks at the versions that jobs ask for, which costs nothing on the host
FAILED_S = 300.0
CHECK_S = 600.0  # a state that was ready is read again: somebody may have deleted or changed it
MOST_VERSIONS = 20  # at a time; a site offers fewer
MOST_STARTING = 100  # jobs that are asked for their version at a time


class StateKeeper:
    """
    The leader's task: a state for the default version, and for each that `list_wanted` returns. Other versions have
    none, because making one pulls the version's image.
    """

    def __init__(self, cluster: Cluster, site: Site, list_wanted: Callable[[], Iterable[str]], *, clock: Clock) -> None:
        self._cluster = cluster
        self._site = site
        self._list_wanted = list_wanted
        self._clock = clock
        self._ready_until: dict[str, float] = {}  # monotonic

    def step(self) -> float:
        """Do the next step. Returns the seconds until the next one."""
        virtual, now = self._site.virtual, self._clock.monotonic()
        if not (virtual.prepared_state and virtual.fast_start):
            return CHECK_S
        minors = dict.fromkeys(["", *self._list_wanted()])
        wanted = list(
            dict.fromkeys(virtual.version(minor) for minor in minors if not minor or minor in virtual.versions)
        )
        due = [version for version in wanted if self._ready_until.get(version, now) <= now][:MOST_VERSIONS]
        reports = prepare_states(self._cluster, self._site.system_namespace, virtual, due, now=self._clock.now())
        for report in reports:
            self._ready_until.pop(report.version, None)
            if report.outcome is StateOutcome.READY:
                self._ready_until[report.version] = now + CHECK_S
        ready = len(self._ready_until.keys() & set(wanted))
        metrics.set_prepared_states(ready=ready, missing=len(wanted) - ready)
        outcomes = {report.outcome for report in reports}
        if StateOutcome.RUNNING in outcomes:
            return RUNNING_S
        return FAILED_S if StateOutcome.FAILED in outcomes else IDLE_S


def list_wanted_versions(store: JobStore, pools: Iterable[PoolSize]) -> Iterator[str]:
    """
    The minor versions of the pools, and of some jobs that start; "" is the default. The other jobs have their turn
    later.
    """
    yield from (pool.version for pool in pools if pool.size)
    for number, _ in store.list_in_state(JobState.SUBMITTED)[-MOST_STARTING:]:
        job = store.find(number)
        if job is not None and job.spec.accepted is not None:
            yield job.spec.accepted.nested.kubernetes_version


def prepare_site(*, all_versions: bool) -> Iterator[Finding]:
    """
    Make the states of the default version, or of all versions that the site offers, and wait for them. A finding for
    each.
    """
    configure_logging(logging.ERROR)
    try:
        settings = load_settings()
    except SettingsError as error:
        yield from (Finding(name, Severity.FAULT, said, "see docs/configuration.md") for name, said in error.problems)
        return
    clock = SystemClock()
    try:
        client = connect(find_administrators_kubeconfig() or settings.kubeconfig)
    except KnsError as error:
        yield Finding("host API", Severity.FAULT, str(error), "set KUBECONFIG")
        return
    try:
        cidr = settings.service_cidr or find_service_cidr(client)
        site = build_site(settings, service_cidr=cidr, installation_uid="")
        virtual = site.virtual
        switches = {
            "KNS_PREPARED_STATE": settings.virtual_prepared_state,
            "KNS_FAST_START": settings.virtual_fast_start,
        }
        off = next((name for name, is_on in switches.items() if not is_on), None)
        if off or not cidr:
            said = f"{off} is false" if off else "the host does not tell its range of ClusterIPs"
            todo = f"set {off}=true" if off else "set KNS_SERVICE_CIDR"
            yield Finding("prepared state", Severity.FAULT, f"{said}, so no job would use a prepared state", todo)
            return
        throttle = Throttle(settings.writes_per_second, burst=1, clock=clock, may_work=lambda: True)
        cluster = KubeCluster(client, clock=clock, on_change=lambda *_: None, throttle=throttle)
        versions = list(virtual.versions.values()) if all_versions else [virtual.version("")]
        yield from await_states(cluster, site.system_namespace, virtual, versions, clock=clock, sleep=time.sleep)
    except KnsError as error:
        yield Finding("prepared state", Severity.FAULT, str(error), "see docs/operations.md")
    finally:
        client.close()


def await_states(
    cluster: Cluster,
    namespace: str,
    virtual: VirtualKubernetes,
    versions: Iterable[str],
    *,
    clock: Clock,
    sleep: Callable[[float], None],
) -> Iterator[Finding]:
    """Make the states of these versions, one after the other, because each start needs a node's processors."""
    for version in versions:
        deadline = clock.monotonic() + 2 * DEADLINE_S
        while True:
            (report,) = prepare_states(cluster, namespace, virtual, [version], now=clock.now())
            if report.outcome is not StateOutcome.RUNNING:
                break
            if clock.monotonic() > deadline:
                report = StateReport(version, StateOutcome.FAILED, f"not finished after {2 * DEADLINE_S} s")
                break
            sleep(RUNNING_S)
        if report.outcome is StateOutcome.READY:
            yield Finding(version, Severity.OK, "has a prepared state")
        else:
            yield Finding(version, Severity.FAULT, report.detail, "see docs/operations.md, the prepared state")
