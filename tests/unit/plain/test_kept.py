"""What is kept of an object is enough for `kns.plain`, and small."""

import json
import sys
from typing import Any

import pytest

from kns.plain import names
from kns.plain.job import Container, PlainJob, Port, Variable
from kns.plain.kept import PackedJob, keep_pod, keep_service, read_kept, read_name, unpack
from kns.plain.objects import build_job, mark_job
from kns.plain.state import read_state
from kns.plain.stored import read_stored

JOB = PlainJob(
    name="Käse",
    user="ana",
    container=Container("debian"),
    command="echo $(date)",
    environment=tuple(Variable(f"NAME_{number}", f"$(value) {number}") for number in range(40)),
    ports=(Port(80),),
)


def make_job(**meta: Any) -> dict[str, Any]:
    obj = mark_job(build_job(JOB, generate_name="a-"), JOB, cluster="K", generate_name="a-", stdin_token="true")
    obj["metadata"] |= {
        "name": "a-1",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-05T14:15:30Z",
        "managedFields": [{"manager": "x"}],
        **meta,
    }
    obj["status"] = {"conditions": [{"type": "Failed", "status": "True", "message": "m", "lastProbeTime": "x"}]}
    return obj


def test_a_packed_job_reads_as_the_whole() -> None:
    obj = make_job()
    packed = PackedJob(obj)
    assert read_name(packed) == read_name(obj) == "a-1"
    assert read_stored(packed) == read_stored(obj) == read_kept(packed, unpack(packed))
    assert read_stored(packed).job == JOB
    assert packed["metadata"]["resourceVersion"] == "7"
    assert set(packed) == {"metadata", "spec", "status"}
    stored = read_stored(obj)
    assert read_state(stored, packed, None, is_certain=True) == read_state(stored, obj, None, is_certain=True)


def test_the_environment_is_in_memory_once() -> None:
    kept = read_kept(PackedJob(make_job()), PackedJob(make_job()).decode()).job.environment
    assert sys.getsizeof(kept) < 100
    assert (tuple(kept), len(kept), kept[1], kept[:2]) == (JOB.environment, 40, JOB.environment[1], JOB.environment[:2])
    assert kept == JOB.environment
    assert kept != JOB.environment[1:]


def test_jobs_differ_in_what_is_kept_alone() -> None:
    """The counters of a status, and what other programs note, are no change."""
    one = PackedJob(make_job())
    assert one == PackedJob(make_job(resourceVersion="8", labels={**make_job()["metadata"]["labels"], "x": "y"}))
    assert one != PackedJob(make_job(deletionTimestamp="2026-01-05T14:15:30Z"))
    assert len({one, PackedJob(make_job(resourceVersion="9"))}) == 1


def test_a_job_of_another_program_is_kept_without_a_container() -> None:
    packed = PackedJob({"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": ["a"]}}}})
    assert read_stored(packed).job.container.image == "unknown"


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"running": {"startedAt": "2026-01-05T14:15:31Z"}},
        {"running": {}},
        {"waiting": {"reason": "ErrImagePull", "message": "no"}},
        {
            "terminated": {
                "exitCode": 0,
                "reason": "Completed",
                "finishedAt": "2026-01-05T14:15:31Z",
                "containerID": "x",
            }
        },
        {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    ],
)
@pytest.mark.parametrize("more", [{}, {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "r"}]}])
def test_a_kept_pod_has_the_state_of_the_whole(state: dict[str, Any], more: dict[str, Any]) -> None:
    status = {
        "phase": "Running",
        "hostIP": "10.0.0.1",
        "hostIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
        "containerStatuses": [{"name": names.CONTAINER, "started": True, "ready": True, "state": state}],
        "initContainerStatuses": [{"name": "i", "ready": False, "state": {"running": {}}}],
        **more,
    }
    spec = {
        "nodeName": "n",
        "containers": [
            {"name": "side", "image": "s"},
            {
                "name": names.CONTAINER,
                "image": "i",
                "resources": {"limits": {"memory": "1M"}},
                "lifecycle": {"postStart": {"exec": {"command": ["x" * 1000]}}},
            },
        ],
    }
    pod = {"metadata": {"name": "p", "labels": {"job-name": "a-1", "x": "y"}}, "spec": spec, "status": status}
    stored, obj = read_stored(make_job()), {"metadata": {"name": "a-1"}}
    assert read_state(stored, obj, keep_pod(pod)) == read_state(stored, obj, pod)
    assert "containerID" not in json.dumps(keep_pod(pod))
    assert "xx" not in json.dumps(keep_pod(pod))
    assert keep_pod(pod)["metadata"]["labels"] == {"job-name": "a-1"}


def test_a_kept_service_has_its_ports() -> None:
    port = {"name": "tcp-80", "protocol": "TCP", "port": 80, "targetPort": 80, "nodePort": 30000}
    kept = keep_service(
        {"metadata": {"name": "a-1", "labels": {"a": "b"}}, "spec": {"ports": [port], "type": "NodePort"}}
    )
    assert kept["spec"] == {"ports": [{"protocol": "TCP", "targetPort": 80, "nodePort": 30000}]}
    assert keep_service({"metadata": {"name": "a-1"}})["spec"] == {"ports": []}


def test_equal_texts_of_two_pods_are_one_object() -> None:
    one, two = (keep_pod({"metadata": {"name": "p"}, "spec": {"nodeName": "".join(["node", "-1"])}}) for _ in range(2))
    assert one["spec"]["nodeName"] is two["spec"]["nodeName"]
