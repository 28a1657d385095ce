"""
The warm pool: the leader keeps members ready, which are first stages of a job that were done before the job exists.

A member's namespace is its only record (`kns.model.job.member`). Only the leader makes and discards members. Any
replica claims one for a submission (`kns.engine.claims`). Every write that decides something is bound to the version
of the namespace that was judged, so of a claim, a ready mark and a deletion only the first succeeds.

A claimed member is never given to another job. If no record names it after a grace period, it is discarded.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kns import metrics
from kns.engine.judging import Contexts, Discard, Judge, Wanted
from kns.engine.periodic import Periodic
from kns.engine.shape import digest_shape
from kns.engine.yielding import yield_to_jobs
from kns.logs import get_logger
from kns.model.errors import ConflictError, KnsError, TransientError
from kns.model.job.conditions import Reason, with_condition
from kns.model.job.job import JobState, JobStatus
from kns.model.job.member import Member
from kns.model.job.pool import PoolSize
from kns.model.site import Site
from kns.ports import Clock, Context, JobStore, Kind, World
from kns.stages.lifecycle import MemberKind
from kns.stages.outcome import Done, Failed, Outcome

log = get_logger(__name__)

INTERVAL_S = 1.0  # caches answer almost everything that a round reads
SETTLE_S = 3.0  # between a claim and the next member: the pods of the claimed job start in this time
YIELD_S = 120.0  # some cold starts long. Without a limit, one user could stop the pool with jobs that no node fits
_BACKOFF_S = (10.0, 60.0, 300.0)  # before the next attempt of a pool whose last members could not be made


@dataclass(frozen=True, slots=True)
class PoolRules:
    """
    `pools` are the members to keep ready. `at_once` members are made at the same time. A member older than `max_age_s`
    is replaced. `release` identifies the software that makes members: a member of another release fits no job.
    """

    pools: tuple[PoolSize, ...]
    at_once: int
    max_age_s: float
    release: str


class Pool(Periodic):
    """
    `may_work` is called before each round and each write, because only the leader makes members.

    What it remembers only saves work or delays a discard, so a restart loses nothing.
    """

    def __init__(
        self,
        rules: PoolRules,
        *,
        kind: MemberKind,
        site: Site,
        world: World,
        store: JobStore,
        clock: Clock,
        may_work: Callable[[], bool],
        is_clock_trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__("pool", self.work, may_work=may_work, interval_s=INTERVAL_S, first_s=INTERVAL_S)
        self._rules = rules
        self._kind = kind
        self._site = site
        self._world = world
        self._making = replace(world, cluster=yield_to_jobs(world.cluster, self._must_yield))
        self._store = store
        self._clock = clock
        self._contexts = Contexts(kind, site, world, clock, is_clock_trusted)
        self._judge = Judge(self._contexts, store, max_age_s=rules.max_age_s)
        self._progress: dict[str, JobStatus] = {}  # uid of a member that is being made -> what is done
        self._unknown: frozenset[str | None] = frozenset()  # machine classes that pools name and the catalogue lacks
        self._failures: dict[str, tuple[int, float]] = {}  # shape -> failures in a row, monotonic time of the last
        self._claimed: frozenset[str] = frozenset()  # uids
        self._settling_since: float | None = None  # since the first claim after the last members were begun; monotonic
        self._yielding_since: float | None = None  # since when it gives way to jobs, without a member made; monotonic

    def work(self) -> None:
        """
        One round: judge every member, discard those that are no use, and go on making those that are missing.

        An error with one member does not stop the others.

        Raises:
            KnsError: the caches are not filled.
        """
        members = self._world.cluster.observe_members(self._site.system_namespace)
        wanted = self._find_wanted()
        verdicts = self._judge.judge(members, wanted)
        self._forget(members, wanted)
        self._note_claims(members)
        for member, verdict in verdicts:
            self._discard(member, verdict)
        gone = {member.uid for member, _ in verdicts}
        kept = [member for member in members if member.is_unclaimed and member.uid not in gone]
        for member in kept:
            if not member.is_ready and member.marks.shape in wanted:
                self._make(member, wanted[member.marks.shape])
        self._begin(kept, wanted.values())
        self._report(members, wanted.values())

    # --- what is wanted

    def _find_wanted(self) -> dict[str, Wanted]:
        """
        The pools by the shape of their members. A pool whose machine class does not exist has no members. Pools of
        equal shape are one, with the sum of their sizes.
        """
        machines = self._world.catalog.current().machines
        unknown = frozenset(pool.machine for pool in self._rules.pools if pool.machine and pool.machine not in machines)
        if unknown != self._unknown:
            log.warning("pool_machines_unknown", machines=sorted(unknown))
        self._unknown = unknown
        wanted: dict[str, Wanted] = {}
        for pool in self._rules.pools:
            if pool.machine in unknown:
                continue
            machine = machines[pool.machine] if pool.machine else None
            spec, accepted = self._kind.draft(pool, machine, 1, self._clock.now())
            ctx = self._contexts.build(spec, accepted, JobStatus())
            shape = digest_shape(self._kind.describe(ctx), self._rules.release)
            known = wanted.get(shape)
            size = pool.size + (known.pool.size if known else 0)
            wanted[shape] = Wanted(replace(known.pool if known else pool, size=size), machine, shape)
        return wanted

    def _forget(self, members: Sequence[Member], wanted: Mapping[str, Wanted]) -> None:
        uids = {member.uid for member in members}
        self._failures = {shape: failure for shape, failure in self._failures.items() if shape in wanted}
        self._progress = {uid: status for uid, status in self._progress.items() if uid in uids}
        self._judge.forget(members)

    # --- acting

    def _discard(self, member: Member, verdict: Discard) -> None:
        if self._stop.is_set() or not self._may_work():
            return
        try:
            deleted = self._world.cluster.delete(
                Kind.NAMESPACE, "", member.namespace, uid=member.uid, version=member.version
            )
        except KnsError as error:
            log.warning("member_not_discarded", member=member.namespace, reason=str(verdict), error=str(error))
            return
        if not deleted:  # a claim was faster, for example
            return
        metrics.count_discarded_member(str(verdict))
        log.info("member_discarded", member=member.namespace, pool=member.pool_label, reason=str(verdict))

    def _discard_again(self, member: Member) -> None:
        """Discard a member that failed, in the version that its own stages have just written."""
        try:
            current = self._find_again(member)
        except ConflictError:
            return
        self._discard(current, Discard.FAILED)

    def _begin(self, kept: Sequence[Member], wanted: Iterable[Wanted]) -> None:
        """Make new members, as many as may be made at once. Gives way to jobs that start."""
        if self._is_settling():
            return
        at_once = 1 if self._store.count_waiting() else self._rules.at_once
        room = at_once - sum(not member.is_ready for member in kept)
        count = Counter(member.marks.shape for member in kept)
        for want in wanted:
            while room > 0 and count[want.shape] < want.pool.size and self._may_begin(want):
                room, count[want.shape] = room - 1, count[want.shape] + 1
                try:
                    number = self._store.allot_number()
                    spec, accepted = self._kind.draft(want.pool, want.machine, number, self._clock.now())
                    ctx = self._contexts.build(spec, accepted, JobStatus(), marks=want.marks)
                    if self._is_taken(ctx):
                        log.warning("number_taken", pool=want.pool.name, number=number)
                        continue
                    self._world.cluster.apply(self._kind.build_namespace(ctx))
                except KnsError as error:
                    log.warning("member_not_begun", pool=want.pool.name, error=str(error))
                    self._note_failure(want.shape)
                    return
                log.info("member_begun", pool=want.pool.name, number=number)

    def _is_taken(self, ctx: Context) -> bool:
        """
        Whether something has the number already, because the counter was lowered or another installation counts the
        same. To apply the namespace would make a member of it, and the pool deletes its members.
        """
        if self._store.find(ctx.accepted.number) is not None:
            return True
        return self._world.cluster.read(Kind.NAMESPACE, "", ctx.namespace) is not None

    def _may_begin(self, want: Wanted) -> bool:
        if self._stop.is_set() or not self._may_work() or self._must_yield():
            return False
        failures, last = self._failures.get(want.shape, (0, 0.0))
        if failures == 0:
            return True
        return self._clock.monotonic() - last >= _BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1]

    def _make(self, member: Member, want: Wanted) -> None:
        """Go on making one member."""
        if self._stop.is_set() or not self._may_work():
            return
        try:
            outcome = self._ensure(member, want)
        except TransientError as error:  # the next round tries again; the spawn delay ends a member that never succeeds
            log.debug("member_delayed", member=member.namespace, error=str(error))
            return
        except KnsError as error:
            outcome = Failed(Reason.REFUSED_BY_HOST, str(error))
        except Exception:  # a bug in kns must not stop the other members
            log.exception("member_crashed", member=member.namespace)
            return
        if isinstance(outcome, Failed):
            log.warning("member_failed", member=member.namespace, reason=str(outcome.reason), error=outcome.message)
            self._note_failure(want.shape)
            self._discard_again(member)
        elif outcome is None:
            self._failures.pop(want.shape, None)
            self._yielding_since = None

    def _ensure(self, member: Member, want: Wanted) -> Outcome | None:
        """Run the stages down to the first that is not done. None: the member was marked as ready."""
        status = self._progress.get(member.uid) or JobStatus(spawn_start_time=member.created)
        now = self._clock.now()
        for stage in self._kind.stages:
            ctx = self._contexts.build_for(member, want, status, member.marks)
            outcome = stage.ensure(replace(ctx, world=self._making))
            if not isinstance(outcome, Done):
                return outcome
            done = with_condition(status.conditions, stage.condition, true=True, reason=Reason.OK, message="", now=now)
            status = status.model_copy(update={**outcome.status_changes(), "conditions": done})
            self._progress[member.uid] = status
        current = self._find_again(member)  # the stages may have changed the namespace
        status = status.model_copy(update={"job_status": JobState.PROCESSING, "start_time": now})
        namespace = self._kind.build_namespace(self._contexts.build_for(member, want, status, member.made(status)))
        namespace["metadata"]["resourceVersion"] = current.version
        self._world.cluster.apply(namespace)
        metrics.observe_member_made((now - member.created).total_seconds())
        log.info("member_ready", member=member.namespace, pool=want.pool.name)
        return None

    def _find_again(self, member: Member) -> Member:
        members = self._world.cluster.observe_members(self._site.system_namespace)
        found = next((each for each in members if each.uid == member.uid and not each.terminating), None)
        if found is None:
            raise ConflictError(f"namespace {member.namespace} is no member any more")
        return found

    def _note_failure(self, shape: str) -> None:
        failures, _ = self._failures.get(shape, (0, 0.0))
        self._failures[shape] = (failures + 1, self._clock.monotonic())
        self._yielding_since = None

    def _note_claims(self, members: Sequence[Member]) -> None:
        claimed = frozenset(member.uid for member in members if member.claim is not None)
        if self._settling_since is None and claimed - self._claimed:
            self._settling_since = self._clock.monotonic()
        self._claimed = claimed

    def _is_settling(self) -> bool:
        """Whether a job has just got its cluster. Later claims do not prolong this: a busy site would have no pool."""
        if self._settling_since is None:
            return False
        if self._clock.monotonic() - self._settling_since < SETTLE_S:
            return True
        self._settling_since = None
        return False

    def _must_yield(self) -> bool:
        """
        Whether a job waits for its start, and so the pool for the job. After `YIELD_S` the pool makes one member, and
        then gives way again.
        """
        if not self._store.count_waiting():
            self._yielding_since = None
            return False
        now = self._clock.monotonic()
        if self._yielding_since is None:
            self._yielding_since = now
        return now - self._yielding_since < YIELD_S

    # --- metrics

    def _report(self, members: Sequence[Member], wanted: Collection[Wanted]) -> None:
        now = self._clock.now()
        for want in wanted:
            found = [member for member in members if member.marks.shape == want.shape]
            free = [member for member in found if member.is_free]
            metrics.set_pool(
                want.pool.name,
                wanted=want.pool.size,
                ready=len(free),
                making=sum(not member.is_ready and not member.terminating for member in found),
                oldest_s=max(((now - member.created).total_seconds() for member in free), default=0.0),
            )
        reported = {want.pool.name for want in wanted}
        for pool in self._rules.pools:
            if pool.name not in reported:  # its machine class is gone, or another pool counts its members
                size = pool.size if pool.machine in self._unknown else 0
                metrics.set_pool(pool.name, wanted=size, ready=0, making=0, oldest_s=0.0)
