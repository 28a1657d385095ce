"""What the use cases of `kns.service` receive: stores, limits, and the optional parts that a site switches on."""

from functools import partial

from kns.adapters.kube.health import HostHealth
from kns.adapters.kube.nodes import KubeFreeRoom
from kns.adapters.kube.relay import KubeJobClusters
from kns.adapters.recent import RecentLists
from kns.adapters.sliding_window import SlidingWindow
from kns.engine.claims import Claims
from kns.model.catalog.free import Selector, read_selector
from kns.model.job.job import Job
from kns.ports import Clock, Kind
from kns.service.find import LOOKUPS_PER_MINUTE
from kns.service.ports import ClusterAccess, Limits, ServicePorts
from kns.settings import Settings
from kns.stages import NESTED_MEMBER
from kns.stages.access import read_users_kubeconfig
from kns.wiring.keycloak import build_bearer
from kns.wiring.parts import Parts


def build_service(parts: Parts) -> ServicePorts:
    settings, clock = parts.settings, parts.clock
    return ServicePorts(
        jobs=parts.records,
        outputs=parts.world.outputs,
        tokens=parts.world.tokens,
        catalog=parts.catalog,
        health=HostHealth(parts.client, parts.records.cache, clock=clock, others=parts.cluster.caches),
        clock=clock,
        terms=parts.terms,
        rng=parts.rng,
        namespaces=RecentLists(parts.cluster, clock=clock, kinds={Kind.POD_METRICS, Kind.RESOURCE_QUOTA}),
        limits=_build_limits(settings, clock),
        bearer=build_bearer(settings),
        members=_build_members(parts),
        clusters=_build_cluster_access(parts),
        room=_build_room(parts),
        system_namespace=settings.system_namespace,
        has_volume=partial(_has_volume, parts),
    )


def _build_members(parts: Parts) -> Claims | None:
    """The pool as submissions see it; None if no members are made."""
    if not parts.settings.pools:
        return None
    return Claims(
        pools=parts.settings.pools,
        kind=NESTED_MEMBER,
        release=parts.release,
        find_site=lambda: parts.site,
        world=parts.world,
        store=parts.records,
        clock=parts.clock,
        rng=parts.rng,
    )


def _build_cluster_access(parts: Parts) -> ClusterAccess | None:
    """How users reach their jobs' clusters through kns; None if the site does not want it."""
    mode, with_shells = parts.settings.cluster_gateway, parts.settings.allow_gotty_shell
    if mode == "off":
        return None
    for_all = mode == "all"
    find_access = partial(read_users_kubeconfig, parts.cluster, for_all=for_all)
    return ClusterAccess(KubeJobClusters(find_access), for_all=for_all, with_shells=with_shells)


def _build_room(parts: Parts) -> KubeFreeRoom | None:
    """What is free of each machine; None if the site does not show it."""
    if not parts.settings.free_machines:
        return None
    return KubeFreeRoom(
        parts.client,
        list_selectors=partial(_list_selectors, parts),
        sum_requests=parts.cluster.sum_requests,
        clock=parts.clock,
    )


def _list_selectors(parts: Parts) -> set[Selector]:
    machines = parts.catalog.current().machines.values()
    return {read_selector(machine.node_selector) for machine in machines if machine.runs_nested_jobs}


def _has_volume(parts: Parts, job: Job) -> bool:
    """Whether the job's virtual cluster has a volume, as far as the cache knows."""
    location = job.location
    if location is None:
        return False
    return parts.cluster.observe(Kind.STATEFUL_SET, location.namespace, location.vcluster) is not None


def _build_limits(settings: Settings, clock: Clock) -> Limits:
    return Limits(
        failed_logins=SlidingWindow(settings.failed_logins_per_minute, clock=clock),
        submits=SlidingWindow(settings.submits_per_minute, clock=clock),
        lookups=SlidingWindow(LOOKUPS_PER_MINUTE, clock=clock),
        live_jobs=settings.live_jobs_per_user,
    )
