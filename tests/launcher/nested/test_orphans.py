"""Clusters and outputs that have no record."""

import os
from pathlib import Path

import pytest

from tests.launcher.nested.world import World


def test_clusters_without_a_record_are_ended_the_second_time(world: World) -> None:
    """A plugin that was killed between the two calls of a submission. Clusters of other plugins are left alone."""
    kept = world.submit()
    mark = world.kns.find_one(kept).label.partition(" ")[0]
    site = world.site
    lost, foreign = (
        site.submit(f"{mark} lost", "kns-small", key="1"),
        site.submit("posit-other x", "kns-small", key="2"),
    )
    near = site.submit(f"not-{mark} x", "kns-small", key="3")
    world.orphans.end_clusters()
    assert not world.kns.submitted[lost].ended
    world.orphans.end_clusters()
    assert world.kns.submitted[lost].ended
    assert [n for n, job in world.kns.submitted.items() if job.ended] == [lost], (foreign, near)


def test_a_cluster_whose_record_this_process_has_not_seen_is_not_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch may be late by more than the time between two calls."""
    job_id = world.submit()
    monkeypatch.setattr(world.records, "list_jobs", list)
    for _ in range(3):
        world.orphans.end_clusters()
    assert not world.kns.find_one(job_id).ended


def test_an_output_whose_record_another_plugin_has_deleted_is_removed(world: World, tmp_path: Path) -> None:
    job_id = world.run()
    world.end(job_id)
    world.nested.looks.look(job_id)
    lost = tmp_path / "nested-output" / "lost"
    lost.write_text("x")
    os.utime(lost, (0, 0))
    world.orphans.remove_outputs()
    assert world.outputs.has(job_id)
    assert not world.outputs.has("lost")
