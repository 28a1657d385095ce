"""The state of a job and its reason, as a table: Kubernetes Job and pod in, status and words out."""

from datetime import UTC, datetime
from typing import Any

import pytest

from kns.plain import names
from kns.plain.job import Container, PlainJob
from kns.plain.kept import PackedJob, keep_pod, unpack
from kns.plain.objects import build_job, mark_job
from kns.plain.state import Asked, State, Status, choose_pod, encode_end, read_state
from kns.plain.stored import read_stored

JOB = PlainJob(name="a", user="ana", container=Container("debian"), command="true")
RUNNING = {"running": {"startedAt": "2026-01-05T14:15:31Z"}}


def a_job(*conditions: str, **annotations: str) -> dict[str, Any]:
    obj = mark_job(build_job(JOB, generate_name="a-"), JOB, cluster="c", generate_name="a-")
    obj["metadata"] |= {"name": "a-1", "uid": "u", "creationTimestamp": "2026-01-05T14:15:30Z"}
    obj["metadata"]["annotations"] |= {f"kns.io/plain-{key}": value for key, value in annotations.items()}
    obj["status"] = {"conditions": [{"type": kind, "status": "True", "message": "said"} for kind in conditions]}
    return obj


def a_late_job(*conditions: str, **annotations: str) -> dict[str, Any]:
    """The Job controller deletes the pod of a Job that is active for longer than `activeDeadlineSeconds`."""
    obj = a_job(*conditions, **annotations)
    for condition in obj["status"]["conditions"]:
        condition |= {"reason": "DeadlineExceeded", "message": "active longer than its deadline"}
    return obj


def a_pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    own = [] if state is None else [{"name": names.CONTAINER, "state": state}]
    container = {"name": names.CONTAINER, "image": "debian", "resources": {"limits": {"memory": "64M"}}}
    return {
        "metadata": {"name": "a-1-pod", "creationTimestamp": "2026-01-05T14:15:30Z"},
        "spec": {"nodeName": "n1", "containers": [{"name": "side-car"}, container]},
        "status": {"containerStatuses": [{"name": "side-car", "state": RUNNING}, *own], **status},
    }


