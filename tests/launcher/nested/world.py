"""Nested jobs without the process: one plugin's parts over a host and kns that are fakes."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kns.adapters.kube.connect import connect_with_token
from kns.adapters.kube.namespaced import NamespacedCluster
from kns.launcher.nested.cluster import NestedJobs
from kns.launcher.nested.orphans import Orphans
from kns.launcher.nested.outputs import OutputFiles
from kns.launcher.nested.records import build_mark
from kns.launcher.nested.site import RemoteKns
from kns.model import names as kns_names
from kns.plain import names
from kns.plain.inputs import InputFiles
from kns.plain.job import Container, PlainJob
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.kept import KEEP
from kns.plain.objects import build_job, build_service
from kns.plain.state import Status
from tests.adapters.faulty_server import Seen
from tests.fakes.stores import FakeClock
from tests.launcher.cluster import NAMESPACE, Cluster, pod_name
from tests.launcher.kns_server import APP, KnsServer, write_credentials
from tests.patience import PATIENCE_S


class World:
    """Records, kns, and one plugin's parts without its threads, except the watches of the records."""

    def __init__(self, folder: Path) -> None:
        self.host, self.kns, self.clock = Cluster(), KnsServer(), FakeClock()
        self.stop = threading.Event()
        self.client = client = connect_with_token(self.host.url, read_token=lambda: "a.b.c", authority_file=None)
        selector = f"{names.LABEL}={kns_names.label_value('Kubernetes')}"
        self.records = NamespacedCluster(client, namespace=NAMESPACE, selector=selector, clock=self.clock, keep=KEEP)
        self.records.start(self.stop)
        self.outputs = OutputFiles(folder)
        self.nested = self.start(folder)
        self.orphans = Orphans(self.records, self.site, outputs=self.outputs, clock=self.clock, mark=build_mark("here"))
        inputs = InputFiles(folder)
        build = Build(
            lambda job, name: build_job(job, generate_name=name),
            lambda job, job_id, service: build_service(job, job_id=job_id, service=service),
        )
        self.jobs = PlainJobs(self.nested, name="Kubernetes", build=build, inputs=inputs)
        self.keeper = Keeper(self.jobs, self.nested, inputs=inputs, clock=self.clock, expiry=timedelta(hours=24))

    def start(self, folder: Path) -> NestedJobs:
        self.site = RemoteKns(self.kns.url, credentials_path=Path(write_credentials(folder)), app=APP)
        return NestedJobs(self.records, self.site, outputs=self.outputs, clock=self.clock, place="here")

    def close(self) -> None:
        self.stop.set()
        self.nested.close()
        self.site.close()
        self.client.close()
        self.host.close()
        self.kns.close()

    def submit(self, user: str = "ana") -> str:
        job = PlainJob(name="x", user=user, container=Container("debian"), command="true", nested=True)
        return self.jobs.submit(job).id

    def run(self, user: str = "ana") -> str:
        job_id = self.submit(user)
        self.kns.raise_cluster(job_id)
        self.nested.looks.look(job_id)
        self.kns.run_pod(job_id)
        self.nested.looks.look(job_id)
        assert self.status(job_id) is Status.RUNNING
        return job_id

    def end(self, job_id: str) -> None:
        """The container ends at 14:16:31, a minute after the start of the clock."""
        self.clock.advance(61)
        self.kns.write_log(job_id, "said")
        self.kns.end_pod(job_id)
        self.nested.looks.look(job_id)
        self.keeper.look(job_id)

    def status(self, job_id: str) -> Status:
        return self.jobs.find(job_id).state.status

    def is_over(self, job_id: str) -> bool:
        return names.NESTED_OVER in self.host.job(job_id)["metadata"]["annotations"]

    def wait_for(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline
            self.stop.wait(0.01)


class SlowLogs:
    """The outputs of some jobs do not come to their end until `ends` is set."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slow: list[str] = []
        self.opened: list[str] = []  # pods
        self.ends = threading.Event()
        self._read = world.kns._read_log
        monkeypatch.setattr(world.kns, "_read_log", self._read_slowly)

    def _read_slowly(self, pod: str, seen: Seen) -> Iterator[bytes]:
        yield from self._read(pod, seen)
        if pod in map(pod_name, self.slow):
            self.opened.append(pod)
            self.ends.wait(PATIENCE_S)
