"""A kill takes effect, whatever the job's image has in the place of the shell that sends the signal."""

from pathlib import Path
from typing import Any

import pytest

from kns.plain.control import Operation
from kns.plain.state import Status
from tests.unit.plain.rig import Plugin

KILL_S = 5.0
ENDED = {"terminated": {"exitCode": 137, "finishedAt": "2026-01-05T14:16:31Z"}}


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


@pytest.fixture
def job_id(plugin: Plugin) -> str:
    job_id = plugin.submit()
    plugin.run_pod(job_id)
    return job_id


def read_deadline(plugin: Plugin, job_id: str) -> Any:
    return plugin.cluster.stored("pods", f"{job_id}-pod")["spec"].get("activeDeadlineSeconds")


def test_the_node_ends_a_container_that_no_kill_ended(plugin: Plugin, job_id: str) -> None:
    assert plugin.jobs.control(job_id, Operation.KILL).is_complete
    plugin.look()
    plugin.clock.advance(KILL_S - 1)
    plugin.look()
    assert read_deadline(plugin, job_id) is None
    plugin.clock.advance(1)
    plugin.look()
    assert read_deadline(plugin, job_id) == 1
    plugin.look()


@pytest.mark.parametrize("operation", [Operation.STOP, Operation.SUSPEND])
def test_nothing_that_follows_revokes_a_kill(plugin: Plugin, job_id: str, operation: Operation) -> None:
    plugin.jobs.control(job_id, Operation.KILL)
    plugin.jobs.control(job_id, operation)
    plugin.look()
    plugin.clock.advance(KILL_S)
    plugin.look()
    assert read_deadline(plugin, job_id) == 1


def test_a_kill_outlives_the_plugin(plugin: Plugin, job_id: str, tmp_path: Path) -> None:
    plugin.jobs.control(job_id, Operation.KILL)
    after = Plugin(tmp_path, plugin.cluster, plugin.clock)
    after.look()
    after.clock.advance(KILL_S)
    after.look()
    assert read_deadline(plugin, job_id) == 1


def test_a_job_may_take_its_time_to_stop(plugin: Plugin, job_id: str) -> None:
    plugin.jobs.control(job_id, Operation.STOP)
    for _ in range(3):
        plugin.look()
        plugin.clock.advance(KILL_S)
    assert read_deadline(plugin, job_id) is None


def test_a_job_that_was_killed_is_left_alone(plugin: Plugin, job_id: str) -> None:
    plugin.jobs.control(job_id, Operation.KILL)
    plugin.look()
    plugin.put_state(job_id, ENDED)
    plugin.clock.advance(KILL_S)
    plugin.look()
    assert read_deadline(plugin, job_id) is None
    assert plugin.jobs.find(job_id).state.status is Status.KILLED
    plugin.look()
    assert plugin.keeper._kills == {}
