"""`kns.plain` over the cluster in memory, with a clock that only a test moves."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from kns.plain import names
from kns.plain.inputs import InputFiles
from kns.plain.job import Container, PlainJob
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.objects import build_job, build_service
from kns.plain.ports import Object
from tests.fakes.plain_cluster import MemoryCluster
from tests.fakes.stores import FakeClock

DAY_S = 24 * 3600
RUNNING: Object = {"running": {"startedAt": "2026-01-05T14:15:31Z"}}
BUILD = Build(
    lambda job, generate_name: build_job(job, generate_name=generate_name),
    lambda job, job_id, service: build_service(job, job_id=job_id, service=service),
)


class Plugin:
    """One of several plugins, if they have a cluster, a folder and a clock in common. Jobs expire after a day."""

    def __init__(self, folder: Path, cluster: MemoryCluster | None = None, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.cluster = cluster or MemoryCluster(self.clock)
        self.inputs = InputFiles(folder, now=lambda: self.clock.now().timestamp())
        self.jobs = PlainJobs(self.cluster, name="c", build=BUILD, inputs=self.inputs)
        self.keeper = Keeper(
            self.jobs, self.cluster, inputs=self.inputs, clock=self.clock, expiry=timedelta(seconds=DAY_S)
        )

    def submit(self, user: str = "ana", *, stdin: str = "") -> str:
        return self.jobs.submit(PlainJob("a", user, Container("i"), stdin=stdin)).id

    def put_pod(self, job_id: str, **status: Any) -> None:
        pod: Object = {
            "metadata": {"name": f"{job_id}-pod", "labels": {names.JOB_NAME_LABEL: job_id}},
            "spec": {"containers": [{"name": names.CONTAINER}]},
        }
        self.cluster.put_pod({**pod, "status": status})

    def run_pod(self, job_id: str) -> None:
        self.put_state(job_id, RUNNING, phase="Running")

    def put_state(self, job_id: str, state: Object, **status: Any) -> None:
        self.put_pod(job_id, containerStatuses=[{"name": names.CONTAINER, "state": state}], **status)

    def look(self) -> None:
        """As the keeper does by itself: it leaves out what is done."""
        self.keeper._add_all()
        for job_id in sorted(self.keeper._due):
            self.keeper.look(job_id)
        self.keeper._due.clear()
