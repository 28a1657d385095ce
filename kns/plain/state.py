"""
The state of a plain job, read from its Kubernetes objects alone, with the reason in words.

A decision table from the Kubernetes Job, its newest pod and the last warning to one `State`. It keeps nothing, so each
process that sees the same objects comes to the same state.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from kns.model.errors import clip
from kns.plain.ports import Kept
from kns.plain.stored import Stored, find_container, read_time

OUT_OF_MEMORY = "OOMKilled"
_END_UNKNOWN = "ContainerStatusUnknown"  # the node lost the container, mostly at a restart: 137 and no times
_COULD_NOT_START = frozenset({"StartError", "ContainerCannotRun", "RunContainerError"})
DEADLINE = "DeadlineExceeded"  # of a pod, by its node, or of a Job
_BY_KUBELET = frozenset({"Evicted", DEADLINE, "NodeShutdown", "Shutdown", "Preempting", "NodeLost"})
_BY_SIGNAL = frozenset({137, 143})  # SIGKILL and SIGTERM, with which a node ends the container of a deleted pod


class Status(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    FINISHED = "Finished"  # its process ended by itself, with any exit code
    FAILED = "Failed"  # it could not be started
    KILLED = "Killed"
    CANCELED = "Canceled"  # ended before it was started


COMPLETED = frozenset({Status.FINISHED, Status.FAILED, Status.KILLED, Status.CANCELED})


class Asked(StrEnum):
    """Who ends the job: the value of the annotation `kns.io/plain-asked`."""

    STOP = "stop"
    KILL = "kill"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class State:
    """
    `message` is for people, "" if there is nothing to say. `pod` and `host` are "" while there are none.

    `has_run`: its process was started, so that there is output. `changed` is when the state began, None if no object
    says it.
    `is_unsure`: the Kubernetes Job has ended, and its pod was not seen to end. Its pod may be gone, or the watch of the
    pods may be behind that of the Jobs. Only the API server knows, and `is_certain` of `read_state` is for its answer.
    """

    status: Status
    message: str = ""
    exit_code: int | None = None
    pod: str = ""
    host: str = ""
    addresses: tuple[str, ...] = ()
    container: str = ""
    has_run: bool = False
    started: datetime | None = None
    changed: datetime | None = None
    is_unsure: bool = False

    @property
    def is_completed(self) -> bool:
        return self.status in COMPLETED


def choose_pod(pods: Sequence[Kept]) -> Kept | None:
    """The newest pod of a job. The API server names others only if somebody deleted one by hand."""
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def read_state(
    stored: Stored, obj: Mapping[str, Any], pod: Kept | None, *, warning: str = "", is_certain: bool = False
) -> State:
    """`warning` is the text of the last warning event about the job or its pod, "" if there was none."""
    if stored.end:
        return _read_end(stored, pod)
    base = _read_place(pod)
    state = _container_state(pod)
    ended = _condition(obj, "Failed") or _condition(obj, "Complete")
    if isinstance(state.get("terminated"), dict):
        return _read_terminated(stored, obj, pod or {}, state["terminated"], base)
    if pod is not None and (pod.get("status") or {}).get("phase") == "Failed":
        return _read_failed_pod(stored, obj, pod, base, _read_end_time(ended))
    if stored.asked == Asked.CANCEL:  # no time: a template may have suspended the Job long before
        return State(Status.CANCELED, "canceled before it started")
    ends = ended or (_condition(obj, "FailureTarget") if pod is None else None)  # which precedes `Failed`
    if ends is not None and not is_certain:
        return _replace(base, Status.RUNNING, has_run=True, changed=stored.submitted, is_unsure=True)
    if ends is not None and (pod is None or "deletionTimestamp" in pod["metadata"]):
        return _read_lost(stored, ends, _read_end_time(ended))
    if pod is None:
        return State(Status.PENDING, _explain_no_pod(stored, warning), changed=stored.submitted)
    if isinstance(state.get("running"), dict):
        return _read_running(stored, pod, state["running"], base)
    message = _explain_deletion(stored, pod) or _explain_pending(pod, warning)
    return _replace(base, Status.PENDING, message, changed=stored.submitted)


def encode_end(state: State) -> str:
    """The annotation that keeps how a job ended, because its pod may be deleted before the job expires."""
    data = {
        "status": str(state.status),
        "message": state.message,
        "exitCode": state.exit_code,
        "pod": state.pod,
        "host": state.host,
        "hasRun": state.has_run,
        "started": state.started.isoformat() if state.started else None,
        "ended": state.changed.isoformat() if state.changed else None,
    }
    return json.dumps({key: value for key, value in data.items() if value not in (None, "")}, sort_keys=True)


def _read_end(stored: Stored, pod: Kept | None) -> State:
    end = stored.end
    try:
        status = Status(end.get("status", ""))
    except ValueError:
        status = Status.FINISHED
    code = end.get("exitCode")
    base = _read_place(pod)
    return replace(
        base,
        status=status,
        message=str(end.get("message", "")),
        exit_code=code if isinstance(code, int) and not isinstance(code, bool) else None,
        host=str(end.get("host", "")) or base.host,
        has_run=bool(end.get("hasRun", False)),
        started=read_time(end.get("started")),
        changed=read_time(end.get("ended")) or stored.submitted,
    )


def _read_place(pod: Kept | None) -> State:
    if pod is None:
        return State(Status.PENDING)
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    found = [each.get("ip", "") for each in status.get("hostIPs") or ()] or [status.get("hostIP", "")]
    return State(
        Status.PENDING,
        pod=pod["metadata"]["name"],
        host=spec.get("nodeName", ""),
        addresses=tuple(each for each in found if each),
        container=find_container(spec).get("name", ""),
    )


def _replace(base: State, status: Status, message: str = "", **more: Any) -> State:
    return replace(base, status=status, message=clip(message), **more)


def _container_status(pod: Kept | None) -> Mapping[str, Any]:
    if pod is None:
        return {}
    name = find_container(pod.get("spec") or {}).get("name")
    for each in (pod.get("status") or {}).get("containerStatuses") or ():
        if each.get("name") == name:
            found: Mapping[str, Any] = each
            return found
    return {}


def _container_state(pod: Kept | None) -> Mapping[str, Any]:
    state: Mapping[str, Any] = _container_status(pod).get("state") or {}
    return state


def _read_terminated(
    stored: Stored, obj: Mapping[str, Any], pod: Kept, terminated: Mapping[str, Any], base: State
) -> State:
    reason, said = str(terminated.get("reason", "")), str(terminated.get("message", ""))
    code = terminated.get("exitCode")
    finished = read_time(terminated.get("finishedAt"))
    if finished is not None and finished < stored.submitted:  # the clock of the node is behind
        finished = None
    job_ended = _condition(obj, "Failed") or _condition(obj, "Complete")
    times = {"started": read_time(terminated.get("startedAt")), "changed": finished or _read_end_time(job_ended)}
    if reason in _COULD_NOT_START:
        return _replace(base, Status.FAILED, said or reason, **times)
    more = {"exit_code": code, "has_run": True, **times}
    if stored.asked:
        words = {str(Asked.STOP): "stopped by its user", str(Asked.KILL): "killed by its user"}
        return _replace(base, Status.KILLED, words.get(stored.asked, "ended by its user"), **more)
    if reason == OUT_OF_MEMORY:
        limit = (find_container(pod.get("spec") or {}).get("resources") or {}).get("limits") or {}
        allowed = f" of {limit['memory']}" if "memory" in limit else ""
        return _replace(base, Status.KILLED, f"used more memory than its limit{allowed}", **more)
    cause = str((pod.get("status") or {}).get("reason", ""))
    ordered = _disruption(pod) or explain_deadline(obj)
    if reason == _END_UNKNOWN or cause in _BY_KUBELET or ordered:
        why = (pod.get("status") or {}).get("message") or ordered or cause or said or reason
        return _replace(base, Status.KILLED, f"ended by the cluster: {why}", **more)
    deleted = "its pod was deleted" if "deletionTimestamp" in pod["metadata"] else ""
    if deleted and code in _BY_SIGNAL:
        return _replace(base, Status.KILLED, deleted, **more)
    return _replace(base, Status.FINISHED, (said if code else "") or deleted, **more)


def _disruption(pod: Kept) -> str:
    """Why the cluster takes the pod off its node (preemption, drain, taint), "" if it does not."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return str(condition.get("message") or condition.get("reason") or "disruption")
    return ""


