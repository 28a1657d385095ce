"""
The sweeper over a host, a realm and records in memory: what it lists, removes and reports.

Who owns an object, and what is done with it, are tables in test_orphans.py. Here one kind of object stands for all
where the code makes no difference between kinds.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from kns.engine import periodic
from kns.engine.sweeper import FOUND, MOST_PER_SWEEP, REMOVED, STOPPED, UNMARKED, Sweeper, SweepRules
from kns.model import names
from kns.model.errors import ForbiddenError, UnavailableError
from kns.ports import Kind, Object, World
from kns.stages.orphans import Installation, SweptKind
from kns.stages.swept import CLIENT, NAMESPACE, SECRET, SWEPT, VOLUME
from tests.builders import a_catalog, a_job
from tests.fakes.host import FakeHost
from tests.fakes.keycloak import MemoryRealm
from tests.fakes.stores import FakeClock, MemoryJobStore, MemoryOutputStore, MemoryTokenStore, StaticCatalog
from tests.fakes.vcluster import FakeRenderer, FakeVirtualClusters
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.proves(
    "main",
    "Orphans of every kind are removed; unmarked objects and those of other installations stay",
)

US = Installation("kns-system", "uid-of-kns")
GONE = "uid-of-no-record"
LIVE = a_job().started().build()
ENDED = a_job().started().ended().removed().build()
NAME, VOLUME_NAME, SECRET_NAME = "kns-job-7", "kns-job-7-claim", "kns-job-7-tokens"
RULES = SweepRules(installation=US, interval_s=300, grace_s=900)


class LaggingStore(MemoryJobStore):
    """The cache lacks the records in `unseen`; the API server has them."""

    unseen: frozenset[str] = frozenset()

    def list_removed(self) -> Mapping[str, bool]:
        return {uid: removed for uid, removed in super().list_removed().items() if uid not in self.unseen}


@dataclass
class Cluster:
    """One installation and the objects around it. Tests may change `rules` and `may_work`."""

    clock: FakeClock = field(default_factory=FakeClock)
    rules: SweepRules = RULES
    may_work: Callable[[], bool] = lambda: True
    clock_trusted: bool = True
    realm: MemoryRealm | None = field(default_factory=MemoryRealm)

    def __post_init__(self) -> None:
        self.host = FakeHost(self.clock)
        self.host.put(Kind.NAMESPACE, "", US.namespace, {})
        self.store = LaggingStore(self.clock)

    def make(self, kinds: Sequence[SweptKind] = SWEPT) -> Sweeper:
        world = World(
            cluster=self.host,
            renderer=FakeRenderer(),
            virtual_clusters=FakeVirtualClusters(),
            outputs=MemoryOutputStore(),
            tokens=MemoryTokenStore(),
            inputs=self.store.inputs,
            catalog=StaticCatalog(a_catalog()),
            identity=self.realm,
        )
        return Sweeper(
            self.rules,
            kinds=kinds,
            world=world,
            store=self.store,
            authority=self.store,
            clock=self.clock,
            may_work=self.may_work,
            is_clock_trusted=lambda: self.clock_trusted,
        )

    def sweep(self) -> None:
        """Two sweeps by a new process with the grace between them."""
        one = self.make()
        one.sweep()
        self.clock.advance(self.rules.grace_s)
        one.sweep()

    # --- objects

    def add_namespace(self, *, record_uid: str | None = GONE, number: int = 7, **labels: str | None) -> None:
        self._add(Kind.NAMESPACE, "", f"kns-job-{number}", labels, record_uid, number)

    def add_volume(self, *, record_uid: str | None = GONE, name: str = VOLUME_NAME, **labels: str | None) -> None:
        claim = {"namespace": NAME, "name": "data", "uid": "claim"}
        self._add(Kind.PERSISTENT_VOLUME, "", name, labels, record_uid, 7, spec={"claimRef": claim})

    def add_secret(self, *, record_uid: str | None = GONE, **labels: str | None) -> None:
        owner = {"apiVersion": "kns.io/v1alpha1", "kind": "NestedJob", "name": NAME, "uid": record_uid}
        owners = {"ownerReferences": [owner]} if record_uid else {}
        self._add(Kind.SECRET, "kns-system", SECRET_NAME, {"installation": None, **labels}, None, 7, meta=owners)

    def add_client(self, *, record_uid: str | None = GONE, installation: str | None = US.uid) -> None:
        marks = {names.KEYCLOAK_OWNER_ATTRIBUTE: record_uid, names.KEYCLOAK_INSTALLATION_ATTRIBUTE: installation}
        assert self.realm is not None
        attributes = {key: value for key, value in marks.items() if value is not None}
        self.realm.create_client({"clientId": NAME, "redirectUris": [], "attributes": attributes})

    def _add(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        changes: dict[str, str | None],
        record_uid: str | None,
        number: int,
        meta: dict[str, Any] | None = None,
        **rest: Any,
    ) -> None:
        given = {"managed_by": "kns", "job": str(number), "installation": US.namespace, **changes}
        keys = {
            "managed_by": names.MANAGED_BY_LABEL,
            "job": names.JOB_LABEL,
            "installation": names.INSTALLATION_LABEL,
        }
        labels = {keys[key]: value for key, value in given.items() if value is not None}
        annotations = {names.RECORD_UID_ANNOTATION: record_uid} if record_uid else {}
        self.host.put(
            kind, namespace, name, {"metadata": {"labels": labels, "annotations": annotations, **(meta or {})}, **rest}
        )

    # --- results

    @property
    def removed(self) -> list[str]:
        """As `<kind> <namespace>/<name>`; a client has no namespace."""
        realm = [call.replace("delete ", "delete KeycloakClient ") for call in self.realm.calls] if self.realm else []
        return [call.removeprefix("delete ") for call in (*self.host.calls, *realm) if call.startswith("delete ")]

    @property
    def events(self) -> list[Object]:
        return list(self.host.list_objects(Kind.EVENT, "kns-system"))

    @property
    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.events]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


ADD: dict[SweptKind, Callable[..., None]] = {
    NAMESPACE: Cluster.add_namespace,
    VOLUME: Cluster.add_volume,
    SECRET: Cluster.add_secret,
    CLIENT: Cluster.add_client,
}
WHERE = {
    NAMESPACE: f"Namespace /{NAME}",
    VOLUME: f"PersistentVolume /{VOLUME_NAME}",
    SECRET: f"Secret kns-system/{SECRET_NAME}",
    CLIENT: f"KeycloakClient {NAME}",
}
EVERY = pytest.mark.parametrize("kind", SWEPT, ids=str)
NOT_SECRETS = [NAMESPACE, VOLUME, CLIENT]


def metric(name: str, kind: SweptKind) -> float:
    return REGISTRY.get_sample_value(name, {"kind": kind.name}) or 0.0


def sweep_twice(cluster: Cluster) -> None:
    """Two sweeps of one process with the grace between them, for objects without a creation time."""
    one = cluster.make()
    cluster.clock.advance(900)
    one.sweep()
    cluster.clock.advance(900)
    one.sweep()


def test_nothing_there_nothing_done(cluster: Cluster) -> None:
    cluster.sweep()
    assert (cluster.host.left, cluster.removed) == (["Namespace /kns-system"], [])


@EVERY
def test_an_orphan_is_removed_and_told(cluster: Cluster, kind: SweptKind) -> None:
    ADD[kind](cluster)
    before = metric("kns_sweep_removed_total", kind)
    sweep_twice(cluster)
    assert cluster.removed == [WHERE[kind]]
    (event,) = cluster.events
    assert (event["reason"], event["involvedObject"]["kind"]) == (REMOVED, kind.name)
    assert event["metadata"]["namespace"] == event["involvedObject"]["namespace"] == "kns-system"
    assert GONE in event["message"]
    assert metric("kns_sweep_removed_total", kind) == before + 1
    assert metric("kns_sweep_orphans", kind) == 0  # at once: the next sweep may come hours later


@EVERY
def test_the_grace_counts_from_the_first_sweep_that_found_it(cluster: Cluster, kind: SweptKind) -> None:
    """However old the object is: a namespace of a week whose record was just lost has the whole grace."""
    ADD[kind](cluster)
    cluster.clock.advance(7 * 86400)
    one = cluster.make()
    for after_s in (0.0, 450.0, 449.0):
        cluster.clock.advance(after_s)
        one.sweep()
    assert (cluster.removed, cluster.reasons) == ([], [])
    assert metric("kns_sweep_orphans", kind) == 0
    cluster.clock.advance(1)
    one.sweep()
    assert cluster.removed == [WHERE[kind]]


@EVERY
def test_a_record_that_came_back_in_between_starts_the_grace_again(cluster: Cluster, kind: SweptKind) -> None:
    ADD[kind](cluster, record_uid=LIVE.uid)
    one = cluster.make()
    one.sweep()
    cluster.clock.advance(600)
    cluster.store.add(LIVE)
    one.sweep()
    cluster.store.force_away(LIVE.record)
    cluster.clock.advance(600)
    one.sweep()
    cluster.clock.advance(600)
    one.sweep()
    assert cluster.removed == []


def _restore_records(cluster: Cluster, *, orphans: int, live: int) -> None:
    """Namespaces of which some belong to a record, and an orphan of every other kind."""
    for number in range(1, orphans + 1):
        cluster.add_namespace(number=number + 100)
    for number in range(1, live + 1):
        cluster.store.add(a_job().numbered(number).started().build())
        cluster.add_namespace(number=number, record_uid=a_job().numbered(number).started().build().uid)
    cluster.add_secret()
    cluster.add_client()


@pytest.mark.parametrize(
    ("orphans", "live", "stops"), [(5, 4, True), (5, 5, False), (4, 0, False), (50, 1, True), (49, 51, False)]
)
def test_if_most_namespaces_look_like_orphans_nothing_is_removed(
    cluster: Cluster, orphans: int, live: int, stops: bool
) -> None:
    """After a restored backup the records have new uids. Objects of all kinds stay, and the sweeper reports it."""
    cluster.rules = replace(RULES, max_share=50)
    _restore_records(cluster, orphans=orphans, live=live)
    cluster.sweep()
    assert REGISTRY.get_sample_value("kns_sweep_stopped") == stops
    if not stops:
        assert len(cluster.removed) == orphans + 2
        assert set(cluster.reasons) == {REMOVED}
        return
    assert cluster.removed == []
    assert set(cluster.reasons) == {STOPPED, FOUND}
    (stopped,) = [event for event in cluster.events if event["reason"] == STOPPED]
    assert f"{orphans} of {orphans + live} job namespaces" in stopped["message"]
    assert stopped["involvedObject"]["name"] == US.namespace


def test_a_stopped_sweep_reports_at_once_and_goes_on_when_the_records_are_back(cluster: Cluster) -> None:
    """The report does not wait for the grace."""
    cluster.rules = replace(RULES, max_share=50)
    _restore_records(cluster, orphans=6, live=1)
    one = cluster.make()
    one.sweep()
    assert cluster.reasons == [STOPPED]
    for number in range(2, 8):
        cluster.store.add(a_job().numbered(number).started().build())
        cluster.add_namespace(number=number, record_uid=a_job().numbered(number).started().build().uid)
    cluster.clock.advance(900)
    one.sweep()
    assert REGISTRY.get_sample_value("kns_sweep_stopped") == 0
    assert len(cluster.removed) == 8


def test_a_clock_that_is_not_trusted_removes_nothing(cluster: Cluster) -> None:
    """When it is right again, the grace begins again."""
    cluster.add_namespace()
    one = cluster.make()
    one.sweep()
    cluster.clock_trusted = False
    cluster.clock.advance(86400)
    one.sweep()
    cluster.clock_trusted = True
    one.sweep()
    cluster.clock.advance(899)
    one.sweep()
    assert cluster.removed == []
    cluster.clock.advance(1)
    one.sweep()
    assert cluster.removed == [WHERE[NAMESPACE]]


def test_what_belongs_to_a_record_stays(cluster: Cluster) -> None:
    cluster.store.add(LIVE)
    for add in ADD.values():
        add(cluster, record_uid=LIVE.uid)
    sweep_twice(cluster)
    assert (cluster.removed, cluster.reasons) == ([], [])


def test_a_cache_that_lags_costs_no_job_anything(cluster: Cluster) -> None:
    """The record exists, but is not in the cache yet."""
    cluster.store.add(LIVE)
    cluster.store.unseen = frozenset({LIVE.uid})
    for add in ADD.values():
        add(cluster, record_uid=LIVE.uid)
    sweep_twice(cluster)
    assert (cluster.removed, cluster.reasons) == ([], [])


def test_a_job_that_is_submitted_while_the_sweeper_lists_keeps_its_own(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects are listed before records."""
    for add in ADD.values():
        add(cluster, record_uid=LIVE.uid)
    cluster.rules = replace(RULES, grace_s=0)
    original = cluster.host.list_metadata

    def list_metadata(*args: Any) -> Any:
        found = original(*args)
        cluster.store.add(LIVE)
        return found

    monkeypatch.setattr(cluster.host, "list_metadata", list_metadata)
    cluster.sweep()
    assert cluster.removed == []


