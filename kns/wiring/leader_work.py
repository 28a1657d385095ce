"""
What runs in the leader only: workers, sweeper, warm pool, and tasks that run from time to time, such as the idle watch.

A new task of the leader is one more of the `tasks` of `LeaderWork`, which starts and stops all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kns.adapters.kube.discovery import find_installation_uid, find_service_cidr
from kns.adapters.kube.image_volumes import can_mount_images
from kns.adapters.traffic import ScrapedTraffic
from kns.engine.fence import fence, fence_world
from kns.engine.idle import DoorWatch, IdleWatch
from kns.engine.intake import Intake
from kns.engine.periodic import Periodic
from kns.engine.pool import Pool, PoolRules
from kns.engine.reconciler import Reconciler, Term
from kns.engine.sweeper import Sweeper, SweepRules
from kns.engine.workers import Workers
from kns.logs import get_logger
from kns.model.site import Site
from kns.ports import World
from kns.prepare import StateKeeper, list_wanted_versions
from kns.settings import Settings, build_site
from kns.stages import NESTED_JOB, NESTED_MEMBER
from kns.stages.orphans import Installation
from kns.stages.swept import SWEPT
from kns.start_checks import warn_of_missing_classes, warn_of_unfit_chart
from kns.wiring.parts import Parts

log = get_logger(__name__)

STOP_S = 8.0  # time to finish reconciles in flight


@dataclass(frozen=True, slots=True)
class LeaderWork:
    """The parts that run in the leader only."""

    workers: Workers
    tasks: tuple[Periodic, ...]

    def start(self) -> None:
        self.workers.start()
        for task in self.tasks:
            task.start()

    def stop(self) -> bool:
        """Stop all; whether everything in flight finished in time."""
        have_ended = self.workers.stop(timeout_s=STOP_S)
        if not have_ended:
            log.warning("reconciles_cut_off")
        for task in self.tasks:
            if not task.stop(timeout_s=STOP_S / 4):
                log.warning("task_cut_off", task=task.name)
                have_ended = False
        return have_ended


def build_leader_work(parts: Parts, on_death: Callable[[], None]) -> LeaderWork:
    """
    Read the facts of the host cluster that jobs are built from, then construct what the leader runs.

    Raises:
        KnsError: the host cluster does not answer.
    """
    settings, clock, may_work = parts.settings, parts.clock, parts.may_work
    uid = find_installation_uid(parts.client, parts.namespace)
    cidr = settings.service_cidr or find_service_cidr(parts.client)
    site = parts.site = build_site(
        settings, service_cidr=cidr, installation_uid=uid, mounts_images=can_mount_images(parts.client)
    )
    warn_of_missing_classes(parts.cluster, site)
    warn_of_unfit_chart(settings.chart, parts.world.renderer, site.virtual)
    fenced = fence_world(parts.world, may_work)
    reconciler = Reconciler(
        store=fence(parts.records, may_work),
        writer=fence(parts.records, may_work),
        world=fenced,
        site=site,
        clock=clock,
        intake=Intake(store=parts.records, catalog=parts.catalog, terms=parts.terms, rng=parts.rng),
        lifecycle=NESTED_JOB,
        term=Term(
            since=lambda: parts.leader.leading_since,
            is_clock_trusted=parts.client.server_time.is_trusted,
        ),
    )
    return LeaderWork(
        workers=Workers(
            parts.queue, reconciler, clock=clock, count=settings.workers, may_work=may_work, on_death=on_death
        ),
        tasks=_build_tasks(parts, site, fenced),
    )


def _build_tasks(parts: Parts, site: Site, world: World) -> tuple[Periodic, ...]:
    """In the order in which they are stopped. Without metrics of the ingress controller no job is idle."""
    settings, clock, may_work = parts.settings, parts.clock, parts.may_work
    sweeper = Sweeper(
        build_sweep_rules(settings, installation_uid=site.installation_uid),
        kinds=SWEPT,
        world=world,
        store=parts.records,
        authority=parts.records,
        clock=clock,
        may_work=may_work,
        is_clock_trusted=parts.client.server_time.is_trusted,
    )
    pool = Pool(
        PoolRules(
            pools=settings.pools,
            at_once=settings.pool_at_once,
            max_age_s=settings.pool_max_age_s,
            release=parts.release,
        ),
        kind=NESTED_MEMBER,
        site=site,
        world=world,
        store=fence(parts.records, may_work),
        clock=clock,
        may_work=may_work,
        is_clock_trusted=parts.client.server_time.is_trusted,
    )
    keeper = StateKeeper(world.cluster, site, partial(list_wanted_versions, parts.records, settings.pools), clock=clock)
    assert world.doors is not None  # noqa: S101 - every scheduler has it
    doors = DoorWatch(world.doors.list_addresses, parts.records.list_sleeping, look_again=parts.queue.add)
    preparing = Periodic("preparing", keeper.step, may_work=may_work)
    tasks = (sweeper, pool, preparing, Periodic("doors", doors.step, may_work=may_work))
    if not settings.traffic_metrics_urls:
        return tasks
    idle = IdleWatch(
        settings.idle_sleep_s,
        traffic=ScrapedTraffic(settings.traffic_metrics_urls, clock=clock),
        lifecycle=NESTED_JOB,
        site=site,
        world=world,
        store=fence(parts.records, may_work),
        clock=clock,
    )
    return (*tasks, Periodic("idle", idle.step, may_work=may_work))


def build_sweep_rules(settings: Settings, *, installation_uid: str) -> SweepRules:
    return SweepRules(
        installation=Installation(settings.system_namespace, installation_uid),
        interval_s=settings.sweep_interval_s,
        grace_s=settings.sweep_grace_s,
        max_share=settings.sweep_max_share,
        dry_run=settings.sweep_dry_run,
    )
