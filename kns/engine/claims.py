"""
Claims of pool members: a submission takes a member, or starts cold. It never waits for one.

The claim is a compare and swap on the member's namespace, so one submission gets it, whichever replica it came to and
however its record will be named. The record is created afterwards. If it never is, the leader discards the member
(`kns.engine.pool`).
"""

import random
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from kns import metrics
from kns.engine.shape import build_draft, digest_shape, find_unfinished
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import ConflictError, KnsError, UnavailableError
from kns.model.job.job import Accepted, JobSpec, JobStatus
from kns.model.job.member import Member, build_claim
from kns.model.job.pool import PoolSize
from kns.model.site import Site
from kns.ports import Clock, Cluster, Context, JobStore, PoolState, World
from kns.stages.lifecycle import MemberKind

log = get_logger(__name__)

TRIES = 3  # each lost race costs one request; after that a cold start is better than more of them
_CLAIM_BYTES = 8  # the id only has to differ from other claims of the same member


class Claims:
    """
    Implements `ports.Members`. Threads may call it at the same time.

    `find_site` returns None until the facts of the host are known; until then every job starts cold.
    """

    def __init__(
        self,
        *,
        pools: Sequence[PoolSize],
        kind: MemberKind,
        release: str,
        find_site: Callable[[], Site | None],
        world: World,
        store: JobStore,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._pools = pools
        self._kind = kind
        self._release = release
        self._find_site = find_site
        self._world = replace(world, cluster=cast(Cluster, _FromCaches(world.cluster)))
        self._cluster = world.cluster
        self._store = store
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._taken: set[str] = set()  # uids of members that another thread claims at this moment
        self._lost: dict[str, str] = {}  # uid -> version of a member in the cache that was claimed elsewhere

    def claim(self, spec: JobSpec, draft: Accepted) -> Member | None:
        began = self._clock.monotonic()
        try:
            member = self._find_and_claim(spec, draft)
        except KnsError as error:  # the job starts cold; if the host does not answer at all, that fails, too
            log.warning("claim_failed", error=str(error))
            member = None
        except Exception:  # a bug in kns; without the pool the submission would succeed
            log.exception("claim_crashed")
            member = None
        metrics.count_claim("hit" if member else "miss")
        if member is not None:
            metrics.observe_claim(self._clock.monotonic() - began)
        return member

    def list_pools(self) -> Sequence[PoolState]:
        site = self._find_site()
        members = self._cluster.observe_members(site.system_namespace) if site is not None else ()
        return [_sum_up(pool, members) for pool in self._pools]

    def _find_and_claim(self, spec: JobSpec, draft: Accepted) -> Member | None:
        site = self._find_site()
        if site is None:
            return None
        ctx = Context(
            job=build_draft(spec, draft, JobStatus()),
            accepted=draft,
            now=self._clock.now(),
            site=site,
            world=self._world,
        )
        shape = digest_shape(self._kind.describe(ctx), self._release)
        free = self._cluster.observe_free_members(site.system_namespace, shape)
        chosen = self._choose(free)
        try:
            return next((member for member in chosen if self._is_fit(member, ctx) and self._try(member)), None)
        finally:
            with self._lock:
                self._taken.difference_update(member.uid for member in chosen)

    def _choose(self, free: Sequence[Member]) -> list[Member]:
        """
        The members to try, in random order, so that replicas seldom try the same one. Members that the cache shows as
        free although a claim of them was lost are left out until the cache has caught up.
        """
        with self._lock:
            shown = {member.uid: member.version for member in free}
            self._lost = {uid: version for uid, version in self._lost.items() if shown.get(uid) == version}
            open_ = [member for member in free if member.uid not in self._lost and member.uid not in self._taken]
            chosen = self._rng.sample(open_, min(TRIES, len(open_)))
            self._taken.update(member.uid for member in chosen)
        return chosen

    def _is_fit(self, member: Member, ctx: Context) -> bool:
        """Whether the member still is what its namespace says, as far as the caches know."""
        assert member.marks.status is not None  # noqa: S101 - it is free
        if self._store.find(member.number) is not None:
            return False
        accepted = ctx.accepted.model_copy(update={"number": member.number, "adopted": member.adopted})
        job = build_draft(ctx.job.spec, accepted, member.marks.status)
        try:
            outcome = find_unfinished(self._kind, replace(ctx, job=job, accepted=accepted, member=member.marks))
        except KnsError as error:
            log.info("member_not_fit", member=member.namespace, error=str(error))
            return False
        if outcome is not None:
            log.info("member_not_fit", member=member.namespace, outcome=repr(outcome))
        return outcome is None

    def _try(self, member: Member) -> bool:
        claim = secrets.token_hex(_CLAIM_BYTES)
        try:
            self._cluster.claim(member, build_claim(claim, self._clock.now()))
        except ConflictError:
            metrics.count_claim("conflict")
            with self._lock:
                self._lost[member.uid] = member.version
            return False
        log.info("member_claimed", member=member.namespace, claim=claim)
        return True


def _sum_up(pool: PoolSize, members: Iterable[Member]) -> PoolState:
    label = names.label_value(pool.name)
    own = [member for member in members if member.pool_label == label and not member.terminating]
    free = [member for member in own if member.is_free]
    claimed = sum(member.claim is not None for member in own)
    return PoolState(
        pool.name,
        pool.size,
        ready=len(free),
        making=len(own) - len(free) - claimed,
        claimed=claimed,
        oldest=min((member.created for member in free), default=None),
    )


class _FromCaches:
    """The cluster, but only what its caches have, because a client waits."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("observe"):
            raise UnavailableError(f"{name}: a submission asks the caches only")
        return getattr(self._cluster, name)