def add_inputs(cluster: Cluster, *, number: int = 7) -> None:
    """As stored before the record: without an owner."""
    meta = {"labels": {names.MANAGED_BY_LABEL: "kns", names.JOB_LABEL: str(number)}}
    cluster.host.put(Kind.SECRET, "kns-system", f"kns-job-{number}-inputs", {"metadata": meta})


def test_inputs_whose_record_was_never_stored_go(cluster: Cluster) -> None:
    """kns ended between the two writes, or the API server refused the record."""
    add_inputs(cluster)
    cluster.make().sweep()
    assert cluster.removed == []
    cluster.sweep()
    assert cluster.removed == ["Secret kns-system/kns-job-7-inputs"]


@pytest.mark.parametrize("unseen", [False, True], ids=["in the cache", "only on the API server"])
def test_inputs_of_a_record_stay_even_without_an_owner(cluster: Cluster, unseen: bool) -> None:
    cluster.store.add(ENDED)
    if unseen:
        cluster.store.unheard.add(7)
    add_inputs(cluster)
    sweep_twice(cluster)
    assert (cluster.removed, cluster.reasons) == ([], [])


def test_what_another_installation_marked_stays_and_is_not_told(cluster: Cluster) -> None:
    """With the same number. Secrets are listed only in this installation's namespace."""
    cluster.host.put(Kind.SECRET, "other-system", SECRET_NAME, {"metadata": {"labels": {"kns.io/job": "7"}}})
    for kind in NOT_SECRETS:
        ADD[kind](cluster, installation="other-system")
    sweep_twice(cluster)
    assert (cluster.removed, cluster.reasons) == ([], [])


