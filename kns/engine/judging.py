"""
Which pool members are of no use any more, and why. Nothing here changes anything.

Caches answer, except where a member may go although a job needs it: there the API server is asked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kns.engine.shape import build_draft, find_unfinished
from kns.logs import get_logger
from kns.model.catalog.machine import Machine
from kns.model.errors import KnsError
from kns.model.job.job import Accepted, JobSpec, JobStatus
from kns.model.job.member import Marks, Member
from kns.model.job.pool import PoolSize
from kns.model.site import Site
from kns.ports import Clock, Context, JobStore, World
from kns.stages.lifecycle import MemberKind
from kns.stages.outcome import Failed

log = get_logger(__name__)

CLAIM_GRACE_S = 60.0  # a submission takes at most 20 s from its claim to its record
# The limit by the time in the claim, for leaders that restart before the grace period ends. Another replica wrote that
# time, and both clocks may be wrong by five minutes (kns.adapters.kube.server_time).
CLAIM_LIMIT_S = CLAIM_GRACE_S + 600.0
UNFIT_S = 30.0  # on a busy node a member may miss a readiness probe


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
class Wanted:
    """One pool now: the shape of its members, and the machine that they are made for."""

    pool: PoolSize
    machine: Machine | None
    shape: str

    @property
    def marks(self) -> Marks:
        return Marks(self.pool.name, self.shape)


@dataclass(frozen=True, slots=True)
class Contexts:
    """What stages see while a member is made or judged: a draft of a job that fits its pool."""

    kind: MemberKind
    site: Site
    world: World
    clock: Clock
    is_clock_trusted: Callable[[], bool]

    def build(self, spec: JobSpec, accepted: Accepted, status: JobStatus, *, marks: Marks | None = None) -> Context:
        return Context(
            job=build_draft(spec, accepted, status),
            accepted=accepted,
            now=self.clock.now(),
            site=self.site,
            world=self.world,
            is_time_trusted=self.is_clock_trusted(),
            member=marks,
        )

    def build_for(self, member: Member, want: Wanted, status: JobStatus, marks: Marks) -> Context:
        spec, accepted = self.kind.draft(want.pool, want.machine, member.number, member.created)
        accepted = accepted.model_copy(update={"adopted": member.adopted})
        return self.build(spec, accepted, status, marks=marks)


class Judge:
    """What it remembers only delays a discard."""

    def __init__(self, contexts: Contexts, store: JobStore, *, max_age_s: float) -> None:
        self._contexts = contexts
        self._store = store
        self._max_age_s = max_age_s
        self._clock = contexts.clock
        self._since: dict[tuple[str, Discard], float] = {}  # since when a member was judged so; monotonic

    def forget(self, members: Iterable[Member]) -> None:
        """Forget all members but these."""
        uids = {member.uid for member in members}
        self._since = {key: since for key, since in self._since.items() if key[0] in uids}

    def judge(self, members: Sequence[Member], wanted: Mapping[str, Wanted]) -> list[tuple[Member, Discard]]:
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
        kept = [member for member in members if member.is_unclaimed and member.uid not in gone]
        return [*verdicts, *self._find_surplus(kept, wanted), *self._find_old(kept, wanted)]

    def _judge_one(self, member: Member, wanted: Mapping[str, Wanted]) -> Discard | None:
        job = self._store.find(member.number)
        if job is not None and job.spec.accepted is not None and job.spec.accepted.adopted == member.adopted:
            return None  # its first reconcile takes the member over
        if member.claim is not None:
            # The cache may be behind, so the API server decides.
            is_unused = self._is_claim_over(member) and self._store.fetch(member.number) is None
            return Discard.UNUSED if is_unused else None
        if job is not None:
            return Discard.NUMBER_TAKEN
        if member.marks.shape not in wanted:
            return Discard.SHAPE
        return self._judge_health(member, wanted[member.marks.shape]) if member.is_ready else None

    def _is_claim_over(self, member: Member) -> bool:
        """Whether the submission that claimed it has ended."""
        if self._lasts(member, Discard.UNUSED, CLAIM_GRACE_S):
            return True
        if member.claimed is None or not self._contexts.is_clock_trusted():
            return False
        return (self._clock.now() - member.claimed).total_seconds() >= CLAIM_LIMIT_S

    def _judge_health(self, member: Member, wanted: Wanted) -> Discard | None:
        assert member.marks.status is not None  # noqa: S101 - it is ready
        ctx = self._contexts.build_for(member, wanted, member.marks.status, member.marks)
        outcome = find_unfinished(self._contexts.kind, ctx)
        if outcome is None:
            self._since.pop((member.uid, Discard.UNFIT), None)
            return None
        if isinstance(outcome, Failed):
            return Discard.LOST
        return Discard.UNFIT if self._lasts(member, Discard.UNFIT, UNFIT_S) else None

    @staticmethod
    def _find_surplus(kept: Sequence[Member], wanted: Mapping[str, Wanted]) -> Iterable[tuple[Member, Discard]]:
        """Those that are not ready go first, then the oldest."""
        for shape, want in wanted.items():
            found = [member for member in kept if member.marks.shape == shape]
            found.sort(key=lambda member: (member.is_ready, member.created, member.number))
            for member in found[: max(0, len(found) - want.pool.size)]:
                yield member, Discard.SURPLUS

    def _find_old(self, kept: Sequence[Member], wanted: Mapping[str, Wanted]) -> Iterable[tuple[Member, Discard]]:
        """The oldest one of a shape, and only while the pool is full, so that members of one age do not go together."""
        if not self._contexts.is_clock_trusted():
            return
        for shape, want in wanted.items():
            found = [member for member in kept if member.marks.shape == shape]
            if len(found) != want.pool.size or not all(member.is_ready for member in found):
                continue
            oldest = min(found, key=lambda member: member.created, default=None)
            if oldest is not None and (self._clock.now() - oldest.created).total_seconds() > self._max_age_s:
                yield oldest, Discard.OLD

    def _lasts(self, member: Member, verdict: Discard, limit_s: float) -> bool:
        """Whether this leader has found it so for that long. A new leader starts again, which only delays a discard."""
        now = self._clock.monotonic()
        return now - self._since.setdefault((member.uid, verdict), now) >= limit_s
