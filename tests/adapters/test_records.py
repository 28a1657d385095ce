"""Records over the API: the counter under contention, conflicts, and invalid records."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.numbers import COUNTER
from kns.adapters.kube.owned import KubeInputs
from kns.adapters.kube.records import KubeRecords
from kns.model import names
from kns.model.errors import ConflictError, NotFoundError, UnavailableError
from kns.model.job.idempotency import digest_request, request_record
from kns.model.job.job import AdoptedNamespace, Job, JobSpec, JobState, StopReason
from kns.model.job.record import build_record
from tests.adapters.api_server import ApiServer, Object, failure
from tests.adapters.faulty_server import LostAnswer, Meanwhile
from tests.builders import JobBuilder, a_job
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S

PREFIX = "/apis/kns.io/v1alpha1"


class Records:
    """The records of one replica, with a running cache."""

    def __init__(self, server: ApiServer, client: KubeClient) -> None:
        self.server = server
        self.changed = threading.Condition()
        self.told: list[str] = []
        self.clock = FakeClock()
        self.store = KubeRecords(client, namespace="kns", clock=self.clock, on_change=self._tell)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.store.cache.run, args=(self._stop,), daemon=True)

    def start(self) -> "Records":
        self._thread.start()
        self.server.watches.get(timeout=PATIENCE_S)
        return self

    def stop(self) -> None:
        self._stop.set()
        self.server.closing.set()
        self.server.end_watches()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def wait_for(self, record: str, *, times: int) -> None:
        """Wait until this number of changes of the record was reported."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.told.count(record) >= times, timeout=PATIENCE_S)

    def _tell(self, record: str) -> None:
        with self.changed:
            self.told.append(record)
            self.changed.notify_all()


@pytest.fixture
def records(server: ApiServer, client: KubeClient) -> Iterator[Records]:
    records = Records(server, client).start()
    yield records
    records.stop()


def apply(server: ApiServer, job: JobBuilder, *, record: str = "by-hand", **spec: Any) -> Object:
    """Write the record as `kubectl apply` would."""
    body = build_record(record=record, spec=job.build().spec, namespace="kns")
    body["spec"] |= spec
    return server.put(PREFIX, "nestedjobs", body)


def created(records: Records, job: JobBuilder | None = None) -> Job:
    return records.store.create((job or a_job()).build().spec)


def test_numbers_begin_at_one_and_rise(records: Records) -> None:
    assert [records.store.allot_number() for _ in range(3)] == [1, 2, 3]


def test_no_number_is_below_the_first_that_the_site_wants(records: Records, client: KubeClient) -> None:
    """Also if the counter stands below it. A counter that is above it goes on."""
    assert records.store.allot_number() == 1
    later = KubeRecords(client, namespace="kns", clock=FakeClock(), first_number=1000)
    assert [later.allot_number() for _ in range(2)] == [1000, 1001]
    lower = KubeRecords(client, namespace="kns", clock=FakeClock(), first_number=500)
    assert lower.allot_number() == 1002


def test_a_usual_number_costs_one_call(records: Records) -> None:
    records.store.allot_number()
    before = len(records.server.seen)
    records.store.allot_number()
    assert [(seen.method, seen.path) for seen in records.server.seen[before:]] == [
        ("PUT", f"/api/v1/namespaces/kns/configmaps/{COUNTER}")
    ]


def test_two_replicas_never_give_the_same_number(records: Records, client: KubeClient) -> None:
    """Each replica continues from its cached counter, gets a conflict, and reads again."""
    other = KubeRecords(client, namespace="kns", clock=FakeClock())
    given = [store.allot_number() for _ in range(4) for store in (records.store, other)]
    assert given == list(range(1, 9))


