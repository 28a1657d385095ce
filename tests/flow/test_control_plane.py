"""The control plane of a virtual cluster over a simulated host: it is late, lost or replaced."""

from dataclasses import replace

import pytest

from kns.model.job.conditions import Reason
from kns.model.job.job import JobState
from kns.ports import Kind
from tests.builders import JobBuilder
from tests.fakes.host import UNSCHEDULABLE
from tests.flow.conftest import Simulation


def test_spawn_delay_ends_the_job_with_the_pods_own_words(sim: Simulation, job: JobBuilder) -> None:
    """
    The control plane is unschedulable: the job fails after the delay, and the last line is the scheduler's message.
    """
    sim.configure(spawn_delay_s=8)
    sim.host.schedulable = False
    sim.submit(job)
    sim.run(until="retained")

    status = sim.job.status
    assert (status.job_status, status.exit_code) == (JobState.FAILED, 1)
    assert status.end_time is not None
    assert status.spawn_start_time is not None
    assert (status.end_time - status.spawn_start_time).total_seconds() == 8
    assert UNSCHEDULABLE in sim.outputs.read(sim.record).lines()[-1]
    assert sim.host.left == []


def test_a_lost_control_plane_ends_the_job(sim: Simulation, job: JobBuilder) -> None:
    """Another control-plane pod means an empty cluster, which must not be taken for the old one."""
    sim.submit(job)
    sim.run(until="serving")
    sim.host.drop(Kind.POD, "kns-job-7", "kns-job-7-0")
    sim.host.settle()
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.CONTROL_PLANE_LOST


def _with_volumes(sim: Simulation, storage_class: str) -> None:
    sim.configure(virtual=replace(sim.site.virtual, storage_class=storage_class))


def test_with_a_volume_another_control_plane_pod_is_the_same_cluster(sim: Simulation, job: JobBuilder) -> None:
    _with_volumes(sim, "fast")
    sim.submit(job)
    sim.run(until="serving")
    sim.host.drop(Kind.POD, "kns-job-7", "kns-job-7-0")
    sim.host.settle()
    assert sim.step().summary == "serving"


@pytest.mark.parametrize(("then", "now"), [("", "fast"), ("fast", "")], ids=["switched on", "switched off"])
def test_a_running_job_outlives_the_setting_of_its_volume(
    sim: Simulation, job: JobBuilder, then: str, now: str
) -> None:
    """The setting at the job's start decides whether it has a volume, and so what the loss of its pod means."""
    _with_volumes(sim, then)
    sim.submit(job)
    sim.run(until="serving")
    _with_volumes(sim, now)
    assert sim.step().summary == "serving"
    sim.host.drop(Kind.POD, "kns-job-7", "kns-job-7-0")
    sim.host.settle()
    sim.run(until="serving" if then else "ended")
    assert sim.job.status.reason == (None if then else Reason.CONTROL_PLANE_LOST)


def test_an_evicted_control_plane_is_noticed_beside_its_replacement(sim: Simulation, job: JobBuilder) -> None:
    """The evicted pod stays as an object; the newer pod with the empty cluster serves."""
    sim.submit(job)
    sim.run(until="serving")
    sim.clock.advance(60)
    old = sim.host.read(Kind.POD, "kns-job-7", "kns-job-7-0")
    assert old is not None
    sim.host.put(Kind.POD, "kns-job-7", "kns-job-7-1", {"metadata": {"labels": old["metadata"]["labels"]}})
    sim.run(until="ended")
    assert sim.job.status.reason == Reason.CONTROL_PLANE_LOST