def deleted(pod: dict[str, Any]) -> dict[str, Any]:
    """Somebody deletes it, not through the API of evictions: it has no condition that says so."""
    return {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-01-05T14:16:31Z"}}


def without_node(pod: dict[str, Any]) -> dict[str, Any]:
    return {**pod, "spec": {**pod["spec"], "nodeName": ""}}


def with_hook(pod: dict[str, Any]) -> dict[str, Any]:
    hook = {"lifecycle": {"postStart": {"exec": {"command": ["sleep", "inf"]}}}}
    return {**pod, "spec": {**pod["spec"], "containers": [{**each, **hook} for each in pod["spec"]["containers"]]}}


def ended(code: int, reason: str = "Error", **more: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-01-05T14:16:31Z", **more}}


def not_started(**init: dict[str, Any]) -> dict[str, Any]:
    """A pod that failed with its init containers, whose states these are, before its container started."""
    statuses = [{"name": name, "state": state} for name, state in init.items()]
    return a_pod({"waiting": {"reason": "PodInitializing"}}, phase="Failed", initContainerStatuses=statuses)


def read(obj: dict[str, Any], pod: dict[str, Any] | None, warning: str = "") -> State:
    return read_state(read_stored(obj), obj, pod, warning=warning, is_certain=True)


LOST = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "message": "preempted by x"}]
SCHEDULED = [{"type": "PodScheduled", "status": "True"}]
UNFIT = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]
TABLE: list[tuple[str, dict[str, Any], dict[str, Any] | None, Status, str]] = [
    ("new", a_job(), None, Status.PENDING, "waits for its pod"),
    ("no node fits", a_job(), a_pod(conditions=UNFIT), Status.PENDING, "no node fits: 0/3 nodes"),
    ("on a node", a_job(), a_pod(), Status.PENDING, "the node prepares the container"),
    ("has no node", a_job(), without_node(a_pod()), Status.PENDING, "waits for a node"),
    (
        "on a node inside, without an address",
        a_job(),
        without_node(a_pod({"waiting": {"reason": "ContainerCreating"}}, conditions=SCHEDULED)),
        Status.PENDING,
        "the node prepares the container",
    ),
    (
        "its hook may hang",
        a_job(),
        with_hook(a_pod({"waiting": {"reason": "ContainerCreating"}})),
        Status.PENDING,
        "the node prepares the container, which counts as started when its postStart hook has ended",
    ),
    (
        "a secret is missing",
        a_job(),
        a_pod({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}),
        Status.PENDING,
        'CreateContainerConfigError: secret "x" not found',
    ),
    ("runs", a_job(), a_pod(RUNNING), Status.RUNNING, ""),
    ("is held", a_job(suspended="true"), a_pod(RUNNING), Status.SUSPENDED, "suspended by its user"),
    ("is being stopped", a_job(asked="stop"), a_pod(RUNNING), Status.RUNNING, "stopping"),
    ("ended well", a_job("Complete"), a_pod(ended(0)), Status.FINISHED, ""),
    ("ended badly", a_job("Failed"), a_pod(ended(3)), Status.FINISHED, ""),
    ("its side-car still runs", a_job(), a_pod(ended(0)), Status.FINISHED, ""),
    ("was stopped", a_job("Failed", asked="stop"), a_pod(ended(143)), Status.KILLED, "stopped by its user"),
    ("was killed", a_job("Failed", asked="kill"), a_pod(ended(137)), Status.KILLED, "killed by its user"),
    ("was ended by who knows", a_job(asked="?"), a_pod(ended(1)), Status.KILLED, "ended by its user"),
    (
        "its time was up",
        a_late_job("FailureTarget"),
        a_pod(ended(143)),
        Status.KILLED,
        "ended by the cluster: active longer than its deadline",
    ),
    (
        "was stopped, and its time was up",
        a_late_job("Failed", asked="stop"),
        a_pod(ended(143)),
        Status.KILLED,
        "stopped by its user",
    ),
    ("deleted by hand", a_job(), deleted(a_pod(ended(143))), Status.KILLED, "its pod was deleted"),
    ("deleted by hand, and deaf", a_job("Failed"), deleted(a_pod(ended(137))), Status.KILLED, "its pod was deleted"),
    ("ended itself when deleted", a_job("Failed"), deleted(a_pod(ended(1))), Status.FINISHED, "its pod was deleted"),
    ("ended well when deleted", a_job("Failed"), deleted(a_pod(ended(0))), Status.FINISHED, "its pod was deleted"),
    ("killed, and deleted", a_job(asked="kill"), deleted(a_pod(ended(137))), Status.KILLED, "killed by its user"),
    (
        "its time was up, and its pod is deleted",
        a_late_job("FailureTarget"),
        deleted(a_pod(ended(143))),
        Status.KILLED,
        "ended by the cluster: active longer than its deadline",
    ),
    ("got a signal from itself", a_job("Failed"), a_pod(ended(143)), Status.FINISHED, ""),
    ("memory", a_job(), a_pod(ended(137, "OOMKilled")), Status.KILLED, "used more memory than its limit of 64M"),
    (
        "evicted",
        a_job(),
        a_pod(ended(137), reason="Evicted", message="The node was low on memory"),
        Status.KILLED,
        "ended by the cluster: The node was low on memory",
    ),
    (
        "lost by its node",
        a_job("Failed"),
        a_pod({"terminated": {**LOST, "message": "could not be located"}}, phase="Failed"),
        Status.KILLED,
        "ended by the cluster: could not be located",
    ),
    (
        "killed, and lost by its node",
        a_job("Failed", asked="kill"),
        a_pod({"terminated": LOST}),
        Status.KILLED,
        "killed by its user",
    ),
    (
        "preempted",
        a_job(),
        a_pod(ended(143), conditions=DISRUPTED),
        Status.KILLED,
        "ended by the cluster: preempted by x",
    ),
    ("no such program", a_job(), a_pod(ended(128, "StartError", message="no file")), Status.FAILED, "no file"),
    ("refused by the node", a_job(), a_pod(phase="Failed", message="no cpu"), Status.FAILED, "no cpu"),
    (
        "an init container failed",
        a_job("Failed"),
        not_started(ok=ended(0, "Completed"), home=ended(2)),
        Status.FAILED,
        "the init container home ended with exit code 2: Error",
    ),
    (
        "an init container failed, and its node ended the side-car",
        a_job("Failed"),
        not_started(net=ended(143, finishedAt="2026-01-05T14:16:33Z"), home=ended(2)),
        Status.FAILED,
        "the init container home ended with exit code 2: Error",
    ),
    (
        "its time was up while an init container ran",
        a_late_job("FailureTarget"),
        not_started(home=ended(143)),
        Status.FAILED,
        "active longer than its deadline",
    ),
    ("its pod was deleted", a_job("Failed"), None, Status.KILLED, "its pod was deleted (said)"),
    ("its pod was deleted by us", a_job("Failed", asked="kill"), None, Status.KILLED, "ended by its user"),
    ("canceled", a_job("Suspended", asked="cancel"), None, Status.CANCELED, "canceled before it started"),
    ("canceled, pod still there", a_job(asked="cancel"), a_pod(), Status.CANCELED, "canceled before it started"),
    ("canceled too late", a_job(asked="cancel"), a_pod(ended(143)), Status.KILLED, "ended by its user"),
]


