"""
Why a pod does not start: the one place that reads it from Kubernetes' status fields.

The texts are those of the scheduler, the kubelet or the API server. They are free text, so decisions are made on
`BlockerKind` only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from kns.model.reading.event_time import read_event_time
from kns.ports import Context, Kind, Object
from kns.stages.ownership import is_terminating

_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_PULL_EVENTS = frozenset({"Pulling", "Pulled", "Failed", "BackOff"})
_STARTING = frozenset({"PodInitializing", "ContainerCreating"})


class BlockerKind(StrEnum):
    REFUSED = "Refused"  # the API server refuses the pod: quota, admission
    UNSCHEDULED = "Unscheduled"
    IMAGE = "Image"  # an image cannot be pulled
    CONTAINER = "Container"  # a container cannot be created, or it crashes again and again


@dataclass(frozen=True, slots=True)
class Blocker:
    """What keeps a pod from starting. `container` is empty if it is none in particular."""

    kind: BlockerKind
    detail: str
    container: str = ""

    def describe(self, pod: str) -> str:
        """
        One clause for a message.

        >>> Blocker(BlockerKind.REFUSED, "exceeded quota").describe("init pod")
        'no init pod: exceeded quota'
        >>> Blocker(BlockerKind.UNSCHEDULED, "0/1 nodes are available").describe("init pod")
        'the init pod is not scheduled: 0/1 nodes are available'
        """
        if self.kind is BlockerKind.REFUSED:
            return f"no {pod}: {self.detail}"
        if self.kind is BlockerKind.UNSCHEDULED:
            return f"the {pod} is not scheduled: {self.detail}"
        return f"container {self.container}: {self.detail}"


def find_condition(obj: Object, kind: str) -> Object:
    """The condition of this type in the object's status; empty if it has none."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def list_containers(pod: Object) -> list[Object]:
    """The statuses of the pod's containers; init containers come first, as they run first."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def list_pods(ctx: Context, labels: Mapping[str, str]) -> Sequence[Object]:
    """The job's own pods with these labels, oldest first."""
    pods = [
        pod
        for pod in ctx.world.cluster.observe_job(Kind.POD, ctx.location)
        if labels.items() <= (pod["metadata"].get("labels") or {}).items()
    ]
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))


def find_blocker(
    ctx: Context, pods: Sequence[Object], owner: Object | None, *, read_events: bool = False
) -> Blocker | None:
    """
    Why the newest of `pods` does not start; None if nothing is known to block it.

    `owner` is the object that makes the pods. A Deployment has a condition if its pods are refused. A StatefulSet and a
    Kubernetes Job only write Events; with `read_events` these are read while there is no pod.
    """
    if owner is not None:
        failure = find_condition(owner, "ReplicaFailure")
        refusal = str(failure.get("message")) if failure.get("status") == "True" else None
        if refusal is None and not pods and read_events:
            refusal = find_refusal(ctx.world.cluster.list_events(ctx.namespace, owner["metadata"]["name"]))
        if refusal is not None:
            return Blocker(BlockerKind.REFUSED, refusal)
    return read_blocker(pods[-1]) if pods else None


def find_refusal(events: Iterable[Object]) -> str | None:
    """The API server's words if it refuses the pods of an object with these Events."""
    for event in events:
        if event.get("reason") == "FailedCreate":
            return str(event.get("message"))
    return None


def read_blocker(pod: Object) -> Blocker | None:
    """The reason in a pod's own status."""
    scheduled = find_condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") != "True":
        return Blocker(BlockerKind.UNSCHEDULED, str(scheduled.get("message") or scheduled.get("reason") or ""))
    for container in list_containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason is not None and reason not in _STARTING:
            kind = BlockerKind.IMAGE if reason in _PULL_REASONS else BlockerKind.CONTAINER
            detail = f"{reason}: {waiting.get('message', '')}{_last_words(container)}"
            return Blocker(kind, detail, container["name"])
    return None


def is_node_lost(pod: Object) -> bool:
    """
    Whether the host has lost the pod's node: its node controller sets condition Ready to False, and leaves the rest as
    the kubelet reported it. A kubelet changes Ready together with ContainersReady, unless the pod has readiness gates.
    """
    ready, containers = find_condition(pod, "Ready"), find_condition(pod, "ContainersReady")
    return (ready.get("status"), containers.get("status")) == ("False", "True") and (
        ready.get("reason") != "ReadinessGatesNotReady"
    )


def explain_end(pod: Object) -> str | None:
    """Why a pod that runs makes no progress: its node is lost, or it is terminating. None if neither is known."""
    name = pod["metadata"]["name"]
    if is_node_lost(pod):
        return f"the node of pod {name} does not answer"
    if is_terminating(pod):
        return f"pod {name} is terminating, and another one starts when it is gone"
    return None


def is_unscheduled(pod: Object) -> bool:
    blocker = read_blocker(pod)
    return blocker is not None and blocker.kind is BlockerKind.UNSCHEDULED


def placed_for_s(pod: Object, now: datetime) -> float:
    """Seconds since the scheduler gave the pod a node, or since its creation if its status does not say when."""
    scheduled = find_condition(pod, "PodScheduled")
    placed = scheduled.get("lastTransitionTime") if scheduled.get("status") == "True" else None
    return (now - datetime.fromisoformat(placed or pod["metadata"]["creationTimestamp"])).total_seconds()


def list_pod_events(ctx: Context, pod: Object) -> Sequence[Object]:
    """The Events about a pod, oldest first."""
    uid = pod["metadata"]["uid"]
    events = ctx.world.cluster.list_events(ctx.namespace, pod["metadata"]["name"])
    return sorted((event for event in events if event["involvedObject"].get("uid") == uid), key=read_event_time)


def is_pulling(events: Sequence[Object]) -> bool:
    """
    Whether an image is being pulled at this moment.

    Only Events tell: while the kubelet pulls an image again, the container's status still has the error of the pull
    before.
    """
    pulls = [event["reason"] for event in events if event.get("reason") in _PULL_EVENTS]
    return pulls[-1:] == ["Pulling"]


def find_warning(events: Sequence[Object]) -> str | None:
    """The message of the newest Event if it is a warning, for example about a volume or the pod's network."""
    if not events or events[-1].get("type") != "Warning":
        return None
    return str(events[-1].get("message"))


def _last_words(container: Mapping[str, Any]) -> str:
    """The termination message of a container that crashed."""
    ended = (container.get("lastState") or {}).get("terminated") or {}
    return f"; {ended['message'].strip()}" if ended.get("message") else ""
