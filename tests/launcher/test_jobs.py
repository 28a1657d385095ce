"""Jobs through the real process: submit, state, status, control, output, resources, network, cluster info."""

import json
from functools import partial
from typing import Any

import pytest

from kns.plain import names
from tests.adapters.api_server import failure
from tests.adapters.faulty_server import LostAnswer
from tests.launcher.client import Launcher, Message
from tests.launcher.cluster import NAMESPACE, PODS, SERVICES, Cluster, pod_name
from tests.launcher.conftest import Start


def container(cluster: Cluster, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.job(job_id)["spec"]["template"]["spec"]["containers"][0]
    return found


def refused(launcher: Launcher, **job: Any) -> str:
    """The message of error 2 for a submission."""
    given = {"name": "x", "container": {"image": "debian"}, **job}
    answer = launcher.ask(2, username="ana", job=given)
    assert answer["messageType"] == -1, answer
    assert answer["errorCode"] == 2
    said: str = answer["errorMessage"]
    return said


def _has_sequences(sequences: list[dict[str, int]], message: Message) -> bool:
    return bool(message["messageType"] == 3 and message["sequences"] == sequences)


# --- submit (J01 to J13)


def test_a_submission_answers_with_the_job(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(
        name="My Job",
        command="echo",
        args=["a", "b"],
        environment=[{"name": "B", "value": "$(date) $$"}, {"name": "A", "value": ""}],
        workingDirectory="/tmp",
        tags=["one"],
        id="garbage",
        status="Failed",
        container={"image": "debian", "runAsUserId": 1000, "runAsGroupId": 100, "supplementalGroupIds": [5]},
    )
    assert (job["name"], job["user"], job["status"]) == ("My Job", "ana", "Pending")
    assert job["id"].startswith("ana-my-job-")
    assert job["environment"] == [{"name": "B", "value": "$(date) $$"}, {"name": "A", "value": ""}]
    assert job["submissionTime"] == "2026-01-05T14:15:30.000000Z"
    assert job["cluster"] == "Kubernetes"
    made = container(cluster, job["id"])
    assert made["command"] == ["/bin/sh", "-c", "echo a b"]
    assert [each["name"] for each in made["env"]] == ["B", "A"]
    assert made["workingDir"] == "/tmp"
    pod = cluster.job(job["id"])["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsUser": 1000, "runAsGroup": 100, "supplementalGroups": [5]}
    assert pod["shareProcessNamespace"] is True
    assert cluster.job(job["id"])["spec"]["backoffLimit"] == 0


def test_a_program_gets_its_arguments_as_they_are(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(exe="/bin/echo", args=["a b", "$(HOME)"])
    made = container(cluster, job["id"])
    assert (made["command"], made["args"]) == (["/bin/echo"], ["a b", "$$(HOME)"])


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"command": "a", "exe": "b"}, "command: and exe are both set"),
        ({"name": ""}, "name: is required"),
        ({"container": None}, "container.image: is required"),
        ({"command": 7}, "command: is a number"),
        ({"args": "a"}, "args: is a text"),
        ({"environment": [{"name": "A=B", "value": ""}]}, "environment[0].name"),
        ({"exposedPorts": [{"targetPort": 0}]}, "0 is not a port"),
        ({"exposedPorts": [{"targetPort": 70000}]}, "70000 is not a port"),
        ({"exposedPorts": [{"targetPort": 80, "protocol": "SCTP"}]}, "use TCP or UDP"),
        ({"mounts": [{"mountPath": "x", "type": "host", "source": {"path": "/x"}}]}, "mounts[0].mountPath"),
        ({"mounts": [{"mountPath": "/x", "type": "floppy", "source": {}}]}, "'floppy' is not supported"),
        ({"mounts": [{"mountPath": "/x", "type": "nfs", "source": {"host": "h"}}]}, "mounts[0].source.path"),
        ({"resourceLimits": [{"type": "memorySwap", "value": "1"}]}, "memorySwap is not a resource"),
        ({"resourceLimits": [{"type": "cpuCount", "value": "many"}]}, "'many' is not an amount"),
        ({"resourceLimits": [{"type": "NVIDIA GPUs", "value": "1"}]}, "not available to this user"),
        ({"placementConstraints": [{"name": "zone", "value": "a"}]}, "zone is unknown"),
        ({"config": [{"name": "secret", "value": "a:b"}]}, "secretName:key:ENVIRONMENT_VARIABLE"),
        ({"command": "a\0b"}, "zero byte"),
        ({"args": ["\ud800"]}, "no text"),
    ],
)
def test_a_job_that_cannot_run_creates_nothing(launcher: Launcher, cluster: Cluster, job: Any, said: str) -> None:
    before = cluster.jobs()
    assert said in refused(launcher, **job)
    assert cluster.jobs() == before