def test_numbers_are_unique_and_rising_for_each_of_eight_threads(records: Records, client: KubeClient) -> None:
    """Four threads on each of two replicas."""
    other = KubeRecords(client, namespace="kns", clock=FakeClock())
    records.store.allot_number()
    given: dict[int, list[int]] = {}

    def ask(thread: int) -> None:
        store = (records.store, other)[thread % 2]
        given[thread] = [store.allot_number() for _ in range(4)]

    threads = [threading.Thread(target=ask, args=(thread,), daemon=True) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(number for numbers in given.values() for number in numbers) == list(range(2, 34))
    assert all(numbers == sorted(numbers) for numbers in given.values())


def test_all_who_share_a_swap_share_its_error(records: Records) -> None:
    """If the host does not answer, requests must not wait for each other's timeouts one after another."""
    records.store.allot_number()
    errors: list[str] = []

    def ask() -> None:
        try:
            records.store.allot_number()
        except UnavailableError as error:
            errors.append(str(error))

    late = [threading.Thread(target=ask, daemon=True) for _ in range(3)]

    def start_and_wait() -> None:
        for thread in late:
            thread.start()
        while records.store.numbers.waiting < len(late):
            threading.Event().wait(0.001)

    records.server.script("PUT", COUNTER, Meanwhile(start_and_wait), LostAnswer())
    before = records.server.count("PUT", COUNTER)
    assert records.store.allot_number() == 2
    for thread in late:
        thread.join(30)
    assert len(errors) == 3
    assert records.server.count("PUT", COUNTER) == before + 2
    assert records.store.allot_number() == 6


def test_a_number_whose_answer_was_lost_is_skipped_not_given_twice(records: Records) -> None:
    records.store.allot_number()
    records.server.script("PUT", COUNTER, LostAnswer())
    with pytest.raises(UnavailableError):
        records.store.allot_number()
    assert records.store.allot_number() == 3


def test_two_replicas_that_make_the_counter_agree(records: Records, client: KubeClient) -> None:
    other = KubeRecords(client, namespace="kns", clock=FakeClock())
    taken: list[int] = []
    records.store.cache.put(apply(records.server, a_job()))
    other.cache._list()
    records.server.script("GET", COUNTER, Meanwhile(lambda: taken.append(other.allot_number())))
    assert (records.store.allot_number(), taken) == (9, [8])


def test_a_lost_counter_goes_on_after_the_highest_record(records: Records) -> None:
    """The ConfigMap was deleted. Numbers are never reused, so the counter must not start at one again."""
    created(records, a_job().numbered(41))
    records.store.allot_number()
    records.server.drop("/api/v1", "configmaps", "kns", COUNTER)
    assert records.store.allot_number() == 42


def test_a_lost_counter_goes_on_after_the_highest_pool_member(records: Records, client: KubeClient) -> None:
    """A member of the warm pool has its number before any record has."""
    store = KubeRecords(client, namespace="kns", clock=FakeClock(), highest_elsewhere=lambda: 41)
    store.cache._list()
    assert store.allot_number() == 42


def test_a_counter_that_is_no_number_says_what_to_do_and_heals(records: Records) -> None:
    meta = {"metadata": {"name": COUNTER, "namespace": "kns"}}
    records.server.put("/api/v1", "configmaps", {**meta, "data": {"last": "many"}})
    with pytest.raises(UnavailableError, match="set it to the highest job number ever allotted"):
        records.store.allot_number()
    records.server.put("/api/v1", "configmaps", {**meta, "data": {"last": "7"}})
    assert records.store.allot_number() == 8


def test_a_status_decided_on_what_changed_meanwhile_conflicts(records: Records) -> None:
    """Also before the cache has the change: then the check of the API server refuses the write."""
    job = created(records)
    stale = job.status.model_copy(update={"message": "stale"})
    apply(records.server, a_job(), record=job.record, label="changed by hand")
    with pytest.raises(ConflictError):
        records.store.write_status(job, stale)
    records.wait_for(job.record, times=2)
    with pytest.raises(ConflictError, match="changed since it was read"):
        records.store.write_status(job, stale)


def test_a_status_write_leaves_what_kns_does_not_know(records: Records) -> None:
    """A newer kns may have stored more keys in the record."""
    stored = apply(records.server, a_job(), futureKey={"a": 1})
    records.wait_for("by-hand", times=1)
    job = records.store.get("by-hand")
    assert job is not None
    records.store.write_status(job, job.status.model_copy(update={"message": "hello"}))
    after = records.server.find(PREFIX, "nestedjobs", "kns", "by-hand")
    assert after is not None
    assert after["spec"] == stored["spec"]
    assert after["status"]["message"] == "hello"


@pytest.mark.proves("statuses", "If both shutdown and terminate are requested, `terminate` decides the final status")
def test_of_two_stops_at_the_same_time_the_stronger_wins(records: Records, client: KubeClient) -> None:
    """For either order of two replicas."""
    job = created(records)
    other = KubeRecords(client, namespace="kns", clock=FakeClock())
    terminate = Meanwhile(lambda: other.request_stop(job, StopReason.TERMINATE))
    records.server.script("GET", job.record, terminate)
    records.store.request_stop(job, StopReason.SHUTDOWN)
    stored = records.server.find(PREFIX, "nestedjobs", "kns", job.record)
    assert stored is not None
    assert stored["spec"]["stopReason"] == "Terminate"


def test_an_unreadable_record_is_salvaged_and_logged_once(records: Records) -> None:
    """It can still be ended and removed, and has the reason. Readers of other records are not affected."""
    created(records)
    with capture_logs() as logs:
        apply(records.server, a_job(), record="broken", machine="not an object")
        records.wait_for("broken", times=1)
        for _ in range(3):
            assert sorted(records.store.list_records()) == ["broken", "kns-job-7"]
        broken = records.store.get("broken")
        assert broken is not None
        assert "spec.machine" in str(broken.read_error)
    assert [(log["event"], log["record"]) for log in logs] == [("record_unreadable", "broken")]
    assert "spec.machine" in logs[0]["error"]


def test_a_create_whose_answer_was_lost_is_found(records: Records) -> None:
    """The request took effect. With an error, the caller would submit the job again."""
    records.server.script("POST", "/nestedjobs", LostAnswer())
    assert created(records).number == 7
    assert records.store.get("kns-job-7") is not None


def test_a_create_that_did_not_happen_is_reported(records: Records) -> None:
    records.server.script("POST", "/nestedjobs", failure(503, "ServiceUnavailable"))
    with pytest.raises(UnavailableError, match="503"):
        created(records)


def test_a_record_that_went_is_forgotten_altogether(records: Records) -> None:
    """Otherwise the memory of the process would grow without limit."""
    job = created(records)
    assert records.store.get(job.record) is not None
    records.wait_for(job.record, times=1)
    records.server.drop(PREFIX, "nestedjobs", "kns", job.record)
    records.wait_for(job.record, times=2)
    assert records.store.get(job.record) is None
    assert records.store.list_records() == []


def test_inputs_are_stored_before_their_record_and_then_belong_to_it(records: Records) -> None:
    job = records.store.create(spec_of(7), inputs=b"packed")
    writes = [seen.path.rpartition("/")[2] for seen in records.server.seen if seen.method in ("POST", "PUT")]
    assert writes == ["secrets", "nestedjobs", "kns-job-7-inputs"]
    secret = records.server.find("/api/v1", "secrets", "kns", "kns-job-7-inputs")
    assert secret is not None
    assert secret["metadata"]["ownerReferences"][0]["uid"] == job.uid


def test_inputs_that_cannot_be_stored_leave_no_record(records: Records) -> None:
    records.server.script("POST", "/secrets", failure(503, "ServiceUnavailable"))
    with pytest.raises(UnavailableError):
        records.store.create(spec_of(7), inputs=b"packed")
    assert records.server.count("POST", "/nestedjobs") == 0


def test_a_job_is_stored_even_if_its_inputs_cannot_be_given_to_it(records: Records) -> None:
    """The sweeper deletes them after the record."""
    records.server.script("PUT", "-inputs", failure(503, "ServiceUnavailable"))
    assert records.store.create(spec_of(7), inputs=b"packed").number == 7


def test_inputs_of_a_repeated_request_do_not_stay(records: Records, client: KubeClient) -> None:
    other = KubeRecords(client, namespace="kns", clock=FakeClock())
    other.cache._list()
    first = records.store.create(spec_of(7), request=REQUEST, inputs=b"packed")
    assert other.create(spec_of(8), request=REQUEST, inputs=b"other") == first
    assert records.server.find("/api/v1", "secrets", "kns", "kns-job-7-inputs") is not None
    assert records.server.find("/api/v1", "secrets", "kns", "kns-job-8-inputs") is None


def test_inputs_are_removed_once_and_again(records: Records, client: KubeClient) -> None:
    job, inputs = records.store.create(spec_of(7), inputs=b"packed"), KubeInputs(client, namespace="kns")
    for _ in range(2):
        inputs.remove(job)
        assert records.server.find("/api/v1", "secrets", "kns", "kns-job-7-inputs") is None


def test_a_record_of_another_uid_is_not_deleted(records: Records) -> None:
    """It was deleted and created again since it was read."""
    job = created(records)
    records.server.drop(PREFIX, "nestedjobs", "kns", job.record)
    apply(records.server, a_job(), record=job.record)
    records.server.script("DELETE", job.record, failure(409, "Conflict", "the UID in the precondition does not match"))
    with pytest.raises(ConflictError):
        records.store.delete(job)
    assert records.server.find(PREFIX, "nestedjobs", "kns", job.record) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda store, job: store.request_stop(job, StopReason.TERMINATE),
        lambda store, job: store.extend_walltime(job, 7200),
        lambda store, job: store.set_keep(job, keep=True),
        lambda store, job: store.set_sleep(job, asleep=True),
    ],
    ids=["stop", "walltime", "keep", "sleep"],
)
def test_a_record_of_another_uid_is_not_changed(records: Records, change: Callable[[KubeRecords, Job], None]) -> None:
    """It may be the job of another user."""
    job = created(records)
    records.server.drop(PREFIX, "nestedjobs", "kns", job.record)
    before = apply(records.server, a_job(), record=job.record)
    with pytest.raises(NotFoundError, match="another record has this name now"):
        change(records.store, job)
    assert records.server.find(PREFIX, "nestedjobs", "kns", job.record) == before