@pytest.mark.parametrize(("obj", "pod", "status", "message"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_states(obj: dict[str, Any], pod: dict[str, Any] | None, status: Status, message: str) -> None:
    state = read(obj, pod)
    assert (state.status, state.message) == (status, message)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row[3] not in (Status.PENDING, Status.RUNNING)], ids=lambda r: r[0]
)
def test_the_end_is_the_same_without_the_pod(row: Any) -> None:
    """What the annotation keeps is what was read."""
    _, obj, pod, status, message = row
    state = read(obj, pod)
    obj["metadata"]["annotations"][names.END] = encode_end(state)
    again = read(obj, None)
    if status is not Status.SUSPENDED:
        assert (again.status, again.message, again.exit_code) == (status, message, state.exit_code)
        assert again.has_run == state.has_run


@pytest.mark.parametrize("pod", [None, a_pod(), a_pod(RUNNING)])
@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_a_watch_that_is_behind_decides_nothing(pod: dict[str, Any] | None, condition: str) -> None:
    """The Job's end may arrive before its pod's, and an end that is wrong would be kept."""
    obj = a_job(condition)
    state = read_state(read_stored(obj), obj, pod)
    assert (state.is_unsure, state.is_completed) == (True, False)


READY = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-05T14:15:31Z"}


