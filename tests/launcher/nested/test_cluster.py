"""The cluster of the plugin's jobs: submissions, records, and what is shown of jobs that have ended."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kns.adapters.kube.namespaced import NamespacedCluster
from kns.launcher.nested.cluster import _saved_pod
from kns.launcher.nested.endings import LINGER_S
from kns.launcher.ports import Options
from kns.launcher.process import connect_nested
from kns.model.errors import KnsError
from tests.adapters.faulty_server import Answer
from tests.fakes.stores import FakeClock
from tests.launcher.cluster import NAMESPACE
from tests.launcher.kns_server import APP, write_credentials
from tests.launcher.nested.world import World

CONFLICT = Answer(409, {"reason": "Conflict", "message": "Operation cannot be fulfilled on resourcequotas"})


def test_a_quota_that_changes_at_the_same_moment_makes_no_second_cluster(world: World) -> None:
    """Each job of kns counts against the submissions per minute, which all users of the plugin have together."""
    world.host.script("POST", "/jobs", *[CONFLICT] * 4)
    job_id = world.submit()
    assert world.host.jobs() == [job_id]
    assert [job.ended for job in world.kns.submitted.values()] == [""]


def test_conflicts_that_do_not_end_leave_no_cluster(world: World) -> None:
    world.host.script("POST", "/jobs", *[CONFLICT] * 99)
    with pytest.raises(KnsError, match=r"resourcequotas.*; submit the job again"):
        world.submit()
    assert world.host.jobs() == []
    assert [bool(job.ended) for job in world.kns.submitted.values()] == [True]


def test_what_is_remembered_of_jobs_with_a_saved_output_is_bounded(world: World) -> None:
    """Another plugin deletes the records of some, and this one does nothing for them any more."""
    job_id = world.run()
    world.end(job_id)
    world.nested.looks.look(job_id)
    world.clock.advance(LINGER_S)
    world.nested.looks.look(job_id)
    assert world.is_over(job_id)
    (pod,) = world.nested.list_pods(job_id)
    assert world.nested.list_pods(job_id)[0] is pod, "views are made once"
    for number in range(20_000):
        _saved_pod(f"{job_id}-{number}", job_id)
    assert _saved_pod.cache_info().currsize < 20_000


def test_two_sites_whose_api_servers_have_one_address_end_no_clusters_of_each_other(tmp_path: Path) -> None:
    marks = set()
    for authority in ("one", "two"):
        options = SimpleNamespace(
            can_nest=True,
            nested_url="http://127.0.0.1:9",
            nested_credentials_path=Path(write_credentials(tmp_path)),
            nested_app=APP,
            nested_authority_path=None,
            nested_machine="",
            scratch_path=tmp_path,
            api_url="https://10.96.0.1",
            namespace=NAMESPACE,
            cluster="Kubernetes",
            certificate_authority=authority,
        )
        nested = connect_nested(cast(Options, options), cast(NamespacedCluster, None), FakeClock())
        assert nested is not None
        marks.add(nested._mark)
    assert len(marks) == 2