def test_a_new_record_carries_finalizer_and_labels(records: Records) -> None:
    """So that no object is created for a record that could be deleted without cleanup."""
    created(records)
    stored = records.server.find(PREFIX, "nestedjobs", "kns", "kns-job-7")
    assert stored is not None
    assert stored["metadata"]["finalizers"] == [names.FINALIZER]
    assert stored["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "kns",
        "kns.io/job": "7",
        "kns.io/public-name": "20260105141530-00007-hello-user1_s1",
        "kns.io/user": "user1",
    }


REQUEST = digest_request("user1", "key")


def spec_of(number: int) -> JobSpec:
    return a_job().numbered(number).build().spec


def test_of_two_replicas_that_get_a_request_at_once_both_answer_the_first(records: Records, client: KubeClient) -> None:
    """The cache of the other replica does not have the record yet, and the API server refuses the name."""
    other = KubeRecords(client, namespace="kns", clock=FakeClock())
    other.cache._list()
    first = records.store.create(spec_of(7), request=REQUEST)
    assert other.find_request(REQUEST) is None
    assert other.create(spec_of(8), request=REQUEST) == first
    assert other.find_request(REQUEST) == first
    assert records.server.find(PREFIX, "nestedjobs", "kns", first.record) is not None
    assert [job.number for job in records.store.walk_jobs(["user1"], live=True)] == [7]


