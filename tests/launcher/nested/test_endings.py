"""What follows the end of a nested job: its output, and the end of its cluster."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kns.launcher.nested.endings import GIVE_UP_S, LINGER_S
from kns.plain.state import Status
from tests.adapters.faulty_server import Answer
from tests.launcher.cluster import pod_name
from tests.launcher.nested.world import SlowLogs, World
from tests.patience import PATIENCE_S


def test_a_cluster_stays_a_minute_for_other_plugins_and_no_longer(world: World) -> None:
    job_id = world.run()
    world.end(job_id)
    world.nested.looks.look(job_id)
    assert world.outputs.has(job_id)
    assert not world.kns.find_one(job_id).ended
    world.clock.advance(LINGER_S)
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended
    assert world.is_over(job_id)
    calls = len(world.kns.seen)
    world.nested.looks.look(job_id)
    assert len(world.kns.seen) == calls, "a job that is over costs nothing"


def test_a_side_car_that_cannot_be_ended_does_not_keep_the_cluster(world: World) -> None:
    """Whoever is administrator inside may refuse changes of pods, and would have the cluster without an end."""
    job_id = world.run()
    world.kns.end_pod(job_id)
    ended = world.kns.pod(job_id)["status"]["containerStatuses"]
    world.kns.set_pod(job_id, containerStatuses=[*ended, {"name": "side-car", "state": {"running": {}}}])
    world.kns.script(
        "PATCH", pod_name(job_id), *[Answer(403, {"message": "admission webhook denied the request"})] * 10
    )
    world.nested.looks.look(job_id)
    world.keeper.look(job_id)
    assert world.jobs.find(job_id).stored.end
    world.clock.advance(LINGER_S + 61)
    world.nested.looks.look(job_id)
    assert world.is_over(job_id)


def test_an_output_that_cannot_be_read_does_not_keep_the_cluster(world: World) -> None:
    job_id = world.run()
    world.end(job_id)
    world.clock.advance(LINGER_S)
    world.kns.script("GET", "/log", *[Answer(500, {"message": "broken"})] * 3)
    world.nested.looks.look(job_id)
    assert not world.kns.find_one(job_id).ended
    world.clock.advance(GIVE_UP_S)
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended
    assert world.jobs.find(job_id).state.status is Status.FINISHED


def test_an_output_that_cannot_be_written_does_not_keep_the_cluster(world: World, tmp_path: Path) -> None:
    job_id = world.run()
    world.end(job_id)
    (tmp_path / "nested-output").write_text("a file, where the folder should be")
    world.nested.looks.look(job_id)
    assert not world.kns.find_one(job_id).ended, "somebody may repair it"
    world.clock.advance(GIVE_UP_S + 1)
    world.nested.looks.look(job_id)
    assert world.kns.find_one(job_id).ended
    assert world.is_over(job_id)


def test_an_output_that_is_sent_slowly_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = world.run()
    world.end(job_id)

    def drip(*_: object) -> Iterator[bytes]:
        for _part in range(10):
            world.clock.advance(7)
            yield b"2026-01-05T14:15:31.000000000Z x"

    monkeypatch.setattr(world.kns, "_read_log", drip)
    world.nested.looks.look(job_id)
    assert not world.outputs.has(job_id)
    monkeypatch.undo()
    world.nested.looks.look(job_id)
    assert world.outputs.has(job_id)


def test_an_output_that_sends_nothing_more_is_closed_when_its_time_is_over(
    world: World, logs: SlowLogs, look_at_all: Callable[[], None]
) -> None:
    job_id = world.run()
    logs.slow.append(job_id)
    world.end(job_id)
    world.clock.advance(11)
    look_at_all()
    world.wait_for(lambda: bool(logs.opened))
    world.wait_for(lambda: bool(world.nested.looks._endings._logs))
    known = world.nested._known.find(job_id)
    assert known is not None
    known.due += 120  # or the next look may begin before this test sees the end of this one
    world.clock.advance(61)
    world.wait_for(lambda: not world.nested.looks._busy)
    assert not world.outputs.has(job_id), "a part of an output is none"
    logs.slow.clear()
    world.clock.advance(121)
    world.wait_for(lambda: world.outputs.has(job_id))


def test_an_output_that_waits_for_its_turn_is_not_given_up(world: World, logs: SlowLogs) -> None:
    """After an outage of more than ten minutes, all outputs of a user are old and come at once."""
    ended = []
    for _ in range(3):
        ended.append(world.run())
        world.end(ended[-1])
    world.clock.advance(GIVE_UP_S + 1)
    logs.slow += ended[:2]
    with ThreadPoolExecutor(2) as pool:
        saves = [pool.submit(world.nested.looks.look, job_id) for job_id in ended[:2]]
        world.wait_for(lambda: len(logs.opened) == 2)
        world.nested.looks.look(ended[2])
        assert not world.is_over(ended[2])
        logs.ends.set()
        for save in saves:
            save.result(PATIENCE_S)
    world.nested.looks.look(ended[2])
    assert world.outputs.has(ended[2])
    assert world.is_over(ended[2])
