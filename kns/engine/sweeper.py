"""
Finds and removes orphans: objects of this installation without a record, or with a record whose job was removed.

Objects are listed before records, so the record of a job submitted in between is not missed. If a record is missing in
the cache, the API server is asked before anything is removed, because a cache that is behind must not cost a live job
its namespace. Deletion is bound to the uid that was judged.

An orphan is removed when this process has seen it as an orphan for the grace period; a new leader starts again. If a
large share of the job namespaces look like orphans, the sweep removes nothing: more likely the records are wrong, for
example restored from a backup, which gives them new uids.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kns import metrics
from kns.engine.periodic import Periodic
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import KnsError
from kns.objects.event import build_orphan_event
from kns.ports import Clock, JobStore, Kind, RecordAuthority, World
from kns.stages.orphans import Find, Installation, Judgement, Owner, SweptKind, judge

log = get_logger(__name__)

MOST_PER_SWEEP = 100  # removals, and Events, per kind: limits the damage of a mistake until somebody sees it

MIN_FOR_SHARE = 5  # fewer orphaned namespaces are removed whatever their share, as on a small or new installation

REMOVED, FOUND, UNMARKED, STOPPED = "OrphanRemoved", "OrphanFound", "OrphanUnmarked", "SweepStopped"


@dataclass(frozen=True, slots=True)
class SweepRules:
    """
    An orphan is removed `grace_s` after it was first seen. With `dry_run`, orphans are reported and not removed.

    If more than `max_share` percent of the job namespaces look like orphans, and at least `MIN_FOR_SHARE`, nothing of
    any kind is removed.
    """

    installation: Installation
    interval_s: float
    grace_s: float
    max_share: int = 100
    dry_run: bool = False


class Sweeper(Periodic):
    """`may_work` is called before each sweep and each removal, because only the leader sweeps."""

    def __init__(
        self,
        rules: SweepRules,
        *,
        kinds: Sequence[SweptKind],
        world: World,
        store: JobStore,
        authority: RecordAuthority,
        clock: Clock,
        may_work: Callable[[], bool],
        is_clock_trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(
            "sweeper", self.sweep, may_work=may_work, interval_s=rules.interval_s, first_s=rules.interval_s
        )
        self._rules = rules
        self._kinds = kinds
        self._world = world
        self._store = store
        self._authority = authority
        self._clock = clock
        self._is_clock_trusted = is_clock_trusted
        self._first_seen: dict[str, datetime] = {}  # key -> when it first looked like an orphan

    def sweep(self) -> None:
        """
        Sweep all kinds once. An error with one kind does not stop the others.

        Raises:
            KnsError: the records cannot be read, so nothing can be judged.
        """
        if not self._is_clock_trusted():
            log.error("clock_not_trusted")
            self._first_seen.clear()  # the grace periods begin again when the clock is right
            return
        found = {kind: finds for kind in self._kinds if (finds := self._list(kind)) is not None}
        judged = self._judge([find for finds in found.values() for find in finds])
        is_stopped = self._is_implausible(found, judged)
        due = {judgement: [find for find in finds if self._is_due(find)] for judgement, finds in judged.items()}
        for kind in found:
            self._settle(kind, due, report_only=self._rules.dry_run or is_stopped)

    # --- listing

    def _list(self, kind: SweptKind) -> list[Find] | None:
        """The objects of one kind that may be orphans; None if they cannot be listed now."""
        try:
            return list(kind.list_all(self._world, self._rules.installation))
        except KnsError as error:
            metrics.count_sweep_failure(kind.name)
            log.warning("sweep_list_failed", kind=kind.name, error=str(error))
            return None

    # --- judging

    def _judge(self, finds: Sequence[Find]) -> dict[Judgement, list[Find]]:
        jobs = self._store.list_removed()
        suspects = []
        for find in finds:
            judgement = judge(find, removed=self._is_removed(find, jobs))
            if judgement is not Judgement.KEEP:
                suspects.append((judgement, find))
        # Condition Removed never becomes False again, so a cached record with it is proof enough.
        missing = any(find.record_uid not in jobs for _, find in suspects)
        stored = self._authority.list_uids() - jobs.keys() if missing else frozenset()
        judged: dict[Judgement, list[Find]] = {judgement: [] for judgement in Judgement}
        for judgement, find in suspects:
            exists = find.record_uid in stored or self._has_record(find.number)
            judged[Judgement.KEEP if exists else judgement].append(find)
        now = self._clock.now()
        self._first_seen = {
            find.key: self._first_seen.get(find.key, now)
            for judgement in (Judgement.ORPHAN, Judgement.UNMARKED)
            for find in judged[judgement]
        }
        return judged

    def _is_removed(self, find: Find, jobs: Mapping[str, bool]) -> bool | None:
        """As the cache says. An object that was made before its record is of no job that the cache says is removed."""
        if find.number is None:
            return jobs.get(find.record_uid or "")
        return None if self._store.find(find.number) is None else False

    def _has_record(self, number: int | None) -> bool:
        """As the API server says."""
        return number is not None and self._store.fetch(number) is not None

    def _is_due(self, find: Find) -> bool:
        since = self._first_seen.get(find.key)
        return since is not None and (self._clock.now() - since).total_seconds() >= self._rules.grace_s

    def _is_implausible(
        self, found: Mapping[SweptKind, Sequence[Find]], judged: Mapping[Judgement, Sequence[Find]]
    ) -> bool:
        """
        Whether so many namespaces of jobs look like orphans that the records must be wrong. Those that are terminating
        already and those of other installations are not counted.
        """
        namespaces = [find for kind, finds in found.items() if kind.one_per_job for find in finds]
        live = [find for find in namespaces if not find.terminating and find.owner is not Owner.OTHERS]
        orphans = [find for find in judged[Judgement.ORPHAN] if find.kind.one_per_job and not find.terminating]
        is_stopped = len(orphans) >= MIN_FOR_SHARE and len(orphans) * 100 > len(live) * self._rules.max_share
        metrics.set_sweep_stopped(stopped=is_stopped)
        if is_stopped:
            log.error("sweep_stopped", orphans=len(orphans), of=len(live))
            self._write_event(
                "Namespace",
                self._rules.installation.namespace,
                self._rules.installation.uid,
                STOPPED,
                f"{len(orphans)} of {len(live)} job namespaces look like orphans, so nothing is removed; were the "
                "records restored or deleted? If the namespaces may go, set KNS_SWEEP_MAX_SHARE to 100",
            )
        return is_stopped

    # --- acting

    def _settle(self, kind: SweptKind, judged: Mapping[Judgement, Sequence[Find]], *, report_only: bool) -> None:
        orphans = [find for find in judged[Judgement.ORPHAN] if find.kind is kind]
        unmarked = [find for find in judged[Judgement.UNMARKED] if find.kind is kind]
        left = len(orphans)
        metrics.set_orphans(kind.name, marked=left, unmarked=len(unmarked))
        for find in unmarked[:MOST_PER_SWEEP]:
            self._report(find, UNMARKED, "belongs to no job of kns, and nothing proves that this installation made it")
        for find in [find for find in orphans if not find.terminating][:MOST_PER_SWEEP]:
            if report_only:
                why = "KNS_SWEEP_DRY_RUN is set" if self._rules.dry_run else "too many namespaces look like orphans"
                self._report(find, FOUND, f"is an orphan and was not removed, because {why}")
            elif self._stop.is_set() or not self._may_work():
                return
            elif self._remove(find):
                left -= 1  # the next sweep, perhaps hours later, finds it again if it did not go
                metrics.set_orphans(kind.name, marked=left, unmarked=len(unmarked))
                metrics.count_swept(kind.name)
                self._report(find, REMOVED, "was an orphan and was removed")

    def _remove(self, find: Find) -> bool:
        try:
            find.kind.delete(self._world, self._rules.installation, find)
        except KnsError as error:
            metrics.count_sweep_failure(find.kind.name)
            log.warning("orphan_not_removed", kind=find.kind.name, name=find.name, error=str(error))
            return False
        return True

    def _report(self, find: Find, reason: str, what: str) -> None:
        """Log it and write an Event. For a known find, only the count of its Event is raised."""
        kind = find.kind.name
        message = f"{kind} {find.name} {what}; uid of its record: {find.record_uid or 'unknown'}"
        log.warning("orphan", kind=kind, name=find.name, reason=reason, record_uid=find.record_uid)
        self._write_event(kind, find.name, find.key, reason, message)

    def _write_event(self, kind: str, name: str, key: str, reason: str, message: str) -> None:
        namespace = self._rules.installation.namespace
        try:
            before = self._world.cluster.read(Kind.EVENT, namespace, names.orphan_event(kind, key, reason))
            self._world.cluster.apply(
                build_orphan_event(
                    system_namespace=namespace,
                    kind=kind,
                    name=name,
                    key=key,
                    reason=reason,
                    message=message,
                    now=self._clock.now(),
                    before=before,
                )
            )
        except KnsError as error:  # log and metrics have the find already
            log.warning("event_not_written", kind=kind, name=name, error=str(error))