def test_a_request_whose_name_was_purged_in_between_gets_a_new_record(records: Records) -> None:
    records.server.script("POST", "/nestedjobs", failure(409, "AlreadyExists", "already exists"))
    assert records.store.create(spec_of(7), request=REQUEST).number == 7


def test_the_name_of_a_damaged_record_is_passed_over(records: Records, client: KubeClient) -> None:
    other = KubeRecords(client, namespace="kns", clock=FakeClock())
    other.cache._list()
    broken = apply(records.server, a_job(), record=request_record(REQUEST), accepted={"number": "many"})
    assert other.create(spec_of(8), request=REQUEST).record == f"{broken['metadata']['name']}-1"


def test_a_request_whose_answer_was_lost_is_found(records: Records) -> None:
    records.server.script("POST", "/nestedjobs", LostAnswer())
    first = records.store.create(spec_of(7), request=REQUEST)
    assert records.store.create(spec_of(8), request=REQUEST) == first


def test_uids_come_from_the_server_and_not_from_the_cache(
    records: Records, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages and without the contents. The list includes an invalid record."""
    monkeypatch.setattr("kns.adapters.kube.records._UIDS_PAGE", 2)
    uids = {records.store.create(spec_of(number)).uid for number in (1, 2, 3, 4)}
    broken = apply(records.server, a_job(), record="broken", accepted={"number": "many"})
    other = KubeRecords(client, namespace="kns", clock=FakeClock())
    before = len(records.server.seen)
    assert other.list_uids() == {*uids, broken["metadata"]["uid"]}
    asked = records.server.seen[before:]
    assert [seen.query.get("continue") for seen in asked] == [None, "2", "4"]
    assert all("as=PartialObjectMetadataList" in seen.headers["accept"] for seen in asked)
    assert all("resourceVersion" not in seen.query for seen in asked)


# --- what is found without looking through all


ADOPTED = AdoptedNamespace(name="kns-job-900", uid="u-1")


def test_no_look_up_walks_all_records(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients poll, and there may be thousands of records. A scan of 10 000 records took 23 ms."""
    job = records.store.create(a_job().build().spec, request=digest_request("user1", "key"))
    assert job.record != names.job_object_name(7)
    assert job.spec.accepted is not None
    objects = records.store.cache._objects

    class Unwalkable(dict[Any, Any]):
        def __iter__(self) -> NoReturn:
            raise AssertionError("walked all records")

        values = items = keys = __iter__  # a walk by any of them is the same walk

    monkeypatch.setattr(records.store.cache, "_objects", Unwalkable(objects))
    store = records.store
    assert store.get(job.record) == store.find(7) == store.find_by_namespace("kns-job-7") == job
    assert store.find_by_name(job.spec.accepted.name) == store.find_request(digest_request("user1", "key")) == job
    assert store.find(8) is store.find_by_name("none") is store.find_by_namespace("kns-job-8") is None
    assert store.count_live("user1") == len(store.list_in_state(JobState.SUBMITTED)) == 1


def test_the_removal_that_has_taken_longest_is_known(records: Records) -> None:
    """Of two jobs that have ended. One that is removed does not count."""
    store, clock = records.store, records.clock
    assert store.read_oldest_removal_s() == 0
    for number in (1, 2, 3):
        builder = a_job().numbered(number)
        job = store.create(builder.build().spec)
        ended = builder.started().ended().with_status(end_time=clock.now() - timedelta(minutes=10 * number))
        store.write_status(job, (ended.removed() if number == 3 else ended).build().status)
    assert store.read_oldest_removal_s() == 20 * 60


def test_an_index_forgets_a_record_that_is_gone(records: Records) -> None:
    job = records.store.create(a_job().build().spec, request=digest_request("user1", "key"))
    records.wait_for(job.record, times=1)
    records.server.drop(PREFIX, "nestedjobs", "kns", job.record)
    records.wait_for(job.record, times=2)
    assert records.store.find(7) is None
    assert records.store.count_live("user1") == 0


def test_a_job_in_an_adopted_namespace_is_not_in_the_namespace_of_its_number(records: Records) -> None:
    records.store.create(a_job().with_accepted(adopted=ADOPTED).build().spec)
    assert records.store.find_by_namespace("kns-job-7") is None
    assert records.store.find_by_namespace("kns-job-900") == records.store.find(7)


def test_a_record_that_the_cache_does_not_have_is_fetched_from_the_host(client: KubeClient, server: ApiServer) -> None:
    """The replica that gets the request may have the older cache."""
    other, late = Records(server, client), Records(server, client)
    other.start()
    late.start()
    server.end_watches()
    late.stop()
    job = other.store.create(a_job().build().spec)
    assert late.store.find(7) is None
    fetched = late.store.fetch(7)
    assert fetched is not None
    assert (fetched.record, fetched.uid) == (job.record, job.uid)
    assert late.store.find(7) == fetched
    assert late.store.fetch(8) is None
    other.stop()
