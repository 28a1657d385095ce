"""Nested jobs through the real process: records on the host, clusters of kns, the same answers as for plain jobs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kns.plain import names
from tests.adapters.faulty_server import Answer
from tests.launcher.client import Launcher
from tests.launcher.cluster import Cluster, pod_name
from tests.launcher.conftest import Start
from tests.launcher.kns_server import APP, KnsServer, write_credentials


@pytest.fixture(scope="module")
def kns() -> Iterator[KnsServer]:
    server = KnsServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def settings(kns: KnsServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "profile": {"nested": True},
        "nested_url": kns.url,
        "nested_credentials_path": write_credentials(tmp_path_factory.mktemp("kns")),
        "nested_app": APP,
    }


def begin(start: Start, **settings: Any) -> Launcher:
    launcher = start(**settings)
    assert launcher.bootstrap()["messageType"] == 1
    launcher.send(4, username="*", jobId="*", request_id=900)
    return launcher


@pytest.fixture(scope="module")
def launcher(start: Start, settings: dict[str, Any]) -> Launcher:
    return begin(start, **settings)


def run(launcher: Launcher, kns: KnsServer, **job: Any) -> str:
    """A job whose container runs in its cluster."""
    job_id: str = launcher.submit(**{"command": "sleep 100", **job})["id"]
    kns.raise_cluster(job_id)
    launcher.until(partial(kns.has_inside, job_id))
    kns.run_pod(job_id)
    launcher.wait_status(job_id, "Running")
    return job_id


def refuse(launcher: Launcher, **job: Any) -> str:
    given = {"name": "x", "container": {"image": "debian"}, "command": "true", **job}
    answer = launcher.ask(2, username="ana", job=given)
    assert (answer["messageType"], answer["errorCode"]) == (-1, 2), answer
    said: str = answer["errorMessage"]
    return said


def test_a_session_from_submission_to_nothing_left(launcher: Launcher, kns: KnsServer, cluster: Cluster) -> None:
    job = launcher.submit(
        name="My Session",
        command="rsession",
        exposedPorts=[{"targetPort": 8787}],
        environment=[{"name": "A", "value": "$(x)"}],
        resourceLimits=[{"type": "cpuCount", "value": "4"}, {"type": "memory", "value": "2048"}],
        tags=["one"],
    )
    job_id = job["id"]
    assert (job["status"], job["tags"]) == ("Pending", ["one"])
    record = cluster.job(job_id)
    assert record["spec"]["suspend"] is True
    assert record["metadata"]["annotations"][names.NESTED] == str(kns.find_one(job_id).number)
    assert kns.find_one(job_id).machine == "kns-large", "the smallest with four processors"
    launcher.wait(lambda m: m.get("id") == job_id and "starting virtual cluster" in m.get("statusMessage", ""))

    kns.raise_cluster(job_id)
    launcher.until(lambda: kns.has_inside(job_id))
    inside = kns.job(job_id)
    assert "suspend" not in inside["spec"]
    assert inside["metadata"].get("annotations") is None
    (container,) = inside["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "$$(x)"}]
    kns.make_pod(job_id)
    kns.warn("Pod", pod_name(job_id), "FailedScheduling", "0/3 nodes are available")
    launcher.wait(lambda m: m.get("id") == job_id and "FailedScheduling" in m.get("statusMessage", ""))
    kns.run_pod(job_id)
    launcher.wait_status(job_id, "Running")
    network = launcher.ask(8, username="ana", jobId=job_id)
    assert network["ipAddresses"] == ["10.244.0.9"], "the pod's own address: there are no node ports"
    assert launcher.state(job_id)["exposedPorts"] == [{"targetPort": 8787, "protocol": "TCP"}]

    request = launcher.follow(job_id)
    kns.write_log(job_id, "hello\nworld")
    launcher.wait(lambda m: m["requestId"] == request and "world" in m.get("output", ""))
    kns.end_pod(job_id, 3)
    launcher.wait_status(job_id, "Finished")
    assert launcher.output(request)[0] == "hello\nworld\n"
    assert launcher.state(job_id)["exitCode"] == 3

    launcher.until(lambda: bool(kns.find_one(job_id).ended))
    launcher.until(lambda: names.NESTED_OVER in cluster.job(job_id)["metadata"]["annotations"])
    assert launcher.output(launcher.follow(job_id))[0] == "hello\nworld\n", "after the end of the cluster, too"
    assert cluster.beyond_role == []


def test_usage_is_that_of_the_job_of_kns(launcher: Launcher, kns: KnsServer) -> None:
    job_id = run(launcher, kns)
    request = launcher.send(7, username="ana", jobId=job_id)
    used = launcher.wait(lambda m: m["messageType"] == 6 and any(s["requestId"] == request for s in m["sequences"]))
    assert (used["cpuPercent"], used["residentMemory"]) == (100.0, 64.0), "half of the two processors of kns-small"
    kns.end_pod(job_id)
    launcher.wait_status(job_id, "Finished")


def test_control_goes_through_kns(launcher: Launcher, kns: KnsServer) -> None:
    job_id = run(launcher, kns)
    assert launcher.control(job_id, 0)["operationComplete"] is True
    launcher.wait_status(job_id, "Suspended")
    assert kns.commands[-1][-1] == "STOP"
    assert launcher.control(job_id, 1)["operationComplete"] is True
    assert launcher.control(job_id, 2)["operationComplete"] is True
    assert kns.commands[-1][-1] == "TERM"
    kns.end_pod(job_id, 143)
    launcher.wait_status(job_id, "Killed")


def test_stdin_goes_through_kns(launcher: Launcher, kns: KnsServer) -> None:
    job_id = run(launcher, kns, command="", exe="/bin/sh", stdin="echo hi\n")
    launcher.until(lambda: kns.inputs.get(pod_name(job_id)) == b"echo hi\n")
    kns.end_pod(job_id)
    launcher.wait_status(job_id, "Finished")


def test_a_job_that_waits_is_canceled_with_its_cluster(launcher: Launcher, kns: KnsServer) -> None:
    job_id = launcher.submit(command="true")["id"]
    assert launcher.control(job_id, 4)["operationComplete"] is True
    launcher.wait_status(job_id, "Canceled")
    launcher.until(lambda: bool(kns.find_one(job_id).ended))
    assert not kns.has_inside(job_id)


@pytest.mark.parametrize(
    ("is_up", "status", "said"),
    [(False, "Failed", "its cluster has ended: the image is missing"), (True, "Killed", "its cluster has ended")],
)
def test_a_cluster_that_ends_ends_the_job(
    launcher: Launcher, kns: KnsServer, is_up: bool, status: str, said: str
) -> None:
    job_id = run(launcher, kns) if is_up else launcher.submit(command="true")["id"]
    kns.end(job_id, "the image is missing")
    assert said in launcher.wait_status(job_id, status)["statusMessage"]


def test_a_job_that_its_cluster_does_not_accept(launcher: Launcher, kns: KnsServer) -> None:
    kns.script("POST", "/jobs", Answer(422, {"kind": "Status", "reason": "Invalid", "message": "no such field"}))
    job_id = launcher.submit(command="true")["id"]
    kns.raise_cluster(job_id)
    assert "no such field" in launcher.wait_status(job_id, "Failed")["statusMessage"]
    launcher.until(lambda: bool(kns.find_one(job_id).ended))


def test_a_pod_that_is_deleted_inside_ends_the_job(launcher: Launcher, kns: KnsServer) -> None:
    job_id = run(launcher, kns)
    kns.set_condition(job_id, "Failed")
    kns.drop("/api/v1", "pods", "rstudio", pod_name(job_id))
    assert "its pod was deleted" in launcher.wait_status(job_id, "Killed")["statusMessage"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"mounts": [{"type": "nfs", "mountPath": "/home", "source": {"host": "nfs01", "path": "/home"}}]},
        "storage of the host is not reachable inside",
    ),
    ({"config": [{"name": "secret", "value": "s:k:V"}]}, "comes from a Secret"),
    ({"exposedPorts": [{"targetPort": 80, "publishedPort": 8080}]}, "a published port is a port of the node"),
    ({"host": "node-1"}, "belongs to the host"),
    ({"resourceLimits": [{"type": "cpuCount", "value": "100"}]}, "no machine of kns has 100 processors"),
]


@pytest.mark.parametrize(("job", "said"), REFUSED, ids=[row[1] for row in REFUSED])
def test_what_cannot_run_nested_is_refused_and_nothing_is_made(
    launcher: Launcher, kns: KnsServer, cluster: Cluster, job: dict[str, Any], said: str
) -> None:
    before = (len(kns.submitted), cluster.jobs())
    assert said in refuse(launcher, **job)
    assert (len(kns.submitted), cluster.jobs()) == before


def test_what_kns_refuses_is_said(launcher: Launcher, kns: KnsServer, cluster: Cluster) -> None:
    before = cluster.jobs()
    kns.refusal = Answer(400, {"error": "Application not found"}, {"Content-Type": "application/json"})
    try:
        assert "kns said 400, Application not found" in refuse(launcher)
    finally:
        kns.refusal = None
    assert cluster.jobs() == before


def test_a_record_that_the_cluster_refuses_leaves_no_job_of_kns(
    launcher: Launcher, kns: KnsServer, cluster: Cluster
) -> None:
    cluster.script("POST", "/jobs", Answer(403, {"reason": "Forbidden", "message": "exceeded quota: jobs"}))
    before = set(kns.submitted)
    answer = launcher.ask(2, username="ana", job={"name": "x", "container": {"image": "debian"}, "command": "true"})
    assert answer["messageType"] == -1
    (number,) = set(kns.submitted) - before
    assert kns.submitted[number].ended


def test_killed_and_started_again(start: Start, settings: dict[str, Any], kns: KnsServer, cluster: Cluster) -> None:
    first = begin(start, **settings)
    waits = first.submit(command="true", name="waits")["id"]
    runs = run(first, kns, tags=["kept"])
    kns.write_log(runs, "before")
    first.kill()
    kns.raise_cluster(waits)
    second = begin(start, **settings)
    assert (second.state(runs)["status"], second.state(runs)["tags"]) == ("Running", ["kept"])
    second.until(lambda: kns.has_inside(waits))
    request = second.follow(runs)
    second.wait(lambda m: m["requestId"] == request and "before" in m.get("output", ""))
    kns.end_pod(runs)
    second.wait_status(runs, "Finished")
    second.until(lambda: names.NESTED_OVER in cluster.job(runs)["metadata"]["annotations"])
    second.kill()
    third = begin(start, **settings)
    assert third.state(runs)["status"] == "Finished"
    assert third.output(third.follow(runs))[0] == "before\n"
    third.control(waits, 4)
    third.wait_status(waits, "Canceled")


def test_plain_and_nested_jobs_are_side_by_side(
    start: Start, settings: dict[str, Any], launcher: Launcher, kns: KnsServer, cluster: Cluster
) -> None:
    """The profile decides at the submission, the record later: each plugin controls both."""
    plain = begin(start, **{**settings, "profile": {}})
    inside = run(launcher, kns)
    outside = plain.submit(command="sleep 100")["id"]
    assert not [each for each in kns.submitted.values() if each.label.endswith(outside)]
    cluster.run_pod(outside)
    for each in (plain, launcher):
        each.wait_status(outside, "Running")
        each.wait_status(inside, "Running")
        assert {outside, inside} <= {job["id"] for job in each.get("*")["jobs"]}
    assert launcher.control(outside, 3)["operationComplete"] is True
    assert plain.control(inside, 3)["operationComplete"] is True
    cluster.end_pod(outside, 137)
    kns.end_pod(inside, 137)
    for each in (plain, launcher):
        each.wait_status(outside, "Killed")
        each.wait_status(inside, "Killed")


def test_without_the_settings_nested_jobs_are_refused(start: Start) -> None:
    launcher = begin(start, profile={"nested": True})
    assert "set nested-url" in refuse(launcher)


def test_kns_is_down(start: Start, settings: dict[str, Any], tmp_path: Path) -> None:
    launcher = begin(start, **{**settings, "nested_url": "http://127.0.0.1:9"})
    answer = launcher.ask(2, username="ana", job={"name": "x", "container": {"image": "debian"}, "command": "true"})
    assert "kns does not answer" in answer["errorMessage"]


def test_an_expired_job_is_removed_with_its_cluster(
    start: Start, settings: dict[str, Any], kns: KnsServer, cluster: Cluster
) -> None:
    launcher = begin(start, **{**settings, "job_expiry_hours": 1})
    job_id = run(launcher, kns)
    kns.end_pod(job_id)  # in January
    launcher.until(lambda: job_id not in cluster.jobs())
    assert kns.find_one(job_id).ended
