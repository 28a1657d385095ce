"""
The plugin is killed at any call that changes the cluster, before or after it took effect, and started again.

The next process has the cluster and the scratch folder, and nothing else. A job ends as without the interruption, has
one Service while it runs, gets its input, and leaves nothing behind.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kns.adapters.kube.connect import connect_with_token
from kns.adapters.kube.namespaced import NamespacedCluster
from kns.plain import names
from kns.plain.inputs import CLAIM_S, InputFiles
from kns.plain.job import Container, PlainJob, Port
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.kept import KEEP
from kns.plain.objects import build_job, build_service
from kns.plain.state import Status
from tests.fakes.stores import FakeClock
from tests.launcher.cluster import NAMESPACE, SERVICES, Cluster, pod_name
from tests.patience import PATIENCE_S

JOB = PlainJob(
    name="a", user="ana", container=Container("debian"), command="cat", stdin="text", ports=(Port(80),), tags=("t",)
)
CHANGES = ("create_job", "create_service", "delete_service", "delete_job", "patch_job", "patch_pod", "send_input")
MOST_CALLS = 20  # more than a whole life has


class Killed(BaseException):
    """The process is gone: nothing of the program may catch it."""


class Fragile:
    """A cluster whose user dies at its n-th change, before or after it."""

    def __init__(self, cluster: NamespacedCluster, *, at: int, after: bool) -> None:
        self._cluster = cluster
        self._left = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._cluster, name)
        if name not in CHANGES:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            result = real(*args, **kwargs)
            if self._left == 0:
                raise Killed
            return result

        return call


class Process:
    def __init__(self, server: Cluster, scratch: Path, *, at: int = 0, after: bool = False) -> None:
        self.stop = threading.Event()
        client = connect_with_token(server.url, read_token=lambda: "t", authority_file=None)
        self.clock = FakeClock()
        real = NamespacedCluster(client, namespace=NAMESPACE, selector=f"{names.LABEL}=c", clock=self.clock, keep=KEEP)
        cluster: Any = Fragile(real, at=at, after=after)
        inputs = InputFiles(scratch, now=lambda: self.clock.now().timestamp())
        build = Build(
            lambda job, generate_name: build_job(job, generate_name=generate_name),
            lambda job, job_id, service: build_service(job, job_id=job_id, service=service),
        )
        self.jobs = PlainJobs(cluster, name="c", build=build, inputs=inputs)
        self.keeper = Keeper(self.jobs, cluster, inputs=inputs, clock=self.clock, expiry=timedelta(hours=24))
        real.start(self.stop)
        self._server = server
        until(lambda: real.is_synced)

    def see(self, holds: Callable[[], bool]) -> None:
        """Wait until the watch caches have what the cluster has."""
        until(holds)


def until(holds: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.005)


@pytest.fixture
def server() -> Iterator[Cluster]:
    server = Cluster()
    yield server
    server.close()


class Life:
    """One job from its submission to its expiry. Each step can be repeated by the next process."""

    def __init__(self, server: Cluster) -> None:
        self.server = server
        self.steps = [self.submit, self.run, self.keep_running, self.end, self.keep_ended, self.expire]
        self.sent: list[bytes] = []

    def id(self) -> str:
        (job_id,) = self.server.jobs()
        return job_id

    def submit(self, process: Process) -> None:
        if not self.server.jobs():  # the Launcher submits again if it got no answer and sees no job
            process.jobs.submit(JOB)

    def run(self, process: Process) -> None:
        if self.server.find("/api/v1", "pods", NAMESPACE, pod_name(self.id())) is None:
            self.server.run_pod(self.id())
        process.see(lambda: (v := process.jobs.peek(self.id())) is not None and v.state.status is Status.RUNNING)

    def keep_running(self, process: Process) -> None:
        process.keeper.look_at_all()
        process.see(lambda: self.server.find(*SERVICES, NAMESPACE, self.id()) is not None)
        if pod_name(self.id()) not in self.server.inputs:  # the killed process had claimed it
            process.clock.advance(CLAIM_S)
            process.keeper.look_at_all()
        assert self.server.inputs[pod_name(self.id())] == b"text"

    def end(self, process: Process) -> None:
        if "terminated" not in str(self.server.pod(self.id())):
            self.server.end_pod(self.id(), 3)
        process.see(lambda: (v := process.jobs.peek(self.id())) is not None and v.state.status is Status.FINISHED)

    def keep_ended(self, process: Process) -> None:
        process.see(lambda: (v := process.jobs.peek(self.id())) is not None and not v.state.is_unsure)
        process.keeper.look_at_all()
        assert self.server.find(*SERVICES, NAMESPACE, self.id()) is None
        assert process.jobs.find(self.id()).state.exit_code == 3

    def expire(self, process: Process) -> None:
        process.clock.advance(10 * 365 * 24 * 3600)  # the files in scratch have the machine's time
        process.keeper.look_at_all()
        assert self.server.jobs() == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_each_change(server: Cluster, tmp_path: Path, after: bool) -> None:
    for at in range(1, MOST_CALLS):
        scratch = tmp_path / str(at)
        life = Life(server)
        process = Process(server, scratch, at=at, after=after)
        was_killed = False
        for step in life.steps:
            try:
                step(process)
            except Killed:
                was_killed = True
                process.stop.set()
                process = Process(server, scratch)
                step(process)
        process.stop.set()
        server.end_watches()
        assert server.jobs() == []
        assert list((scratch / "stdin").glob("*")) == []
        server.inputs.clear()
        for key in [key for key in server._objects if key[1] in ("pods", "services")]:
            del server._objects[key]
        if not was_killed:
            return
    raise AssertionError("the life of a job has more changes than were tried")
