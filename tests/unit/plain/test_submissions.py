"""What the API server answers to the creation of a job's objects."""

from pathlib import Path

import pytest

from kns.model.errors import ConflictError, KnsError, RefusedError, UnavailableError
from kns.plain.job import Container, PlainJob, Port
from kns.plain.ports import Kept, Object
from tests.fakes.plain_cluster import MemoryCluster
from tests.unit.plain.rig import Plugin


class Refusing(MemoryCluster):
    """Refuses the next jobs with these errors."""

    def __init__(self, *errors: KnsError) -> None:
        super().__init__()
        self.errors = list(errors)

    def create_job(self, obj: Object) -> Kept:
        if self.errors:
            raise self.errors.pop(0)
        return super().create_job(obj)


class FullOfServices(MemoryCluster):
    """Has no room for a Service, and is slow at that moment."""

    is_slow = True

    def create_service(self, obj: Object) -> None:
        raise RefusedError("create Service: 403, exceeded quota: services.nodeports")

    def delete_job(self, name: str, *, uid: str) -> None:
        if self.is_slow:
            raise UnavailableError("no answer")
        super().delete_job(name, uid=uid)


CONFLICT = ConflictError("create Job a: 409, Operation cannot be fulfilled on resourcequotas: the object was modified")


def list_inputs(folder: Path) -> list[str]:
    """The jobs whose stdin waits."""
    return [path.name.partition("~")[0] for path in (folder / "stdin").iterdir()]


def test_a_quota_that_many_submissions_change_at_once_refuses_none(tmp_path: Path) -> None:
    """The API server gives up after three conflicts of its own, and has created nothing."""
    plugin = Plugin(tmp_path, Refusing(*[CONFLICT] * 4))
    job_id = plugin.submit(stdin="x")
    assert [obj["metadata"]["name"] for obj in plugin.cluster.list_jobs()] == [job_id]
    assert list_inputs(tmp_path) == [job_id]


def test_conflicts_that_do_not_end_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"resourcequotas.*; submit the job again"):
        Plugin(tmp_path, Refusing(*[CONFLICT] * 9)).submit(stdin="x")
    assert list_inputs(tmp_path) == []


def test_a_submission_that_has_become_too_old_is_not_tried_again(tmp_path: Path) -> None:
    """Its user has read that it failed, and may have submitted the job again."""
    plugin, answers = Plugin(tmp_path, Refusing(*[CONFLICT] * 4)), [None, None, UnavailableError("too old")]

    def check() -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    with pytest.raises(UnavailableError, match="too old"):
        plugin.jobs.submit(PlainJob("a", "ana", Container("i"), stdin="x"), check=check)
    assert plugin.cluster.list_jobs() == []
    assert list_inputs(tmp_path) == []


def test_a_job_whose_service_is_refused_does_not_stay(tmp_path: Path) -> None:
    """Its user reads that the submission failed, and why."""
    plugin = Plugin(tmp_path, cluster := FullOfServices())
    with pytest.raises(RefusedError, match="exceeded quota"):
        plugin.jobs.submit(PlainJob("a", "ana", Container("i"), ports=(Port(80),), stdin="x"))
    assert list_inputs(tmp_path) == []
    cluster.is_slow = False
    plugin.look()
    assert cluster.list_jobs() == []
