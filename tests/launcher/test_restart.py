"""
The cluster is the only store: a plugin that is killed loses nothing, and two plugins agree.

Each test has plugins of its own over the cluster of the module.
"""

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kns.plain import names
from tests.adapters.api_server import failure
from tests.adapters.faulty_server import LostAnswer
from tests.launcher.client import Launcher
from tests.launcher.cluster import JOBS, NAMESPACE, SERVICES, Cluster, pod_name
from tests.launcher.conftest import Start, starting


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Start]:
    """The plugins of one test end with it: they would do the work of the next test's."""
    with starting(cluster, tmp_path) as start_one:
        yield start_one
    cluster.forget_faults()


def begin(start: Start, **settings: Any) -> Launcher:
    launcher = start(**settings)
    assert launcher.bootstrap()["messageType"] == 1
    launcher.send(4, username="*", jobId="*", request_id=900)
    return launcher


def all_jobs(launcher: Launcher) -> dict[str, Any]:
    return {job["id"]: job for job in launcher.get("*")["jobs"]}


def test_killed_and_started_again(start: Start, cluster: Cluster) -> None:
    """J22: jobs, tags, statuses and everything else are the same."""
    first = begin(start)
    jobs = [
        first.submit(command="true", tags=["t"], exposedPorts=[{"targetPort": 80}], environment=[]),
        first.submit(exe="/bin/a", environment=[{"name": "A", "value": "$HOME $(x)"}], user="berta"),
        first.submit(command="true", stdin="later"),
    ]
    cluster.run_pod(jobs[1]["id"])
    first.wait_status(jobs[1]["id"], "Running")
    assert first.ask(5, username="berta", jobId=jobs[1]["id"], operation=0)["operationComplete"] is True
    assert first.ask(5, username="ana", jobId=jobs[0]["id"], operation=4)["operationComplete"] is True
    first.wait_status(jobs[0]["id"], "Canceled")
    first.wait_status(jobs[1]["id"], "Suspended")
    first.until(lambda: names.END in cluster.job(jobs[0]["id"])["metadata"]["annotations"])
    witness = begin(start)
    witness.until(lambda: all_jobs(witness) == all_jobs(first))  # the watches of the first have told it everything
    before = all_jobs(first)
    first.kill()
    second = begin(start)
    second.until(lambda: all_jobs(second) == before)
    cluster.run_pod(jobs[2]["id"])
    second.until(lambda: cluster.inputs.get(pod_name(jobs[2]["id"])) == b"later")


def test_two_plugins_agree(start: Start, cluster: Cluster) -> None:
    """J27: what one does, the other sees, at once and by its stream."""
    one, two = begin(start), begin(start)
    job = one.submit(command="true")
    assert two.get(job["id"])["jobs"][0]["id"] == job["id"]
    two.wait_status(job["id"], "Pending")
    cluster.run_pod(job["id"])
    two.wait_status(job["id"], "Running")
    assert two.ask(5, username="ana", jobId=job["id"], operation=3)["operationComplete"] is True
    cluster.end_pod(job["id"], 137)
    one.wait_status(job["id"], "Killed")
    two.wait_status(job["id"], "Killed")
    one.until(lambda: names.END in cluster.job(job["id"])["metadata"]["annotations"])
    one.until(lambda: all_jobs(one) == all_jobs(two))


def test_clusters_of_two_names_share_a_namespace(start: Start) -> None:
    """P45."""
    one, other = begin(start, cluster="one"), begin(start, cluster="other")
    job = one.submit(command="true")
    assert other.get(job["id"])["errorCode"] == 3
    assert job["id"] not in all_jobs(other)


def test_a_service_that_is_missing_is_made_again(start: Start, cluster: Cluster) -> None:
    """T21: the plugin was killed between the job and its Service."""
    launcher = begin(start)
    cluster.script("POST", "/services", *[failure(503, "ServiceUnavailable")] * 50)
    job = launcher.submit(command="true", exposedPorts=[{"targetPort": 80}])
    launcher.kill()
    cluster.forget_faults()
    assert cluster.find(*SERVICES, NAMESPACE, job["id"]) is None
    again = begin(start)
    again.until(lambda: cluster.find(*SERVICES, NAMESPACE, job["id"]) is not None)


def test_a_refused_service_leaves_no_job(start: Start, cluster: Cluster) -> None:
    launcher = begin(start)
    before = cluster.jobs()
    cluster.script("POST", "/services", *[failure(403, "Forbidden", "exceeded quota: services")] * 50)
    answer = launcher.ask(
        2, username="ana", job={"name": "x", "container": {"image": "i"}, "exposedPorts": [{"targetPort": 80}]}
    )
    assert answer["errorCode"] == 2
    assert "exceeded quota" in answer["errorMessage"]
    launcher.until(lambda: cluster.jobs() == before)


def test_lists_come_in_pages(start: Start, cluster: Cluster) -> None:
    """P16."""
    launcher = begin(start, cluster="pages")
    for _ in range(7):
        launcher.submit(command="true")
    seen = len(cluster.seen)
    other = begin(start, cluster="pages", fetch_limit=2)
    assert len(all_jobs(other)) == 7
    pages = [s.query for s in cluster.seen[seen:] if s.path.endswith("/jobs") and s.query.get("limit") == "2"]
    assert sum("continue" in query for query in pages) >= 3


def test_an_expired_version_is_listed_again(start: Start, cluster: Cluster) -> None:
    """410 Gone."""
    launcher = begin(start)
    job = launcher.submit(command="true")
    launcher.wait_status(job["id"], "Pending")
    cluster.run_pod(job["id"])
    cluster.forget_history()
    cluster.end_watches()
    launcher.wait_status(job["id"], "Running")


