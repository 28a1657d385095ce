"""How a job ended is stored once and for good, although the watch of Jobs may be behind that of pods."""

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest

from kns.adapters.clock import SystemClock
from kns.launcher.frames import FrameReader, Outbox
from kns.launcher.status_streams import StatusStreams
from kns.model.errors import UnavailableError
from kns.plain import names
from kns.plain.inputs import InputFiles
from kns.plain.job import Container, PlainJob
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.objects import build_job
from kns.plain.ports import Kept, Object
from kns.plain.state import Asked, State, Status, encode_end
from tests.fakes.plain_cluster import MemoryCluster

JOB = PlainJob("a", "ana", Container("i"), stdin="x")


class Behind(MemoryCluster):
    """The watch of the Jobs stops; the pods, and what is read from the API server, are as they are now."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self._seen: dict[str, Kept] | None = None

    def stop_watch_of_jobs(self) -> None:
        self._seen = dict(self._cache("jobs"))

    def find_job(self, name: str) -> Kept | None:
        return super().find_job(name) if self._seen is None else self._seen.get(name)

    def read_job(self, name: str) -> Kept | None:
        """The job is kept, as the port says."""
        self.reads += 1
        read = super().read_job(name)
        if read is not None and self._seen is not None:
            self._seen[name] = read
        return read


class Plugin:
    """One of two plugins: this one does not see what the other one writes."""

    def __init__(self, folder: Path) -> None:
        self.cluster, self.inputs = Behind(), InputFiles(folder)
        build = Build(lambda job, generate_name: build_job(job, generate_name=generate_name), lambda *_: {})
        self.jobs = PlainJobs(self.cluster, name="c", build=build, inputs=self.inputs)
        self.keeper = Keeper(
            self.jobs, self.cluster, inputs=self.inputs, clock=SystemClock(), expiry=timedelta(days=100_000)
        )
        self.job_id = self.jobs.submit(JOB).id

    def annotate(self, key: str, value: str) -> None:
        self.cluster.patch_job(self.job_id, {"metadata": {"annotations": {key: value}}})

    def end_pod(self) -> None:
        ended = {"exitCode": 137, "reason": "Error", "finishedAt": "2026-01-05T14:16:31Z"}
        pod: Object = {
            "metadata": {"name": "pod", "labels": {names.JOB_NAME_LABEL: self.job_id}},
            "spec": {"containers": [{"name": names.CONTAINER}]},
            "status": {"containerStatuses": [{"name": names.CONTAINER, "state": {"terminated": ended}}]},
        }
        self.cluster.put_pod(pod)

    def read_end(self) -> str:
        annotations = self.cluster.stored("jobs", self.job_id)["metadata"]["annotations"]
        return str(annotations.get(names.END, ""))


class Sink(io.BytesIO):
    def statuses(self) -> list[str]:
        return [json.loads(frame)["status"] for frame in FrameReader(max_bytes=1 << 20).feed(self.getvalue())]


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def test_a_job_that_another_plugin_killed_is_killed(plugin: Plugin) -> None:
    plugin.cluster.stop_watch_of_jobs()
    plugin.annotate(names.ASKED, str(Asked.KILL))
    plugin.end_pod()
    plugin.keeper.look(plugin.job_id)
    assert f'"status": "{Status.KILLED}"' in plugin.read_end()
    assert '"message": "killed by its user"' in plugin.read_end()


def test_the_launcher_is_told_of_one_end_only(plugin: Plugin) -> None:
    """The end of a job is final for the Launcher."""
    streams = StatusStreams(plugin.jobs, Outbox(sink := Sink(), max_bytes=1 << 20))
    streams.open(1, "*", "*")
    plugin.cluster.stop_watch_of_jobs()
    plugin.annotate(names.ASKED, str(Asked.KILL))
    plugin.end_pod()
    assert not streams._look(plugin.job_id)
    streams._confirm(plugin.job_id)
    assert sink.statuses() == ["Pending", "Killed"]


def test_a_launcher_is_told_of_an_end_that_cannot_be_confirmed(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Kept | None:
        raise UnavailableError(f"no answer about {name}")

    streams = StatusStreams(plugin.jobs, Outbox(sink := Sink(), max_bytes=1 << 20))
    streams.open(1, "*", "*")
    monkeypatch.setattr(plugin.cluster, "read_job", fail)
    plugin.end_pod()
    assert not streams._look(plugin.job_id)
    streams._confirm(plugin.job_id)
    assert sink.statuses() == ["Pending", "Finished"]


def test_an_end_that_another_plugin_has_stored_stays(plugin: Plugin) -> None:
    plugin.cluster.stop_watch_of_jobs()
    end = encode_end(State(Status.KILLED, "its pod was deleted"))
    plugin.annotate(names.END, end)
    plugin.end_pod()
    plugin.keeper.look(plugin.job_id)
    assert plugin.read_end() == end


def test_a_job_that_is_gone_needs_nothing(plugin: Plugin) -> None:
    plugin.end_pod()
    plugin.cluster.stop_watch_of_jobs()
    pod = plugin.cluster.stored("pods", "pod")
    plugin.cluster.delete_job(plugin.job_id, uid=plugin.cluster.stored("jobs", plugin.job_id)["metadata"]["uid"])
    plugin.cluster.put_pod(pod)
    plugin.keeper.look(plugin.job_id)
    assert plugin.cluster.list_jobs() == []


def test_the_job_is_read_once_for_its_end(plugin: Plugin) -> None:
    plugin.keeper.look(plugin.job_id)
    assert plugin.cluster.reads == 0
    plugin.end_pod()
    for _ in range(3):
        plugin.keeper.look(plugin.job_id)
    assert plugin.cluster.reads == 1