@pytest.mark.parametrize("kind", NOT_SECRETS, ids=str)
def test_without_a_mark_of_an_installation_it_is_only_told(cluster: Cluster, kind: SweptKind) -> None:
    """An older release or another program may have made it."""
    ADD[kind](cluster, installation=None)
    sweep_twice(cluster)
    assert (cluster.removed, cluster.reasons) == ([], [UNMARKED])
    assert (metric("kns_sweep_unmarked", kind), metric("kns_sweep_orphans", kind)) == (1, 0)


def test_somebody_elses_secret_in_our_namespace_stays(cluster: Cluster) -> None:
    cluster.add_secret(record_uid=None, job=None)
    cluster.add_namespace(number=7, managed_by="helm")
    cluster.sweep()
    assert (cluster.removed, cluster.reasons) == ([], [])


def test_a_record_with_the_same_number_does_not_make_it_live(cluster: Cluster) -> None:
    """The uid decides: a copied record, or one after a restored counter, owns no objects of the first."""
    cluster.store.add(LIVE)
    for add in ADD.values():
        add(cluster)
    sweep_twice(cluster)
    assert sorted(cluster.removed) == sorted(WHERE.values())


def test_what_a_lost_deletion_left_of_a_removed_job_goes(cluster: Cluster) -> None:
    """Output and tokens stay as long as the record."""
    cluster.store.add(ENDED)
    for add in ADD.values():
        add(cluster, record_uid=ENDED.uid)
    sweep_twice(cluster)
    assert sorted(cluster.removed) == sorted(WHERE[kind] for kind in NOT_SECRETS)