def explain_deadline(obj: Mapping[str, Any]) -> str:
    """Why the Job controller ends a Job whose `activeDeadlineSeconds` have passed, "" if they have not."""
    ended = _condition(obj, "Failed") or _condition(obj, "FailureTarget") or {}
    return str(ended.get("message") or DEADLINE) if ended.get("reason") == DEADLINE else ""


def _read_lost(stored: Stored, ended: Mapping[str, Any], changed: datetime | None) -> State:
    """The Kubernetes Job has ended, and its pod is gone or on a node that does not answer: the exit code is lost."""
    if ended.get("type") == "Complete":
        message = "its pod was deleted, so that its exit code is unknown"
        return State(Status.FINISHED, message, has_run=True, changed=changed)
    if stored.asked:
        return State(Status.KILLED, "ended by its user", has_run=True, changed=changed)
    said = clip(str(ended.get("message") or ended.get("reason") or ""))
    return State(Status.KILLED, f"its pod was deleted ({said})", has_run=True, changed=changed)


def _read_failed_pod(
    stored: Stored, obj: Mapping[str, Any], pod: Kept, base: State, job_ended: datetime | None
) -> State:
    """The pod failed, and its container has no end: it never ran, or the node was lost."""
    status = pod.get("status") or {}
    ordered = status.get("message") or _disruption(pod) or explain_deadline(obj)
    why = str(ordered or _failed_init(status) or status.get("reason") or "the pod failed")
    more = {"changed": job_ended}
    if stored.asked:
        return _replace(base, Status.KILLED, "ended by its user", **more)
    if status.get("reason") in _BY_KUBELET and _container_status(pod).get("started"):
        return _replace(base, Status.KILLED, f"ended by the cluster: {why}", has_run=True, **more)
    return _replace(base, Status.FAILED, why, **more)