@pytest.mark.parametrize("unknown", [None, "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_an_end_of_unknown_time_is_not_the_submission(unknown: str | None, phase: str) -> None:
    """It counts until the job expires. A pod that was never ready has been so since its start."""
    pod = a_pod({"terminated": {**LOST, "finishedAt": unknown}}, phase=phase, conditions=[READY])
    assert read(a_job(), pod).changed is None
    obj = a_job("Failed")
    obj["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-08T14:15:31Z"
    assert read(obj, pod).changed == datetime(2026, 1, 8, 14, 15, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("obj", "pod"),
    [
        (a_job(), a_pod(phase="Failed", conditions=[READY])),
        (a_job("Suspended", asked="cancel"), None),
        (a_job("Failed"), None),
    ],
    ids=["pod failed", "canceled", "pod deleted"],
)
def test_ends_without_a_time(obj: dict[str, Any], pod: dict[str, Any] | None) -> None:
    state = read(obj, pod)
    assert (state.is_completed, state.changed) == (True, None)


LOST_NODE = (
    "its pod is being deleted (deleting due to NoExecute taint); if it does not end by 2026-01-05 14:21:31 UTC, "
    "its node n1 may be lost: ask an administrator"
)


@pytest.mark.parametrize(
    ("annotations", "state", "status", "message"),
    [
        ({}, RUNNING, Status.RUNNING, LOST_NODE),
        ({"asked": "kill"}, RUNNING, Status.RUNNING, f"stopping; {LOST_NODE}"),
        ({"suspended": "true"}, RUNNING, Status.SUSPENDED, f"suspended by its user; {LOST_NODE}"),
        ({}, None, Status.PENDING, LOST_NODE),
    ],
    ids=["runs", "was killed", "is held", "had not started"],
)
def test_a_pod_of_a_lost_node(
    annotations: dict[str, str], state: dict[str, Any] | None, status: Status, message: str
) -> None:
    """
    The control plane deletes it, and the node does not answer. Since Kubernetes 1.31 a Job that will fail has the
    condition `FailureTarget` until its pods have ended, and `Failed` only then.
    """
    taint = {"type": "DisruptionTarget", "status": "True", "message": "deleting due to NoExecute taint"}
    pod = a_pod(state, phase="Running" if state else "Pending", conditions=[READY, taint])
    pod["metadata"]["deletionTimestamp"] = "2026-01-05T14:21:31Z"
    found = read(a_job("FailureTarget", **annotations), keep_pod(pod))
    assert (found.status, found.message) == (status, message)


def test_a_pod_that_is_deleted_before_it_has_a_node() -> None:
    pod = a_pod()
    del pod["spec"]["nodeName"]
    pod["metadata"]["deletionTimestamp"] = "2026-01-05T14:21:31Z"
    assert read(a_job(), pod).message == "its pod is being deleted"


def test_a_pod_of_a_lost_node_that_an_administrator_removed() -> None:
    """A node may be lost for days before. Then the job must not expire at once, and nobody can cancel it."""
    for conditions in (("FailureTarget",), ("FailureTarget", "Failed")):
        obj = a_job(*conditions)
        obj["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-05T14:21:31Z"
        kept = unpack(PackedJob(obj))
        unsure = read_state(read_stored(kept), kept, None)
        assert (unsure.status, unsure.is_unsure) == (Status.RUNNING, True)
        state = read_state(read_stored(kept), kept, None, is_certain=True)
        assert (state.status, state.message, state.changed) == (Status.KILLED, "its pod was deleted (said)", None)


def test_a_pod_that_is_left_of_a_job_that_failed() -> None:
    """Before Kubernetes 1.31 a Job failed at once."""
    pod = a_pod(RUNNING)
    pod["metadata"]["deletionTimestamp"] = "2026-01-05T14:16:31Z"
    assert read(a_job("Failed"), pod).status is Status.KILLED


def test_a_warning_explains_a_job_without_a_pod() -> None:
    assert (
        read(a_job(), None, "FailedCreate: exceeded quota").message == "waits for its pod: FailedCreate: exceeded quota"
    )


@pytest.mark.parametrize(
    ("pod", "warning", "message"),
    [
        (a_pod(), "FailedMount: no such share", "FailedMount: no such share"),
        (a_pod(), "FailedScheduling: 0/3 nodes", "the node prepares the container"),
        (a_pod(), "FailedCreate: exceeded quota", "the node prepares the container"),
        (without_node(a_pod()), "FailedScheduling: 0/3 nodes", "FailedScheduling: 0/3 nodes"),
        (without_node(a_pod()), "FailedCreate: exceeded quota", "waits for a node"),
    ],
)
def test_a_warning_whose_cause_is_over_explains_nothing(pod: dict[str, Any], warning: str, message: str) -> None:
    """Where nodes are added for jobs, each image would be pulled under the words that no node fits."""
    assert read(a_job(), pod, warning).message == message


def test_the_newest_pod_counts() -> None:
    older, newer = a_pod(), a_pod()
    newer["metadata"] |= {"name": "b", "creationTimestamp": "2026-01-05T14:15:31Z"}
    assert choose_pod([newer, older]) is newer
    assert choose_pod([]) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 1}', '{"name": "a", "user": "b", "image": "i", "ports": 7}'])
def test_annotations_that_somebody_changed(text: str) -> None:
    """The job stays visible to its user."""
    obj = a_job()
    obj["metadata"]["annotations"][names.STORED] = text
    stored = read_stored(obj)
    assert (stored.id, stored.job.name, stored.job.user) == ("a-1", "a-1", "ana")


@pytest.mark.parametrize("text", ["{", "[]", '{"status": "?", "exitCode": "x"}'])
def test_an_unreadable_end(text: str) -> None:
    obj = a_job(end=text)
    state = read(obj, a_pod(ended(3)))
    assert state.status is Status.FINISHED


def test_asked_values_are_the_operations() -> None:
    assert {str(each) for each in Asked} == {"stop", "kill", "cancel"}
