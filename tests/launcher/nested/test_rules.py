"""What can run in a virtual cluster, on which machine, and what runs inside."""

from typing import Any

import pytest

from kns.launcher.nested.rules import build_inner, check_nested, choose_machine, place_pod
from kns.model.errors import InvalidInputError
from kns.plain import names
from kns.plain.job import Container, PlainJob, Resources
from kns.plain.objects import build_job
from tests.launcher.kns_server import MACHINES


def a_job(pod: dict[str, Any] | None = None, container: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i", **(container or {})}], **(pod or {})}
    return {"metadata": {"name": "x"}, "spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize(
    "job",
    [
        a_job({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}),
        a_job({"volumes": [{"name": "c", "persistentVolumeClaim": {"claimName": "home"}}]}),
        a_job({"hostNetwork": True}),
        a_job({"hostPID": True}),
        a_job({"nodeName": "n"}),
        a_job({"serviceAccountName": "admin"}),
        a_job({"priorityClassName": "high"}),
        a_job(container={"envFrom": [{"secretRef": {"name": "s"}}]}),
        a_job(container={"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}),
        a_job(container={"ports": [{"containerPort": 80, "hostPort": 80}]}),
        a_job(container={"securityContext": {"privileged": True}}),
        a_job({"initContainers": [{"name": "i", "envFrom": [{}]}]}),
    ],
)
def test_what_needs_the_host_is_refused(job: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="cannot run in a virtual cluster"):
        check_nested(job)


def test_what_a_cluster_has_is_allowed() -> None:
    volumes = [{"name": "s", "emptyDir": {}}, {"name": "e", "ephemeral": {}}]
    check_nested(a_job({"volumes": volumes, "serviceAccountName": "default"}, {"env": [{"name": "A", "value": "b"}]}))


@pytest.mark.parametrize(
    ("limits", "wanted", "machine"),
    [
        ({}, "", "kns-small"),
        ({"cpu": "2", "memory": "4Gi"}, "", "kns-small"),
        ({"cpu": "2001m"}, "", "kns-large"),
        ({"memory": "4097Mi"}, "", "kns-large"),
        ({"nvidia.com/gpu": "1"}, "", "kns-gpu"),
        ({"cpu": "1"}, "kns-large", "kns-large"),
    ],
)
def test_the_smallest_machine_that_fits(limits: dict[str, str], wanted: str, machine: str) -> None:
    assert choose_machine(a_job(container={"resources": {"limits": limits}}), MACHINES, wanted=wanted) == machine


@pytest.mark.parametrize(
    ("limits", "wanted", "said"),
    [
        ({"cpu": "9"}, "", "no machine of kns has 9 processors"),
        ({"cpu": "3"}, "kns-small", "machine kns-small does not have 3 processors"),
        ({}, "classic", "classic is not a machine of kns for nested jobs"),
        ({}, "missing", "missing is not a machine"),
    ],
)
def test_no_machine_fits(limits: dict[str, str], wanted: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        choose_machine(a_job(container={"resources": {"limits": limits}}), MACHINES, wanted=wanted)


def test_the_object_inside_has_nothing_of_the_server_s() -> None:
    job = PlainJob(
        name="x", user="ana", container=Container("debian"), command="true", resources=Resources({"cpu": "1"})
    )
    record = build_job(job, generate_name="x-")
    record["metadata"] |= {"name": "x-1", "uid": "u", "annotations": {names.STORED: "{}"}}
    record["spec"] |= {"suspend": True, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}}
    labels = record["spec"]["template"]["metadata"]["labels"] = {"controller-uid": "u", "job-name": "x-1", "mine": "y"}
    inner = build_inner(record)
    assert (inner["metadata"]["name"], inner["metadata"]["namespace"]) == ("x-1", "default")
    assert inner["spec"].keys() == record["spec"].keys() - {"suspend", "selector"}
    assert inner["spec"]["template"]["metadata"]["labels"] == {"mine": "y"}
    assert "job-name" in labels, "the record is not changed"


@pytest.mark.parametrize("length", [5, 57, 58, 63])
def test_pods_of_the_job_controller_are_known_by_their_names(length: int) -> None:
    """It cuts the name of a long job, so that five characters have room in 63."""
    job_id = "a" * length
    pod = {"metadata": {"name": f"{f'{job_id}-'[:58]}x7k2p"}, "spec": {"containers": [{"name": "c"}]}}
    assert place_pod(pod, job_id)["metadata"] == pod["metadata"]
    with pytest.raises(ValueError, match="its name"):
        place_pod(pod, f"b{job_id[1:]}")


def test_a_pod_that_somebody_inside_made_large_is_none_of_the_job() -> None:
    """One is kept in memory for each job."""
    container = {"name": "main", "image": "x" * 64 * 1024}
    with pytest.raises(ValueError, match="it is too large"):
        place_pod({"metadata": {"name": "a-b-c"}, "spec": {"containers": [container]}}, "a-b")