def test_what_the_cluster_refuses_is_the_jobs_fault(launcher: Launcher, cluster: Cluster) -> None:
    cluster.script("POST", "/jobs", failure(422, "Invalid", "spec.template.spec.containers[0].name: Invalid value"))
    assert "Invalid value" in refused(launcher, command="true")


def test_a_lost_answer_creates_one_job(launcher: Launcher, cluster: Cluster) -> None:
    """The API server stored the job, and the connection broke before its answer."""
    before = len(cluster.jobs())
    cluster.script("POST", "/jobs", LostAnswer())
    launcher.submit(command="true")
    assert len(cluster.jobs()) == before + 1


def test_mounts(launcher: Launcher, cluster: Cluster) -> None:
    """J08."""
    mounts = [
        {"mountPath": "/a", "type": "host", "source": {"path": "/srv"}, "readOnly": True},
        {"mountPath": "/b", "type": "nfs", "source": {"host": "nfs01", "path": "/home"}},
        {"mountPath": "/c", "type": "azureFile", "source": {"secretName": "s", "shareName": "h"}},
        {"mountPath": "/d", "type": "cephFs", "source": {"monitors": ["10.0.0.5"], "secretRef": "ceph"}},
        {"mountPath": "/e", "type": "glusterFs", "source": {"endpoints": "g", "path": "v"}},
        {"mountPath": "/f", "type": "passthrough", "source": {"persistentVolumeClaim": {"claimName": "home"}}},
    ]
    job = launcher.submit(command="true", mounts=mounts)
    spec = cluster.job(job["id"])["spec"]["template"]["spec"]
    volumes = [{key: value for key, value in volume.items() if key != "name"} for volume in spec["volumes"]]
    assert volumes == [
        {"hostPath": {"path": "/srv"}},
        {"nfs": {"server": "nfs01", "path": "/home"}},
        {"azureFile": {"secretName": "s", "shareName": "h"}},
        {"cephfs": {"monitors": ["10.0.0.5"], "secretRef": {"name": "ceph"}}},
        {"glusterfs": {"endpoints": "g", "path": "v"}},
        {"persistentVolumeClaim": {"claimName": "home"}},
    ]
    inside = container(cluster, job["id"])["volumeMounts"]
    assert [each["mountPath"] for each in inside] == ["/a", "/b", "/c", "/d", "/e", "/f"]
    assert inside[0]["readOnly"] is True
    assert launcher.state(job["id"])["mounts"] == mounts


def test_a_secret_is_only_referred_to(launcher: Launcher, cluster: Cluster) -> None:
    """J09."""
    config = [{"name": "secret", "value": "db:password:DB_PASSWORD"}]
    job = launcher.submit(command="true", config=config)
    reference = {"secretKeyRef": {"name": "db", "key": "password"}}
    assert container(cluster, job["id"])["env"] == [{"name": "DB_PASSWORD", "valueFrom": reference}]
    assert launcher.state(job["id"])["config"] == config


