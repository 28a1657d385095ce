"""
What runs in the leader only: workers, sweeper, warm pool, and tasks that run from time to time, such as the idle watch.

A new task of the leader gets its line in `LeaderWork`, which starts and stops all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
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

STOP_S = 8.0  # time to finish requests and reconciles in flight; less than Kubernetes' grace period of 30 s


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
            skew=lambda: timedelta(seconds=parts.client.server_time.skew_s),
        ),
    )
    resting = _build_resting(parts, site, fenced)
    list_wanted = partial(list_wanted_versions, parts.records, settings.pools)
    keeper = StateKeeper(fenced.cluster, site, list_wanted, clock=clock)
    return LeaderWork(
        resting=resting,
        preparing=Periodic("preparing", keeper.step, may_work=may_work),
        workers=Workers(
            parts.queue, reconciler, clock=clock, count=settings.workers, may_work=may_work, on_death=on_death
        ),
        sweeper=Sweeper(
            build_sweep_rules(settings, installation_uid=uid),
            kinds=SWEPT,
            world=fenced,
            store=parts.records,
            authority=parts.records,
            clock=clock,
            may_work=may_work,
            is_clock_trusted=parts.client.server_time.is_trusted,
        ),
        pool=Pool(
            PoolRules(
                pools=settings.pools,
                at_once=settings.pool_at_once,
                max_age_s=settings.pool_max_age_s,
                release=parts.release,
            ),
            kind=NESTED_MEMBER,
            site=site,
            world=fenced,
            store=fence(parts.records, may_work),
            clock=clock,
            may_work=may_work,
            is_clock_trusted=parts.client.server_time.is_trusted,
        ),
    )


def _build_resting(parts: Parts, site: Site, world: World) -> tuple[Periodic, ...]:
    """The leader's tasks for sleeping and idle jobs. Without metrics of the ingress controller no job is idle."""
    settings, may_work = parts.settings, parts.may_work
    assert world.doors is not None  # noqa: S101 - every scheduler has it
    doors = DoorWatch(world.doors.list_addresses, parts.records.list_sleeping, look_again=parts.queue.add)
    tasks = [Periodic("doors", doors.step, may_work=may_work)]
    if settings.traffic_metrics_urls:
        idle = IdleWatch(
            settings.idle_sleep_s,
            traffic=ScrapedTraffic(settings.traffic_metrics_urls, clock=parts.clock),
            lifecycle=NESTED_JOB,
            site=site,
            world=world,
            store=fence(parts.records, may_work),
            clock=parts.clock,
        )
        tasks.append(Periodic("idle", idle.step, may_work=may_work))
    return tuple(tasks)


def build_sweep_rules(settings: Settings, *, installation_uid: str) -> SweepRules:
    return SweepRules(
        installation=Installation(settings.system_namespace, installation_uid),
        interval_s=settings.sweep_interval_s,
        grace_s=settings.sweep_grace_s,
        max_share=settings.sweep_max_share,
        dry_run=settings.sweep_dry_run,
    )
