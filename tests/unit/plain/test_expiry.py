"""A job expires some time after its end, also if no object says when that was."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kns.plain import names
from kns.plain.control import Operation
from kns.plain.inputs import InputFiles
from kns.plain.job import Container, PlainJob
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.objects import build_job
from kns.plain.ports import Object
from kns.plain.state import Status
from tests.fakes.plain_cluster import MemoryCluster
from tests.fakes.stores import FakeClock

DAY_S = 24 * 3600
LOST = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}


class Rig:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.cluster, inputs = MemoryCluster(self.clock), InputFiles(folder)
        build = Build(lambda job, generate_name: build_job(job, generate_name=generate_name), lambda *_: {})
        self.jobs = PlainJobs(self.cluster, name="c", build=build, inputs=inputs)
        self.keeper = Keeper(self.jobs, self.cluster, inputs=inputs, clock=self.clock, expiry=timedelta(seconds=DAY_S))
        self.job_id = self.jobs.submit(PlainJob("a", "ana", Container("i"))).id

    def put_pod(self, status: Object) -> None:
        pod: Object = {
            "metadata": {"name": "pod", "labels": {names.JOB_NAME_LABEL: self.job_id}},
            "spec": {"containers": [{"name": names.CONTAINER}]},
        }
        self.cluster.put_pod({**pod, "status": status})

    def look(self) -> None:
        """As the keeper does by itself: it leaves out what is done."""
        self.keeper._add_all()
        for job_id in self.keeper._due:
            self.keeper.look(job_id)
        self.keeper._due.clear()

    def read_end(self) -> Any:
        return json.loads(self.cluster.stored("jobs", self.job_id)["metadata"]["annotations"][names.END])


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def expires_a_day_after(rig: Rig, end: datetime) -> None:
    rig.look()
    assert datetime.fromisoformat(rig.read_end()["ended"]) == end
    rig.clock.advance(DAY_S - 1)
    rig.look()
    assert rig.jobs.find(rig.job_id).state.is_completed
    rig.clock.advance(1)
    rig.look()
    assert rig.cluster.list_jobs() == []


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Failed", "containerStatuses": [{"name": names.CONTAINER, "state": {"terminated": LOST}}]},
        {"phase": "Failed", "reason": "Evicted"},
    ],
    ids=["container lost", "no container"],
)
def test_an_end_of_unknown_time_counts_from_when_it_was_seen(rig: Rig, status: Object) -> None:
    """The session ran for three days: its record, pod and log must not go at once."""
    rig.clock.advance(3 * DAY_S)
    rig.put_pod(status)
    expires_a_day_after(rig, rig.clock.now())


def test_an_end_of_unknown_time_counts_from_the_end_of_its_kubernetes_job(rig: Rig) -> None:
    """No plugin was running at that time."""
    rig.clock.advance(3 * DAY_S)
    ended = rig.clock.now()
    condition = {"type": "Failed", "status": "True", "lastTransitionTime": ended.isoformat()}
    rig.cluster.set_job_status(rig.job_id, {"conditions": [condition]})
    rig.put_pod({"containerStatuses": [{"name": names.CONTAINER, "state": {"terminated": LOST}}]})
    rig.clock.advance(DAY_S / 2)
    rig.look()
    assert datetime.fromisoformat(rig.read_end()["ended"]) == ended


@pytest.mark.parametrize("is_seen", [False, True])
def test_a_canceled_job_counts_from_the_cancel(rig: Rig, is_seen: bool) -> None:
    """The keeper may look before the Job controller has noted that the Job is suspended."""
    rig.clock.advance(DAY_S + 3600)
    rig.jobs.control(rig.job_id, Operation.CANCEL)
    if is_seen:
        rig.cluster.suspend(rig.job_id)
    assert rig.jobs.find(rig.job_id).state.status is Status.CANCELED
    expires_a_day_after(rig, rig.clock.now())


def test_a_job_that_a_template_suspended_counts_from_the_cancel(rig: Rig) -> None:
    """So do nested jobs, which are suspended from the start."""
    rig.cluster.patch_job(rig.job_id, {"spec": {"suspend": True}})
    rig.cluster.suspend(rig.job_id)
    rig.clock.advance(DAY_S + 3600)
    rig.jobs.control(rig.job_id, Operation.CANCEL)
    expires_a_day_after(rig, rig.clock.now())