def test_a_dry_run_only_tells(cluster: Cluster) -> None:
    """One Event per orphan. Further sweeps raise its count."""
    kind = NAMESPACE
    cluster.rules = replace(RULES, dry_run=True)
    ADD[kind](cluster)
    before = metric("kns_sweep_removed_total", kind)
    sweep_twice(cluster)
    first = cluster.events[0]
    sweep_twice(cluster)
    assert (cluster.removed, cluster.reasons) == ([], [FOUND])
    assert metric("kns_sweep_orphans", kind) == 1
    assert metric("kns_sweep_removed_total", kind) == before
    (event,) = cluster.events
    assert event["count"] > first["count"] >= 1
    assert event["lastTimestamp"] > first["lastTimestamp"] >= event["firstTimestamp"]


@pytest.mark.parametrize("failing", SWEPT, ids=lambda kind: f"no {kind}")
def test_a_kind_that_cannot_be_listed_keeps_no_other_from_being_swept(cluster: Cluster, failing: SweptKind) -> None:
    for add in ADD.values():
        add(cluster)

    def refuse(*_: Any) -> Any:
        raise ForbiddenError("list: 403")

    one = cluster.make(kinds=[replace(kind, list_all=refuse) if kind is failing else kind for kind in SWEPT])
    before = metric("kns_sweep_failures_total", failing)
    for _ in range(2):
        cluster.clock.advance(900)
        one.sweep()
    assert sorted(cluster.removed) == sorted(WHERE[kind] for kind in SWEPT if kind is not failing)
    assert metric("kns_sweep_failures_total", failing) == before + 2


