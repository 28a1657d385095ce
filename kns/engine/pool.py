"""
The warm pool: the leader keeps members ready, which are first stages of a job that were done before the job exists.

A member's namespace is its only record (`kns.model.job.member`). Only the leader makes and discards members. Any
replica claims one for a submission (`kns.engine.claims`). Every write that decides something is bound to the version
of the namespace that was judged, so of a claim, a ready mark and a deletion only the first succeeds.

A claimed member is never given to another job. If no record names it after a grace period, it is discarded.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kns import metrics
from kns.engine.shape import build_draft, digest_shape, find_unfinished
from kns.engine.yielding import yield_to_jobs
from kns.logs import get_logger
from kns.model.catalog.machine import Machine
from kns.model.errors import ConflictError, KnsError, TransientError
from kns.model.job.conditions import Reason, with_condition
from kns.model.job.job import Accepted, JobSpec, JobState, JobStatus
from kns.model.job.member import Marks, Member
from kns.model.job.pool import PoolSize
from kns.model.site import Site
from kns.ports import Clock, Context, JobStore, Kind, World
from kns.stages.lifecycle import MemberKind
from kns.stages.outcome import Done, Failed, Outcome

log = get_logger(__name__)

INTERVAL_S = 1.0  # caches answer almost everything that a round reads
CLAIM_GRACE_S = 60.0  # a submission takes at most 20 s from its claim to its record
UNFIT_S = 30.0  # on a busy node a member may miss a readiness probe
YIELD_S = 120.0  # some cold starts long. Without a limit, one user could stop the pool with jobs that no node fits
_BACKOFF_S = (10.0, 60.0, 300.0)  # before the next attempt of a pool whose last members could not be made


class Discard(StrEnum):
    """Why the pool removed a member; a label of a metric."""

    UNUSED = "unused"  # claimed, and no record names it
    NUMBER_TAKEN = "number_taken"  # a record has its number and does not name it
    SHAPE = "shape"  # no pool makes members of this shape any more: settings, chart, release or catalogue changed
    SURPLUS = "surplus"
    FAILED = "failed"  # it could not be made
    LOST = "lost"  # what was made ahead was lost, for example by a drain
    UNFIT = "unfit"  # what was made ahead is not available
    OLD = "old"


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


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One pool now: the shape of its members, and the machine that they are made for."""

    pool: PoolSize
    machine: Machine | None
    shape: str

    @property
    def marks(self) -> Marks:
        return Marks(self.pool.name, self.shape)


