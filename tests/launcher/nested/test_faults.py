"""From submission to the end, with faults of the network."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from kns.model.errors import KnsError
from kns.plain import names
from kns.plain.state import Status
from tests.adapters.faulty_server import Fault, LostAnswer, Reset, Seen
from tests.launcher.nested.world import World
from tests.patience import PATIENCE_S


def test_a_lost_answer_makes_neither_a_second_job_nor_a_second_cluster(world: World) -> None:
    world.kns.script("POST", "/jarvice/submit", LostAnswer())
    world.host.script("POST", "/jobs", LostAnswer())
    job_id = world.submit()
    assert world.host.jobs() == [job_id]
    assert len(world.kns.submitted) == 1
    world.kns.raise_cluster(job_id)
    world.kns.script("POST", "/jobs", LostAnswer())
    world.nested.looks.look(job_id)
    world.nested.looks.look(job_id)
    assert world.kns.has_inside(job_id)


@pytest.mark.parametrize("fault", [Reset(), LostAnswer()], ids=["reset", "lost"])
def test_a_fault_of_any_call_is_made_good(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    From submission to the end, with one call to kns that fails, each in turn: one cluster, its output saved, and ended.
    """
    position = total = 0
    while position <= total:
        folder = tmp_path / str(position)
        folder.mkdir()
        total = max(total, _run_with_fault(folder, position, fault, monkeypatch))
        position += 1
    assert total > 8


def _run_with_fault(folder: Path, position: int, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many calls there were."""
    world, calls = World(folder), 0
    note = world.kns.note

    def count(seen: Seen) -> Fault | None:
        nonlocal calls
        calls += 1
        return fault if calls == position and note(seen) is None else note(seen)

    monkeypatch.setattr(world.kns, "note", count)
    try:
        for cache in world.records.caches:
            assert cache._synced.wait(PATIENCE_S)

        def again(act: Callable[[], object], holds: Callable[[], bool]) -> None:
            for _ in range(4):
                with contextlib.suppress(KnsError):
                    act()
                world.clock.advance(1)
                if holds():
                    return
            raise AssertionError((position, calls))

        again(world.submit, lambda: bool(world.host.jobs()))
        (job_id,) = world.host.jobs()
        world.kns.raise_cluster(job_id)
        again(lambda: world.nested.looks.look(job_id), lambda: world.kns.has_inside(job_id))
        world.kns.run_pod(job_id)
        again(lambda: world.nested.looks.look(job_id), lambda: world.status(job_id) is Status.RUNNING)
        world.kns.write_log(job_id, "said")
        world.kns.end_pod(job_id)
        again(lambda: world.nested.looks.look(job_id), lambda: world.status(job_id) is Status.FINISHED)
        again(lambda: world.keeper.look(job_id), lambda: names.END in world.host.job(job_id)["metadata"]["annotations"])
        again(lambda: world.nested.looks.look(job_id), lambda: world.outputs.has(job_id))
        world.clock.advance(200)
        again(lambda: world.nested.looks.look(job_id), lambda: world.is_over(job_id))
        for _ in range(4):  # one of them may meet the fault
            with contextlib.suppress(KnsError):
                world.orphans.end_clusters()
        assert [job for job in world.kns.submitted.values() if not job.ended] == []
        assert world.status(job_id) is Status.FINISHED
        return calls
    finally:
        world.close()
