"""The watch cache in its own thread, with a server that compacts, sends invalid data, falls silent and loses data."""

import itertools
import json
import queue
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.keep import choose_copy_keeper
from kns.adapters.kube.kinds import KINDS
from kns.adapters.kube.watch import WatchCache
from kns.model.errors import ExpiredError, UnavailableError
from kns.ports import Kind
from tests.adapters.api_server import ApiServer, Object, failure
from tests.adapters.conftest import PODS, RunningCache, keep_whole
from tests.adapters.faulty_server import Answer, Fault, Hang, Lines, Meanwhile, Reset
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S

RunCache = Callable[..., RunningCache]


@pytest.fixture(autouse=True, params=[False, True], ids=["in pages", "as a stream"])
def is_streamed(server: ApiServer, request: pytest.FixtureRequest) -> bool:
    """How lists come."""
    server.streams_lists = request.param
    return server.streams_lists


def event(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode()


def end_of_list(version: str) -> bytes:
    meta = {"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}}
    return event("BOOKMARK", {"metadata": meta})


def a_list(*items: Object, version: str, is_streamed: bool) -> Answer | Lines:
    """A list that the server does not have."""
    if is_streamed:
        return Lines((*(event("ADDED", item) for item in items), end_of_list(version)))
    return Answer(200, {"metadata": {"resourceVersion": version}, "items": items})


def a_pod(name: str, **meta: object) -> Object:
    return {"metadata": {"name": name, "namespace": "a", **meta}}


def put(server: ApiServer, name: str, **meta: object) -> Object:
    return server.put("/api/v1", "pods", a_pod(name, **meta))


def names_of(running: RunningCache) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in running.cache.all_objects())


def newer(obj: Object, *, by: int) -> Object:
    """The same object, as another write of kns would have returned it."""
    return {"metadata": {**obj["metadata"], "resourceVersion": str(int(obj["metadata"]["resourceVersion"]) + by)}}


def test_before_its_first_list_it_does_not_pretend_to_be_empty(client: KubeClient, clock: FakeClock) -> None:
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    assert not cache.is_synced
    with pytest.raises(UnavailableError, match="the cache of pods is not filled yet"):
        cache.get("a", "one")
    with pytest.raises(UnavailableError):
        cache.all_objects()


def test_it_lists_then_follows(server: ApiServer, run_cache: RunCache, *, is_streamed: bool) -> None:
    for number in range(5):
        put(server, f"pod-{number}")
    running = run_cache(replace(PODS, page=2)).start()
    assert server.lists.qsize() == (1 if is_streamed else 3)
    assert names_of(running) == [f"pod-{number}" for number in range(5)]
    put(server, "new")
    assert running.next_change() == "new"
    put(server, "pod-0", labels={"a": "b"})
    assert running.next_change() == "pod-0"
    server.drop("/api/v1", "pods", "a", "pod-1")
    assert running.next_change() == "pod-1"
    assert names_of(running) == ["new", "pod-0", "pod-2", "pod-3", "pod-4"]
    found = running.cache.get("a", "pod-0")
    assert found is not None
    assert found["metadata"]["labels"] == {"a": "b"}


def test_only_what_is_wanted_is_held(server: ApiServer, run_cache: RunCache) -> None:
    """Whether it comes with a list or with the watch, or was wanted before."""
    strange = {"labels": {"strange": ""}}
    put(server, "listed", **strange)
    put(server, "first")
    running = run_cache(wanted=lambda obj: "strange" not in obj["metadata"].get("labels", {})).start()
    assert names_of(running) == ["first"]
    put(server, "watched", **strange)
    put(server, "first", **strange)
    put(server, "last")
    running.cache.put({"metadata": {"name": "written", "namespace": "a", "resourceVersion": "999", **strange}})
    while running.next_change() != "last":
        pass
    assert names_of(running) == ["last"]


def test_its_age_counts_from_what_the_server_said_last(
    server: ApiServer, run_cache: RunCache, clock: FakeClock
) -> None:
    running = run_cache()
    assert running.cache.age_s == float("inf")
    running.start()
    clock.advance(40)
    assert running.cache.age_s == 40
    ages: queue.Queue[float] = queue.Queue()
    running.cache._on_change = lambda _obj: ages.put(running.cache.age_s)
    put(server, "sign")
    assert ages.get(timeout=PATIENCE_S) == 0


def test_the_selector_goes_with_list_and_watch(server: ApiServer, run_cache: RunCache) -> None:
    put(server, "other")
    put(server, "mine", labels={"job": "7"})
    running = run_cache(selector="job")
    running._thread.start()
    watch = server.watches.get(timeout=PATIENCE_S)
    assert (server.lists.get().query["labelSelector"], watch.query["labelSelector"]) == ("job", "job")
    assert names_of(running) == ["mine"]


def test_every_list_asks_for_the_newest_state(server: ApiServer, run_cache: RunCache, *, is_streamed: bool) -> None:
    """
    A list with a resourceVersion may be older than what this process, or the one before it, has already seen. A restart
    that reads the past could make again what was removed.
    """
    for number in range(3):
        put(server, f"pod-{number}")
    run_cache(replace(PODS, page=2)).start()
    for _ in range(1 if is_streamed else 2):
        query = server.lists.get(timeout=PATIENCE_S).query
        assert "resourceVersion" not in query
        assert query.get("resourceVersionMatch") == ("NotOlderThan" if is_streamed else None)


def test_a_host_that_streams_no_lists_is_asked_once(
    client: KubeClient, clock: FakeClock, server: ApiServer, *, is_streamed: bool
) -> None:
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    for _ in range(3):
        cache._list()
    asked = ["sendInitialEvents" in seen.query for seen in server.seen]
    assert asked == ([True] * 3 if is_streamed else [True, False, False, False])


FAULTS: list[Fault] = [
    Hang(),
    Reset(),
    Lines(()),
    failure(503, "ServiceUnavailable"),
    failure(429, "TooManyRequests", "storage is (re)initializing"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_list_whose_stream_does_not_end_comes_in_pages(
    client: KubeClient, clock: FakeClock, server: ApiServer, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """A gateway may keep a stream back. Streams that never work are given up, or every list would first wait for it."""
    monkeypatch.setattr("kns.adapters.kube.watch._STREAM_SILENCE_S", 0.05)
    server.streams_lists = True
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    put(server, "one")
    for fails in (True, False, True, True, False):
        if fails:
            server.script("GET", "/pods", fault)
        cache._list()
        assert [obj["metadata"]["name"] for obj in cache.all_objects()] == ["one"]
    asked = ["sendInitialEvents" in seen.query for seen in server.seen]
    assert asked == [True, False] + [True] + [True, False] * 2 + [False]


def test_a_host_that_fails_is_no_fault_of_its_streams(client: KubeClient, clock: FakeClock, server: ApiServer) -> None:
    """A replica that starts before its host still gets streams, when it needs them most."""
    server.streams_lists = True
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    for _ in range(3):
        server.script("GET", "/pods", Reset(), Reset())
        with pytest.raises(UnavailableError):
            cache._list()
    before = len(server.seen)
    cache._list()
    assert ["sendInitialEvents" in seen.query for seen in server.seen[before:]] == [True]


def test_an_object_that_cannot_be_kept_is_an_unreadable_line(
    client: KubeClient, clock: FakeClock, server: ApiServer
) -> None:
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=lambda obj: {"spec": obj["spec"]})
    with pytest.raises(ExpiredError, match="an object of pods is unreadable: KeyError"):
        cache._take(event("ADDED", a_pod("one", resourceVersion="7")))
    put(server, "one")
    with pytest.raises(ExpiredError, match="an object of pods is unreadable: KeyError"):
        cache._list()


def test_a_stream_that_goes_on_without_an_end_is_left(
    client: KubeClient, clock: FakeClock, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a server that does not know the parameter sends it: objects, then changes and bookmarks for ever."""

    def stream_lines(*_args: object, **_options: object) -> Iterator[bytes]:
        for number in itertools.count(1):
            clock.advance(1)
            yield event("MODIFIED", a_pod("one", resourceVersion=str(number)))

    monkeypatch.setattr(client, "stream_lines", stream_lines)
    put(server, "two")
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    cache._list()
    assert [obj["metadata"]["name"] for obj in cache.all_objects()] == ["two"]


def test_changes_during_a_streamed_list_are_in_it(client: KubeClient, clock: FakeClock, server: ApiServer) -> None:
    """The server may send them before the end of the list, with bookmarks between them."""
    one, two, new = (a_pod(name, resourceVersion="7") for name in ("one", "two", "new"))
    between = event("BOOKMARK", {"metadata": {"resourceVersion": "8"}})
    changed = a_pod("one", resourceVersion="9", labels={"a": "b"})
    lines = [("ADDED", one), ("ADDED", two), ("MODIFIED", changed), ("DELETED", two), ("ADDED", new)]
    events = [event(kind, obj) for kind, obj in lines]
    server.script("GET", "/pods", Lines((*events[:3], between, *events[3:], end_of_list("10"))))
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    assert cache._list() == "10"
    assert cache.all_objects() == [changed, new]


@pytest.mark.parametrize(
    "lines",
    [
        (event("ADDED", a_pod("one", resourceVersion="7")),),
        (event("BOOKMARK", {"metadata": {"resourceVersion": "8"}}),),
        (event("ERROR", failure(410, "Expired", "too old").body),),
        (
            event(
                "BOOKMARK", {"metadata": {"resourceVersion": "z", "annotations": {"k8s.io/initial-events-end": "true"}}}
            ),
        ),
        (b"<html>",),
        (b"[" * 2000 + b"]" * 2000,),
        (),
    ],
    ids=["some objects", "a bookmark of another kind", "an error", "no version", "not JSON", "too deep", "nothing"],
)
def test_half_a_streamed_list_is_none(
    client: KubeClient, clock: FakeClock, server: ApiServer, lines: tuple[bytes, ...]
) -> None:
    """What the cache had stays, and it does not pretend to know more."""
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    server.streams_lists = True
    known = put(server, "known")
    cache._list()
    server.script("GET", "/pods", Lines(lines), Reset())
    with pytest.raises((ExpiredError, UnavailableError)):
        cache._list()
    assert cache.all_objects() == [known]


def test_a_bookmark_moves_the_version_without_a_change(server: ApiServer, run_cache: RunCache) -> None:
    """The next watch starts from it, so that a kind without changes is not affected by a compaction."""
    running = run_cache().start()
    server.send("/api/v1", "pods", "BOOKMARK", {"metadata": {"resourceVersion": "4711"}})
    put(server, "sign")  # a change that comes after the bookmark: when it is in, so is the bookmark
    running.next_change()
    server.script(
        "GET", "/pods", Lines((b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9000"}}}',))
    )
    server.end_watches()
    server.watches.get(timeout=PATIENCE_S)
    assert server.watches.get(timeout=PATIENCE_S).query["resourceVersion"] == "9000"
    assert server.lists.qsize() == 1
    assert running.changes.empty()


def test_a_watch_that_the_server_ends_goes_on_from_the_last_event(server: ApiServer, run_cache: RunCache) -> None:
    running = run_cache().start()
    last = put(server, "one")
    running.next_change()
    server.end_watches()
    assert server.watches.get(timeout=PATIENCE_S).query["resourceVersion"] == last["metadata"]["resourceVersion"]
    assert server.lists.qsize() == 1


GARBAGE = {
    "410 as an event": json.dumps({"type": "ERROR", "object": failure(410, "Expired", "too old").body}).encode(),
    "an error without an object": b'{"type": "ERROR", "object": "no"}',
    "not JSON": b"<html>",
    "not an event": b"[1, 2]",
    "an event without metadata": b'{"type": "ADDED", "object": {}}',
    "a version that is no number": b'{"type": "ADDED", "object": {"metadata": {"name": "x", "resourceVersion": "z"}}}',
}


@pytest.mark.parametrize("line", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_cannot_be_followed_is_listed_anew(server: ApiServer, run_cache: RunCache, line: bytes) -> None:
    running = run_cache().start()
    put(server, "one")
    running.next_change()
    server.script("GET", "/pods", Lines((line,)))
    server.end_watches()
    server.watches.get(timeout=PATIENCE_S)  # the one with the line
    server.watches.get(timeout=PATIENCE_S)  # the one after the new list
    assert server.lists.qsize() == 2
    assert names_of(running) == ["one"]


def test_a_new_list_keeps_the_objects_that_did_not_change(server: ApiServer, run_cache: RunCache) -> None:
    """Otherwise the garbage collector would have thousands of new objects every few minutes."""
    running = run_cache().start()
    for name in ("one", "two"):
        put(server, name)
        running.next_change()
    one, two = running.cache.get("a", "one"), running.cache.get("a", "two")
    server.script("GET", "/pods", Lines((GARBAGE["not JSON"],)))
    server.script("GET", "/pods", Meanwhile(lambda: put(server, "two", labels={"a": "b"})))
    server.end_watches()
    server.watches.get(timeout=PATIENCE_S)
    assert running.next_change() == "two"
    assert running.cache.get("a", "one") is one
    assert running.cache.get("a", "two") is not two


def test_a_compaction_is_survived(server: ApiServer, run_cache: RunCache) -> None:
    """The version of the last event has expired: 410 at the start of the watch, then a list and a new watch."""
    running = run_cache().start()
    put(server, "before")
    running.next_change()
    server.put("/api/v1", "services", a_pod("of-another-kind"))
    server.forget_history()
    server.end_watches()
    server.watches.get(timeout=PATIENCE_S)
    assert server.expired == 1
    put(server, "after")
    assert running.next_change() == "after"
    assert server.lists.qsize() == 2


@pytest.mark.parametrize(
    "fault",
    [Reset(), failure(503, "ServiceUnavailable"), failure(500, "InternalError"), failure(403, "Forbidden", "cannot")],
    ids=["reset", "503", "500", "no right yet"],
)
def test_a_failed_list_is_tried_again(server: ApiServer, run_cache: RunCache, fault: Answer | Reset) -> None:
    put(server, "one")
    server.script("GET", "/pods", fault, fault)
    assert names_of(run_cache().start()) == ["one"]


def test_a_silent_server_is_left_and_asked_anew(
    server: ApiServer, run_cache: RunCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead connection sends nothing."""
    running = run_cache()
    monkeypatch.setattr("kns.adapters.kube.watch.SILENCE_S", 0.05)
    running.start()
    server.lists.get(timeout=PATIENCE_S)
    server.lists.get(timeout=PATIENCE_S)
    assert running.cache.is_synced


def test_a_watch_that_ends_at_once_without_a_word_pauses_before_the_next(
    server: ApiServer, run_cache: RunCache
) -> None:
    """Otherwise a broken gateway would get a request per millisecond. A failure has the backoff."""
    running = run_cache().start()
    server.script("GET", "/pods", Lines(()))
    server.end_watches()
    server.watches.get(timeout=PATIENCE_S)
    server.watches.get(timeout=PATIENCE_S)
    assert server.lists.qsize() == 2  # it came back by way of the backoff and a new list
    assert running.cache.is_synced


def test_backoff_grows_while_nothing_works(
    client: KubeClient, clock: FakeClock, server: ApiServer, *, is_streamed: bool
) -> None:
    """Also if only the watch is broken. The lists in between succeed and must not reset the backoff."""

    class Stop:
        waits: list[float] = []  # noqa: RUF012 - one test, one list

        def is_set(self) -> bool:
            return len(self.waits) >= 6

        def wait(self, timeout: float) -> None:
            self.waits.append(timeout)

    if not is_streamed:
        server.script("GET", "/pods", failure(422, "Invalid"))
    for _ in range(6):
        server.script("GET", "/pods", a_list(version="1", is_streamed=is_streamed), Lines((b"garbage",)))
    WatchCache(client, PODS, clock=clock, keep=keep_whole).run(Stop())  # type: ignore[arg-type]  # an Event in all that run() uses
    assert Stop.waits == [0.0, 1.0, 3.0, 8.0, 8.0, 8.0]


def test_deletions_during_a_broken_watch_are_reported(client: KubeClient, clock: FakeClock, server: ApiServer) -> None:
    """Two lists of one cache, with changes in between that no watch reports."""
    told: list[str] = []
    cache: WatchCache[Object] = WatchCache(
        client, PODS, clock=clock, keep=keep_whole, on_change=lambda obj: told.append(obj["metadata"]["name"])
    )
    put(server, "stays")
    put(server, "goes")
    cache._list()
    told.clear()
    server.drop("/api/v1", "pods", "a", "goes")
    put(server, "came")
    put(server, "stays", labels={"new": "yes"})
    cache._list()
    assert sorted(told) == ["came", "goes", "stays"]
    told.clear()
    cache._list()
    assert told == []


def test_what_this_process_wrote_is_there_at_once(server: ApiServer, run_cache: RunCache) -> None:
    running = run_cache().start()
    stored = newer(put(server, "one"), by=50)
    running.cache.put(stored)
    assert running.cache.get("a", "one") == stored
    running.cache.put(newer(stored, by=-49))
    assert running.cache.get("a", "one") == stored


@pytest.mark.parametrize("known_to_server", [False, True], ids=["a new object", "a change of a listed one"])
def test_a_write_during_a_list_survives_it(
    client: KubeClient, clock: FakeClock, server: ApiServer, known_to_server: bool
) -> None:
    """The list was computed before the write and arrives after it. The newer object stays."""
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    if known_to_server:
        put(server, "one")
    server.script("GET", "/pods", Meanwhile(lambda: cache.put(put(server, "one", labels={"by": "us"}))))
    cache._list()
    found = cache.get("a", "one")
    assert found is not None
    assert found["metadata"]["labels"] == {"by": "us"}


@pytest.mark.proves("faults", "etcd is restored from a backup while replicas run")
def test_a_restored_etcd_is_believed(
    client: KubeClient, clock: FakeClock, server: ApiServer, *, is_streamed: bool
) -> None:
    """
    Its versions are lower than the cached ones: objects created after the backup are gone, changed ones are as before.
    """
    told: list[str] = []
    cache: WatchCache[Object] = WatchCache(
        client, PODS, clock=clock, keep=keep_whole, on_change=lambda obj: told.append(obj["metadata"]["name"])
    )
    before = put(server, "changed")
    put(server, "same")
    backup = client.request("GET", PODS.path(""))
    put(server, "made")
    put(server, "changed", labels={"a": "b"})
    cache._list()
    cache.put(newer(put(server, "by us"), by=1))
    told.clear()

    version = backup["metadata"]["resourceVersion"]
    server.script("GET", "/pods", a_list(*backup["items"], version=version, is_streamed=is_streamed))
    cache._list()
    assert sorted(obj["metadata"]["name"] for obj in cache.all_objects()) == ["changed", "same"]
    assert cache.get("a", "changed") == before
    assert sorted(told) == ["by us", "changed", "made"]

    again = newer(before, by=3)  # no more than it had once, yet newer than all there is now
    cache.put(again)
    assert cache.get("a", "changed") == again


def test_a_late_put_does_not_bring_back_what_the_watch_saw_go(server: ApiServer, run_cache: RunCache) -> None:
    """A slow response to a write of kns, read after the deletion of the object."""
    running = run_cache().start()
    ours = put(server, "one")
    running.next_change()
    server.drop("/api/v1", "pods", "a", "one")
    running.next_change()
    running.cache.put(ours)
    assert running.cache.get("a", "one") is None


def test_the_last_deletions_are_remembered_and_no_others(
    client: KubeClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant may delete any number of Services between two lists."""
    monkeypatch.setattr("kns.adapters.kube.watch._MOST_TOMBSTONES", 3)
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    cache._list()
    pods = [a_pod(name, resourceVersion=str(1000 + number)) for number, name in enumerate("abcdebfg")]
    for pod in pods:
        cache._take(event("DELETED", pod))
    assert sorted(name for _, name in cache._tombstones) == ["b", "f", "g"]
    for pod in pods[-3:]:
        cache.put(pod)
    assert cache.all_objects() == []


def test_nor_what_a_list_saw_gone(client: KubeClient, clock: FakeClock, server: ApiServer) -> None:
    """The object would stay until the next list, because no further event reports it."""
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole)
    ours = put(server, "one")
    server.drop("/api/v1", "pods", "a", "one")
    cache._list()
    cache.put(ours)
    assert cache.all_objects() == []


def test_the_end_of_an_old_object_leaves_a_newer_one_of_that_name(server: ApiServer, run_cache: RunCache) -> None:
    running = run_cache().start()
    old = put(server, "one")
    running.next_change()
    fresh = newer(old, by=100)
    running.cache.put(fresh)
    server.drop("/api/v1", "pods", "a", "one")
    running.next_change()
    assert running.cache.get("a", "one") == fresh


def test_an_error_in_on_change_does_not_end_the_cache(
    server: ApiServer, client: KubeClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that is never updated again would be worse than an error in the log."""
    monkeypatch.setattr("kns.adapters.kube.watch._BACKOFF_S", (0.0,))
    told: list[str] = []

    class Stop:
        def is_set(self) -> bool:
            return len(told) > 1

        def wait(self, timeout: float) -> None:
            """No delay."""

    def on_change(obj: Object) -> None:
        told.append(obj["metadata"]["name"])
        put(server, "two")
        if len(told) == 1:
            raise RuntimeError("a fault of ours")

    put(server, "one")
    cache: WatchCache[Object] = WatchCache(client, PODS, clock=clock, keep=keep_whole, on_change=on_change)
    cache.run(Stop())  # type: ignore[arg-type]  # an Event in all that run() uses
    assert told == ["one", "two"]


def test_a_change_in_nothing_that_is_kept_wakes_nobody(server: ApiServer, run_cache: RunCache) -> None:
    """A tenant may change the labels of a claim as often as they like."""
    kind = Kind.PERSISTENT_VOLUME_CLAIM
    running = run_cache(KINDS[kind], keep=choose_copy_keeper(kind)).start()
    for number in range(3):
        claim = {"metadata": {"namespace": "kns-job-7", "name": "data", "labels": {"x": str(number)}}}
        server.put("/api/v1", "persistentvolumeclaims", claim)
    server.put("/api/v1", "persistentvolumeclaims", {"metadata": {"namespace": "kns-job-7", "name": "other"}})
    assert [running.next_change(), running.next_change()] == ["data", "other"]


def test_the_echo_of_an_own_write_wakes_although_it_is_known(server: ApiServer, run_cache: RunCache) -> None:
    """`put` tells nobody, so a new record would otherwise wait for another change."""
    running = run_cache(keep=lambda obj: {"metadata": {"name": obj["metadata"]["name"]}}).start()
    running.cache.put(a_pod("one", resourceVersion="101"))
    assert put(server, "one")["metadata"]["resourceVersion"] == "101"
    assert running.next_change() == "one"


def test_a_list_that_repeats_an_own_write_wakes_once(client: KubeClient, clock: FakeClock, server: ApiServer) -> None:
    """
    The watch ended before the echo of the write, and the next one begins after it. A new record whose echo is lost
    would wait until the next leader.
    """
    told: list[str] = []
    cache: WatchCache[Object] = WatchCache(
        client, PODS, clock=clock, keep=keep_whole, on_change=lambda obj: told.append(obj["metadata"]["name"])
    )
    cache._list()
    cache.put(put(server, "one"))
    server.script("GET", "/pods", Meanwhile(lambda: cache.put(put(server, "two"))))
    cache._list()
    assert told == ["one"]
    cache._list()
    assert told == ["one", "two"]
    cache._list()
    assert told == ["one", "two"]
