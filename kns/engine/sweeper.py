"""
Finds and removes orphans: objects of this installation without a record, or with a record whose job was removed.

Objects are listed before records, so the record of a job submitted in between is not missed. If a record is missing in
the cache, the API server is asked before anything is removed, because a cache that is behind must not cost a live job
its namespace. Deletion is bound to the uid that was judged. Nothing is stored between sweeps, so a crash loses nothing.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kns import metrics
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import KnsError
from kns.objects.event import build_orphan_event
from kns.ports import Clock, JobStore, Kind, RecordAuthority, World
from kns.stages.orphans import Find, Installation, Judgement, SweptKind, judge

log = get_logger(__name__)

MOST_PER_SWEEP = 100  # removals, and Events, per kind: limits the damage of a mistake until somebody sees it

REMOVED, FOUND, UNMARKED = "OrphanRemoved", "OrphanFound", "OrphanUnmarked"


@dataclass(frozen=True, slots=True)
class SweepRules:
    """An object younger than `grace_s` is never an orphan. With `dry_run`, orphans are reported and not removed."""

    installation: Installation
    interval_s: float
    grace_s: float
    dry_run: bool = False


class Sweeper:
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
    ) -> None:
        self._rules = rules
        self._kinds = kinds
        self._world = world
        self._store = store
        self._authority = authority
        self._clock = clock
        self._may_work = may_work
        self._first_seen: dict[str, datetime] = {}  # key -> time, for kinds without a creation time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Start no further removal. Returns whether the running one ended in time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def sweep(self) -> None:
        """
        Sweep all kinds once. An error with one kind does not stop the others.

        Raises:
            KnsError: the records cannot be read, so nothing can be judged.
        """
        found = {kind: finds for kind in self._kinds if (finds := self._list(kind)) is not None}
        judged = self._judge([find for finds in found.values() for find in finds])
        for kind in found:
            self._settle(kind, judged)

    # --- the thread

    def _run(self) -> None:
        while not self._stop.wait(self._rules.interval_s):
            if not self._may_work():
                continue
            try:
                self.sweep()
            except KnsError as error:
                log.warning("sweep_failed", error=str(error))
            except Exception:  # a bug in kns must not stop all further sweeps
                log.exception("sweep_crashed")

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
            if judgement is not Judgement.KEEP and self._is_old(find):
                suspects.append((judgement, find))
        keys = {find.key for find in finds}
        self._first_seen = {key: when for key, when in self._first_seen.items() if key in keys}
        # Condition Removed never becomes False again, so a cached record with it is proof enough.
        missing = any(find.record_uid not in jobs for _, find in suspects)
        stored = self._authority.list_uids() - jobs.keys() if missing else frozenset()
        judged: dict[Judgement, list[Find]] = {judgement: [] for judgement in Judgement}
        for judgement, find in suspects:
            exists = find.record_uid in stored or self._has_record(find.number)
            judged[Judgement.KEEP if exists else judgement].append(find)
        return judged

    def _is_removed(self, find: Find, jobs: Mapping[str, bool]) -> bool | None:
        """As the cache says. An object that was made before its record is of no job that the cache says is removed."""
        if find.number is None:
            return jobs.get(find.record_uid or "")
        return None if self._store.find(find.number) is None else False

    def _has_record(self, number: int | None) -> bool:
        """As the API server says."""
        return number is not None and self._store.fetch(number) is not None

    def _is_old(self, find: Find) -> bool:
        now = self._clock.now()
        since = find.created or self._first_seen.setdefault(find.key, now)
        return (now - since).total_seconds() >= self._rules.grace_s

    # --- acting

    def _settle(self, kind: SweptKind, judged: dict[Judgement, list[Find]]) -> None:
        orphans = [find for find in judged[Judgement.ORPHAN] if find.kind is kind]
        unmarked = [find for find in judged[Judgement.UNMARKED] if find.kind is kind]
        metrics.set_orphans(kind.name, marked=len(orphans), unmarked=len(unmarked))
        for find in unmarked[:MOST_PER_SWEEP]:
            self._report(find, UNMARKED, "belongs to no job of kns, and nothing proves that this installation made it")
        for find in [find for find in orphans if not find.terminating][:MOST_PER_SWEEP]:
            if self._rules.dry_run:
                self._report(find, FOUND, "is an orphan, and would be removed without KNS_SWEEP_DRY_RUN")
            elif self._stop.is_set() or not self._may_work():
                return
            elif self._remove(find):
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
        kind, namespace = find.kind.name, self._rules.installation.namespace
        message = f"{kind} {find.name} {what}; uid of its record: {find.record_uid or 'unknown'}"
        log.warning("orphan", kind=kind, name=find.name, reason=reason, record_uid=find.record_uid)
        try:
            before = self._world.cluster.read(Kind.EVENT, namespace, names.orphan_event(kind, find.key, reason))
            self._world.cluster.apply(
                build_orphan_event(
                    system_namespace=namespace,
                    kind=kind,
                    name=find.name,
                    key=find.key,
                    reason=reason,
                    message=message,
                    now=self._clock.now(),
                    before=before,
                )
            )
        except KnsError as error:  # log and metrics have the find already
            log.warning("event_not_written", kind=kind, name=find.name, error=str(error))
