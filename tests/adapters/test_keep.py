"""What is kept in memory of an object: what stages read, and neither templates nor what others report."""

import json
from typing import Any

import pytest

from kns.adapters.kube.keep import choose_copy_keeper, choose_keeper
from kns.ports import Kind, Object

META = {
    "namespace": "kns-job-7",
    "name": "kns-job-7",
    "uid": "u1",
    "creationTimestamp": "2026-01-05T14:15:30Z",
    "generation": 2,
    "labels": {"kns.io/job": "7"},
}


def make_workload(**status: Any) -> Object:
    noise = {"resourceVersion": "9", "annotations": {"a": "x" * 1000}, "managedFields": [{"manager": "kns"}]}
    template = {"spec": {"containers": [{"name": "syncer", "args": ["x" * 5000]}]}}
    return {"metadata": {**META, **noise}, "spec": {"replicas": 1, "template": template}, "status": status}


@pytest.mark.parametrize("kind", [Kind.DEPLOYMENT, Kind.STATEFUL_SET, Kind.JOB])
def test_a_workload_is_kept_without_its_template(kind: Kind) -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    progress = {"type": "Progressing", "status": "True", "message": "ReplicaSet x is progressing"}
    found = make_workload(readyReplicas=1, observedGeneration=2, updatedReplicas=1, conditions=[progress, refused])
    assert choose_keeper(kind)(found) == {
        "metadata": META,
        "spec": {"replicas": 1},
        "status": {"readyReplicas": 1, "observedGeneration": 2, "conditions": [refused]},
    }


def test_a_change_that_no_stage_reads_changes_nothing() -> None:
    """So the watch announces nothing, and no reconcile follows."""
    keep = choose_keeper(Kind.DEPLOYMENT)
    before, after = make_workload(), make_workload(updatedReplicas=1, unavailableReplicas=1)
    after["metadata"]["resourceVersion"] = "10"
    assert keep(before) == keep(after)
    assert keep(before) != keep(make_workload(readyReplicas=1))


def test_of_a_pod_is_kept_why_it_does_not_start() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    ended = {"terminated": {"exitCode": 1, "message": "no such file"}}
    container = {"name": "syncer", "state": waiting, "lastState": ended}
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-05T14:15:31Z"}
    pod: Any = {
        "metadata": {**META, "resourceVersion": "9", "annotations": {"a": "b"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "syncer", "image": "x"}]},
        "status": {
            "phase": "Pending",
            "podIP": "10.0.0.1",
            "conditions": [{**condition, "lastProbeTime": None, "observedGeneration": 1}],
            "containerStatuses": [{**container, "image": "x", "imageID": "x@sha256:1", "resources": {}}],
        },
    }
    kept = choose_keeper(Kind.POD)(pod)
    assert "spec" not in kept
    assert kept["status"] == {
        "conditions": [condition],
        "initContainerStatuses": [],
        "containerStatuses": [container],
    }
    assert kept["metadata"] == {key: value for key, value in META.items() if key != "generation"}
    pod["metadata"]["resourceVersion"], pod["status"]["podIP"] = "10", "10.0.0.2"
    assert choose_keeper(Kind.POD)(pod) == kept


def test_of_a_claim_little_is_kept_whatever_the_tenant_writes() -> None:
    """The host admits both, up to the 64 KiB of an object, and a job may have 100 claims."""
    keep = choose_copy_keeper(Kind.PERSISTENT_VOLUME_CLAIM)
    spec = {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}
    modes = ["ReadWriteMany", "ReadWriteOnce"]
    kept = keep({"metadata": META, "spec": {**spec, "volumeName": "v" * 50_000, "accessModes": modes * 1000}})
    assert kept["spec"]["accessModes"] == modes
    assert len(json.dumps(kept)) < 1024
    usual = {**spec, "volumeName": "kns-job-7-u1", "accessModes": modes}
    assert keep({"metadata": META, "spec": usual})["spec"] == usual
    assert keep({"metadata": META, "spec": spec})["spec"] == spec


def test_objects_without_a_status_are_kept() -> None:
    for kind in (Kind.POD, Kind.DEPLOYMENT):
        assert choose_keeper(kind)({"metadata": {"namespace": "n", "name": "a"}})["metadata"]["name"] == "a"


@pytest.mark.parametrize("kind", [Kind.NAMESPACE, Kind.RESOURCE_QUOTA, Kind.INGRESS])
def test_objects_share_their_keys(kind: Kind) -> None:
    line = json.dumps({"metadata": META, "spec": {"hard": {"requests.cpu": "4"}, "rules": [{"host": "a.example.org"}]}})
    one, two = (choose_keeper(kind)(json.loads(line)) for _ in range(2))
    assert one == two == json.loads(line)
    assert [id(key) for key in _keys(one)] == [id(key) for key in _keys(two)]


def _keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for key, each in value.items() for found in (key, *_keys(each))]
    return [found for each in value for found in _keys(each)] if isinstance(value, list) else []
