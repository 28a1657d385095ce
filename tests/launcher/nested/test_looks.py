"""Which job is looked at when: no job holds up others."""

from collections.abc import Callable

import pytest

from kns.model.errors import KnsError
from kns.plain.state import Status
from tests.adapters.faulty_server import Answer, Fault, Seen
from tests.launcher.cluster import NAMESPACE
from tests.launcher.kns_server import build_detail
from tests.launcher.nested.world import SlowLogs, World


@pytest.mark.proves("security", "break the cluster of their own nested job, to hold up others' jobs")
def test_a_broken_cluster_is_asked_less_and_less_often(world: World) -> None:
    job_id = world.run()
    detail = build_detail(world.kns.find_one(job_id))
    world.kns.find_one(job_id).is_up = False  # kns says that it runs, and it does not answer
    world.kns.script("GET", "/kns/job", *[Answer(200, detail, {"Content-Type": "application/json"})] * 20)
    looks = 0
    for _ in range(600):
        world.clock.advance(1)
        for due in world.nested.looks._list_due():
            world.nested.looks.look(due)
            looks += 1
    assert 5 < looks < 20
    assert world.status(job_id) is Status.RUNNING, "what was seen last"


def slow_down(world: World, monkeypatch: pytest.MonkeyPatch, path: str, seconds: float) -> None:
    """Requests with `path` in theirs take so long."""
    note = world.kns.note

    def take_time(seen: Seen) -> Fault | None:
        if path in seen.path:
            world.clock.advance(seconds)
        return note(seen)

    monkeypatch.setattr(world.kns, "note", take_time)


@pytest.mark.proves("security", "break the cluster of their own nested job, to hold up others' jobs")
@pytest.mark.parametrize(("seconds", "pause_s"), [(0.75, 3), (4, 16), (40, 120)])
def test_a_slow_cluster_is_asked_less_often(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float, pause_s: float
) -> None:
    """Eight of them would otherwise keep all workers busy."""
    job_id = world.run()
    slow_down(world, monkeypatch, "/kns/cluster/", seconds)
    world.nested.looks.look(job_id)
    known = world.nested._known.find(job_id)
    assert known is not None
    assert known.due - world.clock.monotonic() == pause_s
    monkeypatch.undo()
    world.nested.looks.look(job_id)
    assert known.due - world.clock.monotonic() == 2


@pytest.mark.proves("security", "break the cluster of their own nested job, to hold up others' jobs")
@pytest.mark.parametrize(("seconds", "pause_s"), [(0.04, 0.5), (0.3, 3.6)])
def test_a_cluster_that_starts_holds_up_a_worker_for_a_fifth_of_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float, pause_s: float
) -> None:
    """The first look has three calls. At the usual speed, it delays no other look at its job."""
    job_id = world.submit()
    world.kns.raise_cluster(job_id)
    slow_down(world, monkeypatch, "/kns/cluster/", seconds)
    began = world.clock.monotonic()
    world.nested.looks.look(job_id)
    assert world.clock.monotonic() - began == pytest.approx(3 * seconds)
    known = world.nested._known.find(job_id)
    assert known is not None
    assert known.due - world.clock.monotonic() == pytest.approx(pause_s, abs=seconds)


def test_time_that_kns_itself_takes_delays_no_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """States would otherwise stay old for minutes after kns is back."""
    job_id = world.run()
    world.kns.script("GET", "/pods", Answer(503, {"message": "not ready"}))
    world.kns.script("GET", "/kns/job", Answer(503, {"error": "not ready"}))
    slow_down(world, monkeypatch, "/kns/job", 20)
    with pytest.raises(KnsError, match="not ready"):
        world.nested.looks.look(job_id)
    assert world.nested.looks._list_due() == [job_id]


def test_a_cluster_that_fails_for_days_is_still_asked_seldom(world: World) -> None:
    job_id = world.run()
    detail = build_detail(world.kns.find_one(job_id))
    world.kns.find_one(job_id).is_up = False
    world.kns.script("GET", "/kns/job", *[Answer(200, detail, {"Content-Type": "application/json"})] * 2)
    known = world.nested._known.find(job_id)
    assert known is not None
    known.failures = 100_000
    for _ in range(2):
        world.nested.looks.look(job_id)
        assert known.due - world.clock.monotonic() == 120


def test_a_record_that_is_deleted_by_hand_is_forgotten(world: World) -> None:
    job_id = world.run()
    world.host.drop("/apis/batch/v1", "jobs", NAMESPACE, job_id)
    world.wait_for(lambda: world.records.find_job(job_id) is None)
    assert world.nested.looks._list_due() == []
    assert world.nested._known.list_ids() == set()


@pytest.mark.proves("security", "break the cluster of their own nested job, to hold up others' jobs")
def test_an_output_that_is_sent_slowly_holds_up_no_other_job(
    world: World, logs: SlowLogs, look_at_all: Callable[[], None]
) -> None:
    job_id = world.run()
    logs.slow.append(job_id)
    world.end(job_id)
    world.clock.advance(11)  # the next look at it is due
    other = world.submit()
    world.kns.raise_cluster(other)
    look_at_all()
    world.wait_for(lambda: bool(logs.opened) and world.kns.has_inside(other))
    known = world.nested._known.find(other)
    assert known is not None
    with known.lock:  # after the first look
        world.kns.run_pod(other)
        world.clock.advance(3)
    world.wait_for(lambda: world.status(other) is Status.RUNNING)
    assert world.nested.looks.is_synced, "the start of a plugin waits for jobs that live"
    assert not world.outputs.has(job_id)
    logs.ends.set()
    world.wait_for(lambda: world.outputs.has(job_id))


def test_one_user_has_a_share_of_the_savers(
    world: World, logs: SlowLogs, look_at_all: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the outputs of others would be lost with their clusters, ten minutes after their ends."""
    monkeypatch.setattr("kns.launcher.nested.looks._SAVERS", 3)
    for _ in range(5):
        job_id = world.run()
        logs.slow.append(job_id)
        world.end(job_id)
    other = world.run("bob")
    world.end(other)
    world.clock.advance(11)
    look_at_all()
    world.wait_for(lambda: world.outputs.has(other) and len(logs.opened) == 2)