def _failed_init(status: Mapping[str, Any]) -> str:
    """
    Which init container kept the job's container from its start, "" if none did. The first one that failed: its node
    then ends those that run beside the others.
    """
    ends = [
        (ended.get("finishedAt") or "", each.get("name"), ended)
        for each in status.get("initContainerStatuses") or ()
        if (ended := (each.get("state") or {}).get("terminated") or {}).get("exitCode")
    ]
    if not ends:
        return ""
    _, name, ended = min(ends, key=lambda end: end[0])
    said = ended.get("message") or ended.get("reason")
    return f"the init container {name} ended with exit code {ended['exitCode']}{f': {said}' if said else ''}"


def _read_running(stored: Stored, pod: Kept, running: Mapping[str, Any], base: State) -> State:
    started = read_time(running.get("startedAt"))
    more = {"has_run": True, "started": started, "changed": started or stored.submitted}
    status, doing = Status.RUNNING, "stopping" if stored.asked else ""
    if stored.is_suspended:
        status, doing = Status.SUSPENDED, "suspended by its user"
    return _replace(base, status, "; ".join(filter(None, (doing, _explain_deletion(stored, pod)))), **more)


def _explain_deletion(stored: Stored, pod: Kept) -> str:
    """
    "" for a pod that nobody deletes. Pod and Kubernetes Job stay as they are until the node has ended the container,
    which a lost node never does.
    """
    until = read_time(pod["metadata"].get("deletionTimestamp"))
    if until is None:
        return ""
    why = _disruption(pod)
    deleted = f"its pod is being deleted ({why})" if why else "its pod is being deleted"
    name = (pod.get("spec") or {}).get("nodeName")
    if not name:
        return deleted
    node = "its node" if stored.job.nested else f"its node {name}"  # a cluster inside does not say which one
    return f"{deleted}; if it does not end by {until:%Y-%m-%d %H:%M:%S} UTC, {node} may be lost: ask an administrator"


def _explain_no_pod(stored: Stored, warning: str) -> str:
    if stored.is_deleted:
        return "the job is being deleted"
    return clip(f"waits for its pod: {warning}") if warning else "waits for its pod"


def _explain_pending(pod: Kept, warning: str) -> str:
    """Why the container does not run yet, from the most certain source to the least."""
    waiting = _container_state(pod).get("waiting") or {}
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        image = find_container(pod.get("spec") or {}).get("image", "")
        return f"the image {image} cannot be pulled: {said or reason}"
    if said:
        return f"{reason}: {said}"
    for each in (pod.get("status") or {}).get("initContainerStatuses") or ():
        state = each.get("state") or {}
        held = state.get("waiting") or {}
        if held.get("message"):
            return f"the init container {each.get('name')} waits: {held.get('reason')}: {held['message']}"
        if "running" in state and not each.get("ready"):
            return f"the init container {each.get('name')} runs"
    has_node = bool((pod.get("spec") or {}).get("nodeName"))
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled":
            if condition.get("status") == "False":
                return f"no node fits: {condition.get('message') or condition.get('reason')}"
            has_node = True  # a nested job's pod has the name of its place in the cluster once it has an address
    # The last warning stays after its cause. A pod was created since, or has found its node.
    if warning and not warning.startswith(("FailedCreate:", "FailedScheduling:") if has_node else "FailedCreate:"):
        return warning
    if not has_node:
        return "waits for a node"
    if "postStart" in (find_container(pod.get("spec") or {}).get("lifecycle") or {}):
        return "the node prepares the container, which counts as started when its postStart hook has ended"
    return "the node prepares the container"


def _condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            found: Mapping[str, Any] = condition
            return found
    return None


def _read_end_time(ended: Mapping[str, Any] | None) -> datetime | None:
    return read_time(ended.get("lastTransitionTime")) if ended else None