class Pool:
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
        self._rules = rules
        self._kind = kind
        self._site = site
        self._world = world
        self._making = replace(world, cluster=yield_to_jobs(world.cluster, self._must_yield))
        self._store = store
        self._clock = clock
        self._may_work = may_work
        self._is_clock_trusted = is_clock_trusted
        self._progress: dict[str, JobStatus] = {}  # uid of a member that is being made -> what is done
        self._since: dict[tuple[str, Discard], float] = {}  # since when a member was judged so; monotonic
        self._unknown: frozenset[str | None] = frozenset()  # machine classes that pools name and the catalogue lacks
        self._failures: dict[str, tuple[int, float]] = {}  # shape -> failures in a row, monotonic time of the last
        self._yielding_since: float | None = None  # since when it gives way to jobs, without a member made; monotonic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pool", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Start no further work. Returns whether the running round ended in time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def work(self) -> None:
        """
        One round: judge every member, discard those that are no use, and go on making those that are missing.

        An error with one member does not stop the others.

        Raises:
            KnsError: the caches are not filled.
        """
        members = self._world.cluster.observe_members(self._site.system_namespace)
        wanted = self._find_wanted()
        unclaimed = [member for member in members if member.claim is None and not member.terminating]
        verdicts = self._judge(members, wanted)
        self._forget(members, wanted)
        for member, verdict in verdicts:
            self._discard(member, verdict)
        gone = {member.uid for member, _ in verdicts}
        kept = [member for member in unclaimed if member.uid not in gone]
        for member in kept:
            if not member.is_ready and member.marks.shape in wanted:
                self._make(member, wanted[member.marks.shape])
        self._begin(kept, wanted.values())
        self._report(members, wanted.values())

    # --- the thread

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            if not self._may_work():
                continue
            try:
                self.work()
            except KnsError as error:
                log.warning("pool_round_failed", error=str(error))
            except Exception:  # a bug in kns must not end the pool
                log.exception("pool_crashed")

    # --- what is wanted

    def _find_wanted(self) -> dict[str, _Wanted]:
        """
        The pools by the shape of their members. A pool whose machine class does not exist has no members. Pools of
        equal shape are one, with the sum of their sizes.
        """
        machines = self._world.catalog.current().machines
        unknown = frozenset(pool.machine for pool in self._rules.pools if pool.machine and pool.machine not in machines)
        if unknown != self._unknown:
            log.warning("pool_machines_unknown", machines=sorted(unknown))
        self._unknown = unknown
        wanted: dict[str, _Wanted] = {}
        for pool in self._rules.pools:
            if pool.machine in unknown:
                continue
            machine = machines[pool.machine] if pool.machine else None
            spec, accepted = self._kind.draft(pool, machine, 1, self._clock.now())
            ctx = self._build_context(spec, accepted, JobStatus())
            shape = digest_shape(self._kind.describe(ctx), self._rules.release)
            known = wanted.get(shape)
            size = pool.size + (known.pool.size if known else 0)
            wanted[shape] = _Wanted(replace(known.pool if known else pool, size=size), machine, shape)
        return wanted

    def _build_context(
        self, spec: JobSpec, accepted: Accepted, status: JobStatus, *, marks: Marks | None = None
    ) -> Context:
        return Context(
            job=build_draft(spec, accepted, status),
            accepted=accepted,
            now=self._clock.now(),
            site=self._site,
            world=self._world,
            is_time_trusted=self._is_clock_trusted(),
            member=marks,
        )

    def _build_member_context(self, member: Member, want: _Wanted, status: JobStatus, marks: Marks) -> Context:
        spec, accepted = self._kind.draft(want.pool, want.machine, member.number, member.created)
        accepted = accepted.model_copy(update={"adopted": member.adopted})
        return self._build_context(spec, accepted, status, marks=marks)

    # --- judging

    def _judge(self, members: Sequence[Member], wanted: Mapping[str, _Wanted]) -> list[tuple[Member, Discard]]:
        """The members to discard. An error with one of them keeps it for this round."""
        verdicts = []
        for member in members:
            if member.terminating:
                continue
            try:
                verdict = self._judge_one(member, wanted)
            except KnsError as error:
                log.warning("member_not_judged", member=member.namespace, error=str(error))
                continue
            except Exception:  # a bug in kns; the other members must not wait for its fix
                log.exception("member_crashed", member=member.namespace)
                continue
            if verdict is not None:
                verdicts.append((member, verdict))
        gone = {member.uid for member, _ in verdicts}
        kept = [member for member in members if member.uid not in gone and member.claim is None]
        kept = [member for member in kept if not member.terminating]
        return [*verdicts, *self._find_surplus(kept, wanted), *self._find_old(kept, wanted)]

    def _judge_one(self, member: Member, wanted: Mapping[str, _Wanted]) -> Discard | None:
        job = self._store.find(member.number)
        if job is not None and job.spec.accepted is not None and job.spec.accepted.adopted == member.adopted:
            return None  # its first reconcile takes the member over
        if member.claim is not None:
            is_due = self._lasts(member, Discard.UNUSED, CLAIM_GRACE_S)
            # The cache may be behind, so the API server decides.
            return Discard.UNUSED if is_due and self._store.fetch(member.number) is None else None
        if job is not None:
            return Discard.NUMBER_TAKEN
        if member.marks.shape not in wanted:
            return Discard.SHAPE
        return self._judge_health(member, wanted[member.marks.shape]) if member.is_ready else None

    def _judge_health(self, member: Member, wanted: _Wanted) -> Discard | None:
        assert member.marks.status is not None  # noqa: S101 - it is ready
        ctx = self._build_member_context(member, wanted, member.marks.status, member.marks)
        outcome = find_unfinished(self._kind, ctx)
        if outcome is None:
            self._since.pop((member.uid, Discard.UNFIT), None)
            return None
        if isinstance(outcome, Failed):
            return Discard.LOST
        return Discard.UNFIT if self._lasts(member, Discard.UNFIT, UNFIT_S) else None

    @staticmethod
    def _find_surplus(kept: Sequence[Member], wanted: Mapping[str, _Wanted]) -> Iterable[tuple[Member, Discard]]:
        """Those that are not ready go first, then the oldest."""
        for shape, want in wanted.items():
            found = [member for member in kept if member.marks.shape == shape]
            found.sort(key=lambda member: (member.is_ready, member.created, member.number))
            for member in found[: max(0, len(found) - want.pool.size)]:
                yield member, Discard.SURPLUS

    def _find_old(self, kept: Sequence[Member], wanted: Mapping[str, _Wanted]) -> Iterable[tuple[Member, Discard]]:
        """The oldest one of a shape, and only while the pool is full, so that members of one age do not go together."""
        if not self._is_clock_trusted():
            return
        for shape, want in wanted.items():
            found = [member for member in kept if member.marks.shape == shape]
            if len(found) != want.pool.size or not all(member.is_ready for member in found):
                continue
            oldest = min(found, key=lambda member: member.created, default=None)
            if oldest is not None and (self._clock.now() - oldest.created).total_seconds() > self._rules.max_age_s:
                yield oldest, Discard.OLD

    def _lasts(self, member: Member, verdict: Discard, limit_s: float) -> bool:
        """Whether this leader has found it so for that long. A new leader starts again, which only delays a discard."""
        now = self._clock.monotonic()
        return now - self._since.setdefault((member.uid, verdict), now) >= limit_s

    def _forget(self, members: Sequence[Member], wanted: Mapping[str, _Wanted]) -> None:
        uids = {member.uid for member in members}
        self._failures = {shape: failure for shape, failure in self._failures.items() if shape in wanted}
        self._progress = {uid: status for uid, status in self._progress.items() if uid in uids}
        self._since = {key: since for key, since in self._since.items() if key[0] in uids}

    # --- acting

    def _discard(self, member: Member, verdict: Discard) -> None:
        if self._stop.is_set() or not self._may_work():
            return
        try:
            self._world.cluster.delete(Kind.NAMESPACE, "", member.namespace, uid=member.uid, version=member.version)
        except KnsError as error:
            log.warning("member_not_discarded", member=member.namespace, reason=str(verdict), error=str(error))
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

    def _begin(self, kept: Sequence[Member], wanted: Iterable[_Wanted]) -> None:
        """Make new members, as many as may be made at once. Gives way to jobs that wait for their start."""
        at_once = 1 if self._store.count_waiting() else self._rules.at_once
        room = at_once - sum(not member.is_ready for member in kept)
        count = Counter(member.marks.shape for member in kept)
        for want in wanted:
            while room > 0 and count[want.shape] < want.pool.size and self._may_begin(want):
                room, count[want.shape] = room - 1, count[want.shape] + 1
                try:
                    number = self._store.allot_number()
                    spec, accepted = self._kind.draft(want.pool, want.machine, number, self._clock.now())
                    ctx = self._build_context(spec, accepted, JobStatus(), marks=want.marks)
                    self._world.cluster.apply(self._kind.build_namespace(ctx))
                except KnsError as error:
                    log.warning("member_not_begun", pool=want.pool.name, error=str(error))
                    self._note_failure(want.shape)
                    return
                log.info("member_begun", pool=want.pool.name, number=number)

    def _may_begin(self, want: _Wanted) -> bool:
        if self._stop.is_set() or not self._may_work() or self._must_yield():
            return False
        failures, last = self._failures.get(want.shape, (0, 0.0))
        if failures == 0:
            return True
        return self._clock.monotonic() - last >= _BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1]

    def _make(self, member: Member, want: _Wanted) -> None:
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
        except Exception:  # as above
            log.exception("member_crashed", member=member.namespace)
            return
        if isinstance(outcome, Failed):
            log.warning("member_failed", member=member.namespace, reason=str(outcome.reason), error=outcome.message)
            self._note_failure(want.shape)
            self._discard_again(member)
        elif outcome is None:
            self._failures.pop(want.shape, None)
            self._yielding_since = None

    def _ensure(self, member: Member, want: _Wanted) -> Outcome | None:
        """Run the stages down to the first that is not done. None: the member was marked as ready."""
        status = self._progress.get(member.uid) or JobStatus(spawn_start_time=member.created)
        now = self._clock.now()
        for stage in self._kind.stages:
            ctx = self._build_member_context(member, want, status, member.marks)
            outcome = stage.ensure(replace(ctx, world=self._making))
            if not isinstance(outcome, Done):
                return outcome
            done = with_condition(status.conditions, stage.condition, true=True, reason=Reason.OK, message="", now=now)
            status = status.model_copy(update={**outcome.status_changes(), "conditions": done})
            self._progress[member.uid] = status
        current = self._find_again(member)  # the stages may have changed the namespace
        status = status.model_copy(update={"job_status": JobState.PROCESSING, "start_time": now})
        namespace = self._kind.build_namespace(self._build_member_context(member, want, status, member.made(status)))
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

    def _report(self, members: Sequence[Member], wanted: Iterable[_Wanted]) -> None:
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