def test_a_silent_connection_is_replaced(start: Start, cluster: Cluster) -> None:
    """P15: network equipment may drop an idle connection without a word."""
    launcher = begin(start, watch_timeout_s=1)
    job = launcher.submit(command="true")
    cluster.silent = True
    try:
        cluster.end_watches()
        cluster.run_pod(job["id"])
        launcher.wait_status(job["id"], "Running")
    finally:
        cluster.silent = False


def test_watches_have_their_limit(start: Start, cluster: Cluster) -> None:
    """P15: 0 means no limit."""
    seen = len(cluster.seen)
    begin(start, watch_timeout_s=77).submit(command="true")
    begin(start, watch_timeout_s=0).submit(command="true")
    watches = [s.query for s in cluster.seen[seen:] if s.query.get("watch")]
    assert {query.get("timeoutSeconds") for query in watches} == {"77", None}


def test_expiry(start: Start, cluster: Cluster) -> None:
    """P06: the cluster's clock stands in January, so an hour is over. A running job stays."""
    launcher = begin(start, cluster="expiry", job_expiry_hours=1.0)
    stays, ends = launcher.submit(command="true"), launcher.submit(command="true")
    cluster.run_pod(stays["id"])
    cluster.run_pod(ends["id"])
    launcher.wait_status(ends["id"], "Running")
    cluster.end_pod(ends["id"], 7)
    launcher.until(lambda: cluster.find(*JOBS, NAMESPACE, ends["id"]) is None)
    launcher.until(lambda: launcher.get(ends["id"]).get("errorCode") == 3)
    assert launcher.state(stays["id"])["status"] == "Running"


def test_expiry_by_the_clusters_time(start: Start, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Launcher's clock is a day ahead. Otherwise each job would be deleted with its output when it ends."""
    monkeypatch.setattr(cluster, "time_s", time.time() - 86_400)
    monkeypatch.setattr(cluster, "ends_at", datetime.fromtimestamp(time.time() - 86_400, UTC).isoformat())
    launcher = begin(start, cluster="ahead", job_expiry_hours=1.0)
    first, _ = jobs = [launcher.submit(command="true") for _ in range(2)]
    for job in jobs:
        cluster.run_pod(job["id"])
        launcher.wait_status(job["id"], "Running")
        cluster.end_pod(job["id"], 0)
        launcher.until(partial(_has_stored_end, cluster, job["id"]))
    assert launcher.state(first["id"])["status"] == "Finished"


def _has_stored_end(cluster: Cluster, job_id: str) -> bool:
    return names.END in cluster.job(job_id)["metadata"]["annotations"]


@pytest.mark.parametrize("side_car", [{"running": {}}, {"waiting": {"reason": "ImagePullBackOff"}}])
def test_a_job_ends_with_its_own_container(start: Start, cluster: Cluster, side_car: dict[str, Any]) -> None:
    """T20: a side-car would keep the pod, its room on the node, and the Kubernetes Job."""
    launcher = begin(start)
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    ended = {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-05T14:16:31Z"}
    cluster.set_pod(
        job["id"],
        containerStatuses=[
            {"name": names.CONTAINER, "state": {"terminated": ended}},
            {"name": "side-car", "state": side_car},
        ],
    )
    launcher.wait_status(job["id"], "Finished")
    launcher.until(lambda: cluster.pod(job["id"])["spec"].get("activeDeadlineSeconds") == 1)


def test_a_token_that_was_rotated(start: Start, cluster: Cluster, tmp_path: Path) -> None:
    """P09."""
    token = tmp_path / "token"
    token.write_text("one.two.three\n")
    launcher = begin(start, auth_token="", auth_token_path=str(token))
    assert cluster.seen[-1].headers["authorization"] == "Bearer one.two.three"
    token.write_text("four.five.six\n")
    launcher.until(lambda: _ask_for_network(launcher, cluster) == "Bearer four.five.six")


def _ask_for_network(launcher: Launcher, cluster: Cluster) -> str:
    launcher.get("not-in-any-cache")
    return next(s.headers["authorization"] for s in reversed(cluster.seen) if s.path.endswith("/not-in-any-cache"))


def test_without_the_right_to_see_events(start: Start, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are followed without their warnings."""
    from tests.launcher import cluster as module

    monkeypatch.setitem(module.ROLE, "events", set())
    launcher = begin(start)
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")


def test_an_unreachable_cluster_fails_the_bootstrap(start: Start) -> None:
    """The Launcher waits 120 s; the test waits for the state that leads there: no answer, no end, SIGTERM works."""
    launcher = start(api_url="http://127.0.0.1:9", heartbeat_interval_s=0.05)
    launcher.send(1, version={"major": 3, "minor": 0, "patch": 0})
    launcher.wait_heartbeats(2)
    answer = launcher.get("some-job")
    assert answer["errorCode"] == 0
    assert "not filled yet" in answer["errorMessage"]
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.process.wait(20) == 0


@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_answer_of_a_control(start: Start, cluster: Cluster, times: int) -> None:
    """The cancel took effect, and its answer was lost: asking again says that the job is canceled."""
    launcher = begin(start)
    job = launcher.submit(command="true")
    cluster.make_pod(job["id"])
    for _ in range(times):
        cluster.script("PATCH", f"/jobs/{job['id']}", LostAnswer())
    assert launcher.ask(5, username="ana", jobId=job["id"], operation=4)["messageType"] == -1
    launcher.wait_status(job["id"], "Canceled")
    assert launcher.ask(5, username="ana", jobId=job["id"], operation=4)["errorCode"] == 8
