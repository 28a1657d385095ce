"""What the API server answers to the creation of a job's objects."""

from pathlib import Path

import pytest

from kns.model.errors import ConflictError, KnsError, UnavailableError
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