def test_values_of_the_environment_are_in_no_annotation(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true", environment=[{"name": "A", "value": "hush"}], stdin="hush")
    made = cluster.job(job["id"])
    assert "hush" not in json.dumps([made["metadata"], made["spec"]["template"].get("metadata")])


@pytest.mark.parametrize("name", ["a" * 300, "🎉 party", "-", "9 lives", 'x"\n: {}', "ünï"])
def test_any_name(launcher: Launcher, cluster: Cluster, name: str) -> None:
    """J13: two jobs of one name differ, and the name comes back."""
    first, second = launcher.submit(name=name, command="true"), launcher.submit(name=name, command="true")
    assert first["id"] != second["id"]
    assert first["name"] == second["name"] == launcher.state(first["id"])["name"] == name
    assert len(first["id"]) <= 63


# --- ports and network (J07, J18, P35, P41)


def test_ports_get_a_service_and_the_node_port_comes_back(launcher: Launcher, cluster: Cluster) -> None:
    ports = [{"targetPort": "8787"}, {"targetPort": 53, "protocol": "udp"}, {"targetPort": 80, "publishedPort": 8080}]
    job = launcher.submit(command="true", exposedPorts=ports)
    service = cluster.find(*SERVICES, NAMESPACE, job["id"])
    assert service is not None
    assert service["spec"]["selector"] == {"job-name": job["id"]}
    assert [(p["port"], p["protocol"]) for p in service["spec"]["ports"]] == [(8787, "TCP"), (53, "UDP")]
    assert service["metadata"]["ownerReferences"][0]["uid"] == cluster.job(job["id"])["metadata"]["uid"]
    inside = container(cluster, job["id"])["ports"]
    assert inside[2] == {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}
    service["spec"]["ports"][0]["nodePort"] = 31000
    cluster.put(*SERVICES, service)
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    launcher.until(lambda: launcher.state(job["id"])["exposedPorts"][0].get("publishedPort") == 31000)
    cluster.end_pod(job["id"])
    launcher.wait_status(job["id"], "Finished")


def test_network(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    assert launcher.ask(8, username="ana", jobId=job["id"])["ipAddresses"] == []
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    answer = launcher.ask(8, username="ana", jobId=job["id"])
    assert (answer["messageType"], answer["host"]) == (7, "node-1")
    assert answer["ipAddresses"] == ["203.0.113.7", "10.0.0.1"]
    cluster.nodes_visible = False
    try:
        assert launcher.ask(8, username="ana", jobId=job["id"])["ipAddresses"] == ["10.0.0.1"]
    finally:
        cluster.nodes_visible = True


# --- find (J12, J14)


def test_users_see_their_own_jobs(launcher: Launcher) -> None:
    job = launcher.submit(user="berta", command="true")
    assert launcher.get(job["id"], user="cy")["errorCode"] == 3
    assert launcher.get(job["id"], user="berta")["jobs"][0]["id"] == job["id"]
    assert job["id"] in {each["id"] for each in launcher.get("*", user="*")["jobs"]}
    assert [each["id"] for each in launcher.get("*", user="berta")["jobs"]] == [job["id"]]
    for message_type in (4, 5, 6, 7, 8):
        answer = launcher.ask(message_type, username="cy", jobId=job["id"], operation=4)
        assert answer["errorCode"] == 3, answer


@pytest.mark.parametrize(
    ("username", "named", "owner"),
    [("berta", "", "berta"), ("*", "berta", "berta"), ("", "cy", "cy"), ("rstudio-server", "cy", "cy")],
)
def test_whose_a_submitted_job_is(launcher: Launcher, username: str, named: str, owner: str) -> None:
    """An administrator, and a Launcher without authorization, ask as everybody and name the user; so may Workbench."""
    job = {"name": "a", "command": "true", "container": {"image": "debian"}, **({"user": named} if named else {})}
    assert launcher.ask(2, username=username, job=job)["jobs"][0]["user"] == owner


@pytest.mark.proves("security", "submit a job as another user")
def test_a_user_submits_for_nobody_else(launcher: Launcher, cluster: Cluster) -> None:
    """The job would run with the other user's profile, and be shown as theirs."""
    before = cluster.jobs()
    job = {"name": "a", "command": "true", "container": {"image": "debian"}, "user": "root"}
    answer = launcher.ask(2, username="ana", requestUsername="ana", job=job)
    assert answer["errorCode"] == 2
    assert (
        answer["errorMessage"] == "job.user: is 'root', and the request is of 'ana'; a user submits jobs of their own"
    )
    assert launcher.ask(2, username="*", job={**job, "user": "r" * 300})["errorCode"] == 2
    assert cluster.jobs() == before


def test_filters_and_fields(launcher: Launcher) -> None:
    first = launcher.submit(user="dora", command="true", tags=["a", "b"])
    second = launcher.submit(user="dora", command="true", tags=["a"])

    def ids(**fields: Any) -> list[str]:
        return [each["id"] for each in launcher.get("*", user="dora", **fields)["jobs"]]

    assert sorted(ids()) == sorted([first["id"], second["id"]])
    assert ids(tags=["a", "b"]) == [first["id"]]
    assert ids(statuses=["Running"]) == []
    assert len(ids(statuses=["Pending", "Running"])) == 2
    assert len(ids(startTime="2026-01-05T14:15:30", endTime="2026-01-05T15:15:30+01:00")) == 2
    assert ids(startTime="2026-01-05T14:15:31Z") == []
    assert launcher.get("*", user="dora", fields=["name"])["jobs"][0].keys() == {"id", "name"}
    for wrong in ({"statuses": ["Lost"]}, {"startTime": "soon"}, {"tags": "a"}, {"endTime": 7}):
        assert launcher.get("*", user="dora", **wrong)["errorCode"] == 2
    assert launcher.get(first["id"], user="dora", statuses=["Running"])["jobs"][0]["id"] == first["id"]


# --- status (J15)


def test_status_stream(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    cluster.end_pod(job["id"], 3)
    ended = launcher.wait_status(job["id"], "Finished")
    assert (ended["requestId"], ended["name"]) == (0, "a job")
    assert [s["requestId"] for s in ended["sequences"]] == [900]
    assert "statusMessage" not in ended
    assert launcher.state(job["id"])["exitCode"] == 3
    frames = [m for m in launcher.messages if m["messageType"] == 3]
    numbers = [s["seqId"] for m in frames for s in m["sequences"] if s["requestId"] == 900]
    assert numbers == list(range(1, len(numbers) + 1))


def test_requests_share_a_response_and_are_cancelled_alone(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(user="edda", command="true")
    first = launcher.send(4, username="edda", jobId=job["id"])
    second = launcher.send(4, username="edda", jobId="*")
    other = launcher.send(4, username="fritz", jobId="*")
    for request in (first, second):
        first_frame = [{"requestId": request, "seqId": 1}]
        began = launcher.wait(partial(_has_sequences, first_frame))
        assert began["status"] == "Pending"
    cluster.run_pod(job["id"])
    running = launcher.wait_status(job["id"], "Running")
    assert {s["requestId"] for s in running["sequences"]} == {900, first, second}
    launcher.send(4, request_id=first, username="edda", jobId=job["id"], cancel=True)
    launcher.ask(9, username="edda")  # the cancel was carried out: requests are read in order
    cluster.end_pod(job["id"])
    ended = launcher.wait_status(job["id"], "Finished")
    assert {s["requestId"] for s in ended["sequences"]} == {900, second}
    frames = [m for m in launcher.messages if m["messageType"] == 3]
    numbers = [s["seqId"] for m in frames for s in m["sequences"] if s["requestId"] == second]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not any(s["requestId"] == other for m in launcher.messages if m["messageType"] == 3 for s in m["sequences"])
    assert launcher.ask(4, request_id=second, username="edda", jobId="*")["errorCode"] == 2


def test_why_a_job_waits(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true", container={"image": "nowhere"})

    def message() -> str:
        said: str = launcher.state(job["id"]).get("statusMessage", "")
        return said

    def shown(part: str) -> None:
        launcher.wait(lambda m: m["messageType"] == 3 and m["id"] == job["id"] and part in m.get("statusMessage", ""))
        assert part in message()

    cluster.warn("Job", job["id"], "FailedCreate", "exceeded quota: small")
    shown("exceeded quota: small")
    cluster.make_pod(job["id"])
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes fit"}
    cluster.set_pod(job["id"], conditions=[condition])
    shown("no node fits: 0/1 nodes fit")
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    cluster.set_pod(job["id"], containerStatuses=[{"name": names.CONTAINER, "state": waiting}])
    shown("the image nowhere cannot be pulled: not found")
    cluster.set_pod(
        job["id"],
        phase="Failed",
        containerStatuses=[
            {
                "name": names.CONTAINER,
                "state": {"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}},
            }
        ],
    )
    launcher.wait_status(job["id"], "Failed")
    shown("no such file")


def test_a_container_that_its_node_lost(launcher: Launcher, cluster: Cluster) -> None:
    """Its end has no time."""
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    cluster.end_pod(job["id"], 137, reason="ContainerStatusUnknown")
    assert "ended by the cluster" in launcher.wait_status(job["id"], "Killed")["statusMessage"]
    launcher.until(lambda: names.END in cluster.job(job["id"])["metadata"]["annotations"])
    assert launcher.state(job["id"])["lastUpdateTime"] == "2026-01-05T14:16:31.000000Z"


def test_a_job_that_somebody_deletes(launcher: Launcher, cluster: Cluster) -> None:
    """The Launcher would wait for its end forever."""
    job = launcher.submit(command="true")
    cluster.drop("/apis/batch/v1", "jobs", NAMESPACE, job["id"])
    assert launcher.wait_status(job["id"], "Killed")["statusMessage"] == "the Kubernetes Job was deleted"
    assert launcher.get(job["id"])["errorCode"] == 3


# --- stdin (J03)


def test_stdin_is_sent_once_the_container_runs(launcher: Launcher, cluster: Cluster) -> None:
    text = "echo $HOME\n" * 10_000
    job = launcher.submit(command="/bin/sh", stdin=text)
    made = container(cluster, job["id"])
    assert (made["stdin"], made["stdinOnce"]) == (True, True)
    cluster.run_pod(job["id"])
    launcher.until(lambda: pod_name(job["id"]) in cluster.inputs)
    assert cluster.inputs[pod_name(job["id"])] == text.encode()


# --- output (J16)


def test_output_live_and_after_the_end(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    early = launcher.follow(job["id"])
    cluster.run_pod(job["id"])
    cluster.write_log(job["id"], "one\ntwo ü")
    launcher.wait(lambda m: m["requestId"] == early and "two ü" in m.get("output", ""))
    cluster.write_log(job["id"], "three")
    cluster.end_pod(job["id"])
    text, messages = launcher.output(early)
    assert text == "one\ntwo ü\nthree\n"
    assert [m["seqId"] for m in messages] == list(range(1, len(messages) + 1))
    assert all(m["outputType"] == "mixed" for m in messages[:-1])
    assert messages[-1].keys() == {"messageType", "requestId", "responseId", "seqId", "complete"}
    launcher.wait_status(job["id"], "Finished")
    late = launcher.follow(job["id"])
    assert launcher.output(late)[0] == text


def test_an_empty_output_is_completed(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    cluster.end_pod(job["id"])
    launcher.wait_status(job["id"], "Finished")
    request = launcher.follow(job["id"])
    text, messages = launcher.output(request)
    assert (text, len(messages), messages[0]["seqId"]) == ("", 1, 1)


def test_stdout_and_stderr_apart(launcher: Launcher, cluster: Cluster) -> None:
    cluster.splits = True
    try:
        job = launcher.submit(command="true")
        cluster.run_pod(job["id"])
        cluster.write_log(job["id"], "good", "Stdout")
        cluster.write_log(job["id"], "bad", "Stderr")
        cluster.end_pod(job["id"])
        launcher.wait_status(job["id"], "Finished")
        texts = [launcher.output(launcher.send(6, username="ana", jobId=job["id"], outputType=t)) for t in (0, 1, 2)]
    finally:
        cluster.splits = False
    assert [text for text, _ in texts[:2]] == ["good\n", "bad\n"]
    assert {m.get("outputType"): m.get("output") for m in texts[2][1][:-1]} == {"stdout": "good\n", "stderr": "bad\n"}


def test_a_cancelled_output_gets_no_answer(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    cluster.write_log(job["id"], "one")
    request = launcher.follow(job["id"])
    launcher.wait(lambda m: m["requestId"] == request)
    launcher.send(6, request_id=request, username="ana", jobId=job["id"], outputType=2, cancel=True)
    launcher.ask(9, username="ana")
    cluster.write_log(job["id"], "two")
    cluster.end_pod(job["id"])
    launcher.wait_status(job["id"], "Finished")
    again = launcher.follow(job["id"])
    assert launcher.output(again)[0] == "one\ntwo\n"
    assert len([m for m in launcher.messages if m["requestId"] == request]) == 1


def test_output_of_a_job_that_never_ran(launcher: Launcher) -> None:
    job = launcher.submit(command="true")
    request = launcher.follow(job["id"])
    launcher.ask(5, username="ana", jobId=job["id"], operation=4)
    assert launcher.wait(lambda m: m["requestId"] == request)["errorCode"] == 7


def test_output_after_its_pod_was_deleted(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    cluster.end_pod(job["id"], 4)
    launcher.wait_status(job["id"], "Finished")
    launcher.until(lambda: names.END in cluster.job(job["id"])["metadata"]["annotations"])
    cluster.drop(*PODS, NAMESPACE, pod_name(job["id"]))
    assert launcher.ask(6, username="ana", jobId=job["id"], outputType=2)["errorCode"] == 7
    assert launcher.state(job["id"])["exitCode"] == 4


def test_a_large_output(launcher: Launcher, cluster: Cluster) -> None:
    """More than one message may have."""
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    line = "x" * 9_999
    for _ in range(8):
        cluster.write_log(job["id"], "\n".join([line] * 100))
    cluster.end_pod(job["id"])
    launcher.wait_status(job["id"], "Finished")
    text, _ = launcher.output(launcher.follow(job["id"]))
    assert len(text) == 8 * 100 * 10_000


# --- control (J19 to J21)


def test_cancel_leaves_a_record_and_no_pod(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true", exposedPorts=[{"targetPort": 80}])
    cluster.make_pod(job["id"])
    answer = launcher.control(job["id"], 4)
    assert answer == {
        "messageType": 4,
        "requestId": answer["requestId"],
        "responseId": answer["responseId"],
        "statusMessage": "",
        "operationComplete": True,
    }
    launcher.wait_status(job["id"], "Canceled")
    assert cluster.find(*PODS, NAMESPACE, pod_name(job["id"])) is None
    assert launcher.control(job["id"], 4)["errorCode"] == 8


def test_control_needs_the_right_state(launcher: Launcher, cluster: Cluster) -> None:
    """A job that is still being created can only be cancelled."""
    job = launcher.submit(command="true")
    for operation, word in ((0, "suspend"), (1, "resume"), (2, "stop"), (3, "kill")):
        answer = launcher.control(job["id"], operation)
        assert answer["errorCode"] == 8
        assert word in answer["errorMessage"]
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    assert launcher.control(job["id"], 4)["errorCode"] == 8
    assert launcher.control(job["id"], 1)["errorCode"] == 8
    for wrong in (5, -1, "2", None):
        assert launcher.ask(5, username="ana", jobId=job["id"], operation=wrong)["errorCode"] == 2


@pytest.mark.parametrize(("operation", "signal", "code"), [(2, "TERM", 143), (3, "KILL", 137)])
def test_stop_and_kill(launcher: Launcher, cluster: Cluster, operation: int, signal: str, code: int) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    assert launcher.control(job["id"], operation)["operationComplete"] is True
    assert cluster.commands[-1][-1] == signal
    cluster.end_pod(job["id"], code)
    assert launcher.wait_status(job["id"], "Killed")["statusMessage"]
    assert launcher.state(job["id"])["exitCode"] == code


def test_an_image_without_a_shell_is_ended_by_its_node(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    cluster.exec_refusal = 'exec: "/bin/sh": no such file'
    try:
        answer = launcher.control(job["id"], 2)
        held = launcher.control(job["id"], 0)
    finally:
        cluster.exec_refusal = ""
    assert answer["operationComplete"] is False
    assert "no such file" in answer["statusMessage"]
    assert cluster.pod(job["id"])["spec"]["activeDeadlineSeconds"] == 1
    assert held["errorCode"] == 9


def test_suspend_and_resume(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    assert launcher.control(job["id"], 0)["operationComplete"] is True
    launcher.wait_status(job["id"], "Suspended")
    assert launcher.control(job["id"], 3)["errorCode"] == 8
    after = len(launcher.messages)
    assert launcher.control(job["id"], 1)["operationComplete"] is True
    launcher.wait(lambda m: m["messageType"] == 3 and (m["id"], m["status"]) == (job["id"], "Running"), after=after)
    assert [command[-1] for command in cluster.commands[-2:]] == ["STOP", "CONT"]


def test_no_process_of_the_container(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    cluster.exec_code = 4
    try:
        assert launcher.control(job["id"], 0)["errorCode"] == 9
    finally:
        cluster.exec_code = 0


# --- resources (J17, P38)


def test_resource_stream(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    assert launcher.ask(7, username="ana", jobId=job["id"])["errorCode"] == 6
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    cluster.metrics = {pod_name(job["id"]): {"cpu": "1500m", "memory": "512Mi"}}
    request = launcher.send(7, username="ana", jobId=job["id"])

    def of_stream(message: Message) -> bool:
        return message["messageType"] == 6 and any(s["requestId"] == request for s in message["sequences"])

    first = launcher.wait(of_stream)
    assert (first["requestId"], first["cpuPercent"], first["residentMemory"]) == (0, 150.0, 512.0)
    assert (first["complete"], first["sequences"]) == (False, [{"requestId": request, "seqId": 1}])
    cluster.end_pod(job["id"])
    last = launcher.wait(lambda m: of_stream(m) and m["complete"] is True)
    assert last["sequences"][0]["seqId"] >= 2


def test_without_metrics_the_stream_ends_with_an_error(launcher: Launcher, cluster: Cluster) -> None:
    job = launcher.submit(command="true")
    cluster.run_pod(job["id"])
    launcher.wait_status(job["id"], "Running")
    kept, cluster.metrics = cluster.metrics, None
    try:
        answer = launcher.ask(7, username="ana", jobId=job["id"])
    finally:
        cluster.metrics = kept
    assert answer["errorCode"] == 1
    assert "metrics-server" in answer["errorMessage"]


# --- cluster info and profiles (J10, J25, P21 to P29)


def test_cluster_info(launcher: Launcher) -> None:
    info = launcher.ask(9, username="ana")
    del info["requestId"], info["responseId"]
    assert info == {
        "messageType": 8,
        "supportsContainers": True,
        "allowUnknownImages": True,
        "images": [],
        "config": [{"name": "secret", "valueType": "string"}],
        "resourceLimits": [{"type": "cpuCount"}, {"type": "memory"}],
        "placementConstraints": [],
    }


def test_a_profile(start: Start, cluster: Cluster) -> None:
    profile = {
        "images": ["r:1", "r:2"],
        "default_image": "r:1",
        "allow_unknown_images": False,
        "constraints": [["region", "us"], ["region", "eu"], ["node", None]],
        "limits": [
            {"type": "cpuCount", "default": "1", "maximum": "2"},
            {"type": "memory", "default": "512", "maximum": "1024"},
            {"type": "NVIDIA GPUs", "maximum": "2"},
        ],
        "cpu_request_ratio": 0.5,
        "json_overrides": [["/spec/template/spec/hostAliases/-", {"ip": "10.2.141.12", "hostnames": ["db01"]}]],
    }
    launcher = start(profile=profile)
    launcher.bootstrap()
    info = launcher.ask(9, username="ana")
    assert info["resourceLimits"][0] == {"type": "cpuCount", "maxValue": "2", "defaultValue": "1"}
    assert info["placementConstraints"] == [
        {"name": "region", "value": "us"},
        {"name": "region", "value": "eu"},
        {"name": "node"},
    ]
    assert (info["defaultImage"], info["allowUnknownImages"]) == ("r:1", False)
    job = launcher.submit(
        command="true",
        container=None,
        placementConstraints=[{"name": "region", "value": "eu"}, {"name": "node", "value": "n7"}],
        resourceLimits=[{"type": "NVIDIA GPUs", "value": "2"}],
    )
    made = container(cluster, job["id"])
    assert made["image"] == "r:1"
    assert made["resources"] == {
        "limits": {"cpu": "1", "memory": "512M", "nvidia.com/gpu": "2"},
        "requests": {"cpu": "500m"},
    }
    spec = cluster.job(job["id"])["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"region": "eu", "node": "n7"}
    assert spec["hostAliases"] == [{"ip": "10.2.141.12", "hostnames": ["db01"]}]
    assert "r:9 is not allowed" in refused(launcher, container={"image": "r:9"})
    over = [{"type": "cpuCount", "value": "2.5"}]
    assert "more than the maximum 2" in refused(launcher, container={"image": "r:2"}, resourceLimits=over)
    wrong = [{"name": "region", "value": "asia"}]
    assert "'asia' is not a value of region" in refused(
        launcher, container={"image": "r:2"}, placementConstraints=wrong
    )


def test_a_nested_profile_is_refused(start: Start, cluster: Cluster) -> None:
    """A job that silently ran without its virtual cluster would have another isolation than its administrator chose."""
    launcher = start(profile={"nested": True})
    launcher.bootstrap()
    before = cluster.jobs()
    assert "virtual cluster" in refused(launcher, command="true")
    assert cluster.jobs() == before


def test_nothing_was_beyond_the_role(cluster: Cluster) -> None:
    """P34, P40: the tests above used every function, and only nodes are outside the Role. The last of this module."""
    assert cluster.beyond_role == []
