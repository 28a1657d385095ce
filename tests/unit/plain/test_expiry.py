"""A job expires some time after its end, also if no object says when that was."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from kns.launcher.shapes import format_time
from kns.plain import names
from kns.plain.control import Operation
from kns.plain.ports import Object
from kns.plain.state import Status
from tests.unit.plain.rig import DAY_S, Plugin

LOST = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


@pytest.fixture
def job_id(plugin: Plugin) -> str:
    return plugin.submit()


def read_end(plugin: Plugin, job_id: str) -> datetime:
    end = json.loads(plugin.cluster.stored("jobs", job_id)["metadata"]["annotations"][names.END])
    return datetime.fromisoformat(end["ended"])


def expires_a_day_after(plugin: Plugin, job_id: str, end: datetime) -> None:
    plugin.look()
    assert read_end(plugin, job_id) == end
    plugin.clock.advance(DAY_S - 1)
    plugin.look()
    assert plugin.jobs.find(job_id).state.is_completed
    plugin.clock.advance(1)
    plugin.look()
    assert plugin.cluster.list_jobs() == []


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Failed", "containerStatuses": [{"name": names.CONTAINER, "state": {"terminated": LOST}}]},
        {"phase": "Failed", "reason": "Evicted"},
    ],
    ids=["container lost", "no container"],
)
def test_an_end_of_unknown_time_counts_from_when_it_was_seen(plugin: Plugin, job_id: str, status: Object) -> None:
    """The session ran for three days: its record, pod and log must not go at once."""
    plugin.clock.advance(3 * DAY_S)
    plugin.put_pod(job_id, **status)
    expires_a_day_after(plugin, job_id, plugin.clock.now())


def test_an_end_of_unknown_time_counts_from_the_end_of_its_kubernetes_job(plugin: Plugin, job_id: str) -> None:
    """No plugin was running at that time."""
    plugin.clock.advance(3 * DAY_S)
    ended = plugin.clock.now()
    condition = {"type": "Failed", "status": "True", "lastTransitionTime": ended.isoformat()}
    plugin.cluster.set_job_status(job_id, {"conditions": [condition]})
    plugin.put_state(job_id, {"terminated": LOST})
    plugin.clock.advance(DAY_S / 2)
    plugin.look()
    assert read_end(plugin, job_id) == ended


@pytest.mark.parametrize("is_seen", [False, True])
def test_a_canceled_job_counts_from_the_cancel(plugin: Plugin, job_id: str, is_seen: bool) -> None:
    """The keeper may look before the Job controller has noted that the Job is suspended."""
    plugin.clock.advance(DAY_S + 3600)
    plugin.jobs.control(job_id, Operation.CANCEL)
    if is_seen:
        plugin.cluster.suspend(job_id)
    assert plugin.jobs.find(job_id).state.status is Status.CANCELED
    expires_a_day_after(plugin, job_id, plugin.clock.now())


def test_a_job_that_a_template_suspended_counts_from_the_cancel(plugin: Plugin, job_id: str) -> None:
    """So do nested jobs, which are suspended from the start."""
    plugin.cluster.patch_job(job_id, {"spec": {"suspend": True}})
    plugin.cluster.suspend(job_id)
    plugin.clock.advance(DAY_S + 3600)
    plugin.jobs.control(job_id, Operation.CANCEL)
    expires_a_day_after(plugin, job_id, plugin.clock.now())


@pytest.mark.parametrize("time", ["2126-01-05T14:16:31Z", "9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+10:00"])
def test_no_job_stays_for_a_clock_that_is_wrong(plugin: Plugin, job_id: str, time: str) -> None:
    """Whoever is administrator of a nested job's cluster chooses the time there."""
    plugin.put_state(job_id, {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": time}})
    assert format_time(plugin.jobs.find(job_id).state.changed) in (None, "2126-01-05T14:16:31.000000Z")
    expires_a_day_after(plugin, job_id, plugin.clock.now())


def test_no_job_goes_for_a_clock_that_is_behind(plugin: Plugin, job_id: str) -> None:
    """A node that started without the time of day says that a job ended long before it was submitted."""
    plugin.clock.advance(3600)
    plugin.put_state(
        job_id, {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2024-01-01T00:00:00Z"}}
    )
    expires_a_day_after(plugin, job_id, plugin.clock.now())