def test_a_removal_that_fails_keeps_no_other_from_going(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (7, 8):
        cluster.add_namespace(number=number)
    cluster.add_secret()
    original = cluster.host.delete

    def delete(kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        if name == "kns-job-7":
            raise UnavailableError("DELETE: 503")
        original(kind, namespace, name, uid=uid)

    monkeypatch.setattr(cluster.host, "delete", delete)
    before = metric("kns_sweep_removed_total", NAMESPACE)
    cluster.sweep()
    assert cluster.removed == ["Namespace /kns-job-8", WHERE[SECRET]]
    assert metric("kns_sweep_removed_total", NAMESPACE) == before + 1
    assert cluster.reasons == [REMOVED, REMOVED]


def test_an_event_that_is_refused_keeps_nothing_from_going(cluster: Cluster) -> None:
    cluster.host.refuse[Kind.EVENT] = "no"
    cluster.add_namespace()
    cluster.add_secret()
    cluster.sweep()
    assert cluster.removed == [WHERE[NAMESPACE], WHERE[SECRET]]


@pytest.mark.parametrize("method", ["list_removed", "list_uids"])
def test_without_the_records_nothing_is_touched(cluster: Cluster, method: str) -> None:
    cluster.add_namespace()
    cluster.store.faults[method] = UnavailableError("no answer")
    with pytest.raises(UnavailableError):
        cluster.sweep()
    assert (cluster.removed, cluster.reasons) == ([], [])


def test_the_records_are_asked_for_only_if_something_has_none(cluster: Cluster) -> None:
    """Without suspects, the records are not listed at the API server."""
    cluster.store.faults["list_uids"] = AssertionError("asked")
    cluster.store.add(LIVE)
    cluster.add_namespace(record_uid=LIVE.uid)
    cluster.sweep()


def test_deletion_is_bound_to_the_object_that_was_judged(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new object with the same name stays."""
    cluster.add_namespace()
    original = cluster.store.list_uids

    def list_uids() -> frozenset[str]:
        cluster.host.drop(Kind.NAMESPACE, "", NAME)
        cluster.add_namespace()
        return original()

    monkeypatch.setattr(cluster.store, "list_uids", list_uids)
    cluster.sweep()
    assert cluster.removed == []


def test_what_is_going_already_is_not_removed_again(cluster: Cluster) -> None:
    """It still counts as an orphan until it is gone."""
    cluster.add_namespace()
    cluster.sweep()
    cluster.sweep()
    assert cluster.removed == [WHERE[NAMESPACE]]
    assert metric("kns_sweep_orphans", NAMESPACE) == 1
    cluster.host.settle()
    cluster.sweep()
    assert metric("kns_sweep_orphans", NAMESPACE) == 0


def test_a_sweep_is_bounded_and_the_next_goes_on(cluster: Cluster) -> None:
    for number in range(1, MOST_PER_SWEEP + 3):
        cluster.add_namespace(number=number)
    cluster.sweep()
    assert len(cluster.removed) == MOST_PER_SWEEP
    cluster.sweep()
    assert len(cluster.removed) == MOST_PER_SWEEP + 2


def test_a_volume_that_was_retained_is_told_once_its_job_is_gone(cluster: Cluster) -> None:
    """It has no metadata of kns and contains a tenant's data, so a person must decide."""
    ref = {"namespace": NAME, "name": "data", "uid": "claim"}
    volume = {"spec": {"claimRef": ref}, "status": {"phase": "Released"}}
    cluster.add_namespace(record_uid=LIVE.uid)
    cluster.store.add(LIVE)
    cluster.host.put(Kind.PERSISTENT_VOLUME, "", "pvc-1", volume)
    cluster.sweep()
    assert cluster.reasons == []
    cluster.host.drop(Kind.NAMESPACE, "", NAME)
    cluster.sweep()
    assert (cluster.removed, cluster.reasons) == ([], [UNMARKED])
    assert metric("kns_sweep_unmarked", VOLUME) == 1


def test_a_site_without_keycloak_is_swept(cluster: Cluster) -> None:
    cluster.realm = None
    cluster.add_namespace()
    cluster.sweep()
    assert cluster.removed == [WHERE[NAMESPACE]]


def test_who_no_longer_leads_removes_nothing_more(cluster: Cluster) -> None:
    for number in (7, 8):
        cluster.add_namespace(number=number)
    answers = iter([True, False])
    cluster.may_work = lambda: next(answers)
    cluster.sweep()
    assert cluster.removed == ["Namespace /kns-job-7"]


# --- the thread


@pytest.mark.parametrize(
    "error", [UnavailableError("no answer"), ZeroDivisionError("a fault of ours")], ids=["transient", "ours"]
)
def test_the_thread_outlives_a_sweep_that_fails(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    swept = threading.Event()
    outcomes = iter([error, None])

    def sweep(_: Sweeper) -> None:
        outcome = next(outcomes, None)
        if outcome is not None:
            raise outcome
        swept.set()

    cluster.rules = replace(RULES, interval_s=0.001)
    monkeypatch.setattr(Sweeper, "sweep", sweep)
    one = cluster.make()
    one.start()
    assert swept.wait(PATIENCE_S)
    assert one.stop(timeout_s=PATIENCE_S)


def test_a_standby_does_not_sweep(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def may_work() -> bool:
        asked.set()
        return False

    def sweep(_: Sweeper) -> None:
        raise AssertionError("swept")

    cluster.rules, cluster.may_work = replace(RULES, interval_s=0.001), may_work
    crashed: list[str] = []
    monkeypatch.setattr(Sweeper, "sweep", sweep)
    monkeypatch.setattr(periodic.log, "exception", lambda event, **_: crashed.append(event), raising=False)
    one = cluster.make()
    one.start()
    assert asked.wait(PATIENCE_S)
    assert one.stop(timeout_s=PATIENCE_S)
    assert crashed == []


def test_stopping_one_that_never_started_is_nothing(cluster: Cluster) -> None:
    assert cluster.make().stop(timeout_s=0)


def test_namespaces_of_another_installation_do_not_hide_that_all_of_ours_look_like_orphans() -> None:
    cluster = Cluster(rules=replace(RULES, max_share=50))
    for number in range(1, 7):
        cluster.add_namespace(number=number)
    for number in range(1001, 1021):
        cluster.add_namespace(number=number, installation="kns-other")
    cluster.sweep()
    left = [cluster.host.read(Kind.NAMESPACE, "", f"kns-job-{number}") for number in range(1, 7)]
    assert all(obj is not None and "deletionTimestamp" not in obj["metadata"] for obj in left)
