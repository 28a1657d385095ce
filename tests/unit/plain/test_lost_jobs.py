"""A submission whose answer was lost: the user reads that it failed, and the job must not run."""

from datetime import timedelta
from pathlib import Path

import pytest

from kns.adapters.clock import SystemClock
from kns.model.errors import UnavailableError
from kns.plain.inputs import InputFiles
from kns.plain.job import Container, PlainJob
from kns.plain.jobs import Build, PlainJobs
from kns.plain.keeper import Keeper
from kns.plain.kept import read_name
from kns.plain.objects import build_job
from kns.plain.ports import Kept, Object
from tests.fakes.plain_cluster import MemoryCluster


class Away(MemoryCluster):
    """The requests reach the API server, which carries them out when it comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Object] = []
        self.is_away = True

    def create_job(self, obj: Object) -> Kept:
        if not self.is_away:
            return super().create_job(obj)
        self.waiting.append(obj)
        raise UnavailableError("no answer")

    def read_job(self, name: str) -> Kept | None:
        if self.is_away:
            raise UnavailableError("no answer")
        return super().read_job(name)

    def come_back(self) -> None:
        self.is_away = False
        for obj in self.waiting:
            super().create_job(obj)


@pytest.fixture
def cluster() -> Away:
    return Away()


@pytest.fixture
def inputs(tmp_path: Path) -> InputFiles:
    return InputFiles(tmp_path)


@pytest.fixture
def jobs(cluster: Away, inputs: InputFiles) -> PlainJobs:
    build = Build(lambda job, generate_name: build_job(job, generate_name=generate_name), lambda *_: {})
    return PlainJobs(cluster, name="c", build=build, inputs=inputs)


JOB = PlainJob("a", "ana", Container("i"), stdin="x")


def test_a_job_that_appears_after_its_error_is_removed(cluster: Away, jobs: PlainJobs, inputs: InputFiles) -> None:
    keeper = Keeper(jobs, cluster, inputs=inputs, clock=SystemClock(), expiry=timedelta(hours=1))
    with pytest.raises(UnavailableError):
        jobs.submit(JOB)
    cluster.come_back()
    again = jobs.submit(JOB)
    assert len(cluster.list_jobs()) == 2
    keeper.look_at_all()
    assert [read_name(each) for each in cluster.list_jobs()] == [again.id]
    claim = inputs.claim(again.id)
    assert claim is not None
    assert claim.data == b"x"
    assert inputs.claim(cluster.waiting[0]["metadata"]["name"]) is None


def test_what_is_remembered_of_failed_submissions_is_bounded(
    cluster: Away, jobs: PlainJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kns.plain.jobs._MOST_FAILED", 3)
    for _ in range(5):
        with pytest.raises(UnavailableError):
            jobs.submit(JOB)
    names = [obj["metadata"]["name"] for obj in cluster.waiting]
    assert [jobs.has_failed(name) for name in names] == [False, False, True, True, True]
