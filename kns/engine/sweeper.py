"""
Finds and removes orphans: objects of ours without a record, and what a lost deletion left of a job that is removed.

Objects are listed first and records second, so a job that is submitted in between has its record among them. A record
that is missing in the cache is asked for at the API server before anything of it goes: a cache that lags must never
cost a live job its namespace. Deletion is bound to the uid that was judged. Nothing is kept in the cluster between
sweeps: a kns that dies in the middle of one simply begins the next.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from kns import metrics
from kns.engine.orphans import (
    Find,
    Installation,
    Swept,
    Verdict,
    judge,
    read_client,
    read_namespace,
    read_secret,
    read_volume,
)
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import KnsError
from kns.objects.event import build_orphan_event
from kns.ports import Clock, JobStore, Kind, RecordAuthority, World

log = get_logger(__name__)

MOST_PER_SWEEP = 100  # of a kind, removals and events: a mistake of whatever origin is seen before all is gone
_BY_KNS = f"{names.MANAGED_BY_LABEL}=kns"
_JOBS_BY_KNS = f"{names.JOB_LABEL},{_BY_KNS}"
_CLIENT_PREFIX = "kns-job-"

REMOVED, FOUND, UNMARKED = "OrphanRemoved", "OrphanFound", "OrphanUnmarked"


@dataclass(frozen=True, slots=True)
class SweepRules:
    """`grace_s` is the age below which nothing is an orphan yet; with `dry_run` orphans are told of and stay."""

    installation: Installation
    interval_s: float
    grace_s: float
    dry_run: bool = False


class Sweeper:
    """`may_work` is asked before each sweep and each removal: only the leader sweeps."""

    def __init__(
        self,
        rules: SweepRules,
        *,
        world: World,
        store: JobStore,
        authority: RecordAuthority,
        clock: Clock,
        may_work: Callable[[], bool],
    ) -> None:
        self._rules = rules
        self._cluster = world.cluster
        self._identity = world.identity
        self._store = store
        self._authority = authority
        self._clock = clock
        self._may_work = may_work
        self._first_seen: dict[str, datetime] = {}  # key -> when, of what has no time of creation
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._sources: dict[Swept, Callable[[], Iterable[Find | None]]] = {
            Swept.NAMESPACE: self._list_namespaces,
            Swept.VOLUME: self._list_volumes,
            Swept.SECRET: self._list_secrets,
            Swept.CLIENT: self._list_clients,
        }

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Begin no further removal; whether the one in flight ended in time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def sweep(self) -> None:
        """
        Once over all kinds; one that fails does not keep the others from being swept.

        Raises:
            KnsError: the records cannot be read, so nothing can be judged.
        """
        found = {kind: finds for kind in self._sources if (finds := self._list(kind)) is not None}
        verdicts = self._judge([find for finds in found.values() for find in finds])
        for kind in found:
            self._settle(kind, verdicts)

    # --- the thread

    def _run(self) -> None:
        while not self._stop.wait(self._rules.interval_s):
            if not self._may_work():
                continue
            try:
                self.sweep()
            except KnsError as error:
                log.warning("sweep_failed", error=str(error))
            except Exception:  # a fault of ours must not end the sweeping for good
                log.exception("sweep_crashed")

    # --- what there is

    def _list(self, kind: Swept) -> list[Find] | None:
        """None if it cannot be listed now."""
        try:
            return [find for find in self._sources[kind]() if find is not None]
        except KnsError as error:
            metrics.count_sweep_failure(kind.value)
            log.warning("sweep_list_failed", kind=kind.value, error=str(error))
            return None

    def _list_namespaces(self) -> Iterable[Find | None]:
        found = self._cluster.list_metadata(Kind.NAMESPACE, "", _JOBS_BY_KNS)
        return (read_namespace(obj, self._rules.installation) for obj in found)

    def _list_volumes(self) -> Iterable[Find | None]:
        """Of those without our label only what outlived its job's namespace; they are told of and never removed."""
        for obj in self._cluster.list_objects(Kind.PERSISTENT_VOLUME, ""):
            find = read_volume(obj, self._rules.installation)
            if find is not None and (find.record_uid is not None or not self._has_namespace(obj["spec"]["claimRef"])):
                yield find

    def _has_namespace(self, claim: dict[str, str]) -> bool:
        return self._cluster.observe(Kind.NAMESPACE, "", claim["namespace"]) is not None

    def _list_secrets(self) -> Iterable[Find | None]:
        found = self._cluster.list_metadata(Kind.SECRET, self._rules.installation.namespace, _BY_KNS)
        return (read_secret(obj) for obj in found)

    def _list_clients(self) -> Iterable[Find | None]:
        found = self._identity.list_clients(_CLIENT_PREFIX) if self._identity else ()
        return (read_client(client, self._rules.installation) for client in found)

    # --- what is an orphan

    def _judge(self, finds: Sequence[Find]) -> dict[Verdict, list[Find]]:
        jobs = {job.uid: job for job in self._store.list_jobs()}
        suspects = []
        for find in finds:
            verdict = judge(find, jobs.get(find.record_uid or ""))
            if verdict is not Verdict.KEEP and self._is_old(find):
                suspects.append((verdict, find))
        keys = {find.key for find in finds}
        self._first_seen = {key: when for key, when in self._first_seen.items() if key in keys}
        # Removed never becomes false again, so of a record that says so the cache is proof enough.
        missing = any(find.record_uid not in jobs for _, find in suspects)
        stored = self._authority.list_uids() - jobs.keys() if missing else frozenset()
        judged: dict[Verdict, list[Find]] = {verdict: [] for verdict in Verdict}
        for verdict, find in suspects:
            judged[Verdict.KEEP if find.record_uid in stored else verdict].append(find)
        return judged

    def _is_old(self, find: Find) -> bool:
        now = self._clock.now()
        since = find.created or self._first_seen.setdefault(find.key, now)
        return (now - since).total_seconds() >= self._rules.grace_s

    # --- what is done about it

    def _settle(self, kind: Swept, verdicts: dict[Verdict, list[Find]]) -> None:
        orphans = [find for find in verdicts[Verdict.ORPHAN] if find.kind is kind]
        unmarked = [find for find in verdicts[Verdict.UNMARKED] if find.kind is kind]
        metrics.set_orphans(kind.value, marked=len(orphans), unmarked=len(unmarked))
        for find in unmarked[:MOST_PER_SWEEP]:
            self._tell(find, UNMARKED, "is of no job that kns has, and nothing proves that this installation made it")
        for find in [find for find in orphans if not find.going][:MOST_PER_SWEEP]:
            if self._rules.dry_run:
                self._tell(find, FOUND, "is an orphan, and would be removed if KNS_SWEEP_DRY_RUN were not set")
            elif self._stop.is_set() or not self._may_work():
                return
            elif self._remove(find):
                metrics.count_swept(kind.value)
                self._tell(find, REMOVED, "was an orphan and was removed")

    def _remove(self, find: Find) -> bool:
        try:
            if find.kind is Swept.CLIENT:
                assert self._identity is not None  # noqa: S101 - it listed the client
                self._identity.delete_client(find.key)
            else:
                namespace = self._rules.installation.namespace if find.kind is Swept.SECRET else ""
                self._cluster.delete(Kind(find.kind.value), namespace, find.name, uid=find.key)
        except KnsError as error:
            metrics.count_sweep_failure(find.kind.value)
            log.warning("orphan_not_removed", kind=find.kind.value, name=find.name, error=str(error))
            return False
        return True

    def _tell(self, find: Find, reason: str, what: str) -> None:
        """In the log and as an Event; the same find counts its Event up instead of making another."""
        kind, namespace = find.kind.value, self._rules.installation.namespace
        message = f"{kind} {find.name} {what}; its record: {find.record_uid or 'not named'}"
        log.warning("orphan", kind=kind, name=find.name, reason=reason, record_uid=find.record_uid)
        try:
            before = self._cluster.read(Kind.EVENT, namespace, names.orphan_event(kind, find.key, reason))
            self._cluster.apply(
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
        except KnsError as error:  # the log and the metric have it
            log.warning("event_not_written", kind=kind, name=find.name, error=str(error))
