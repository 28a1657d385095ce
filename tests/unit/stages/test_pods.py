"""Why a pod does not start, read from the statuses that Kubernetes writes."""

from typing import Any

import pytest

from kns.ports import Kind, Object
from kns.stages.pods import Blocker, BlockerKind, find_blocker, find_refusal, is_node_lost, read_blocker
from tests.builders import a_job
from tests.flow.conftest import Simulation

QUOTA = 'pods "web-1" is forbidden: exceeded quota: kns-quota'


def a_container(name: str = "app", **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


def waiting(reason: str, message: str = "", name: str = "app") -> dict[str, Any]:
    return a_container(name, waiting={"reason": reason, "message": message})


def unscheduled(**more: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", **more}]}


@pytest.mark.parametrize(
    ("status", "blocker"),
    [
        pytest.param({}, None, id="no status yet"),
        pytest.param({"conditions": [{"type": "PodScheduled", "status": "True"}]}, None, id="scheduled"),
        pytest.param({"containerStatuses": [a_container(running={})]}, None, id="running"),
        pytest.param({"containerStatuses": [a_container(terminated={"exitCode": 1})]}, None, id="ended"),
        pytest.param({"containerStatuses": [waiting("ContainerCreating")]}, None, id="being created"),
        pytest.param({"containerStatuses": [waiting("PodInitializing")]}, None, id="init containers run"),
        pytest.param({"containerStatuses": [a_container(waiting={})]}, None, id="waits for no known reason"),
        pytest.param(
            unscheduled(message="0/1 nodes are available", reason="Unschedulable"),
            Blocker(BlockerKind.UNSCHEDULED, "0/1 nodes are available"),
            id="unschedulable",
        ),
        pytest.param(
            unscheduled(reason="SchedulingGated"),
            Blocker(BlockerKind.UNSCHEDULED, "SchedulingGated"),
            id="unschedulable without a message",
        ),
        *(
            pytest.param(
                {"containerStatuses": [waiting(reason, "not found")]},
                Blocker(BlockerKind.IMAGE, f"{reason}: not found", "app"),
                id=reason,
            )
            for reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
        ),
        pytest.param(
            {"containerStatuses": [waiting("CreateContainerConfigError", 'secret "x" not found')]},
            Blocker(BlockerKind.CONTAINER, 'CreateContainerConfigError: secret "x" not found', "app"),
            id="container cannot be created",
        ),
        pytest.param(
            {"containerStatuses": [waiting("CrashLoopBackOff", "back-off 10s")]},
            Blocker(BlockerKind.CONTAINER, "CrashLoopBackOff: back-off 10s", "app"),
            id="crash loop",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    {
                        **waiting("CrashLoopBackOff", "back-off 10s"),
                        "lastState": {"terminated": {"exitCode": 64, "message": "no such file\n"}},
                    }
                ]
            },
            Blocker(BlockerKind.CONTAINER, "CrashLoopBackOff: back-off 10s; no such file", "app"),
            id="crash loop with a termination message",
        ),
        pytest.param(
            {
                "initContainerStatuses": [waiting("ImagePullBackOff", "denied", "templates")],
                "containerStatuses": [waiting("PodInitializing")],
            },
            Blocker(BlockerKind.IMAGE, "ImagePullBackOff: denied", "templates"),
            id="an init container waits",
        ),
    ],
)
def test_what_a_pod_says_of_itself(status: dict[str, Any], blocker: Blocker | None) -> None:
    assert read_blocker({"metadata": {"name": "p"}, "status": status}) == blocker


@pytest.mark.parametrize(
    ("event", "refusal"),
    [
        ({"reason": "FailedCreate", "message": QUOTA, "involvedObject": {"name": "web"}}, QUOTA),
        ({"reason": "SuccessfulCreate", "message": "created", "involvedObject": {"name": "web"}}, None),
    ],
)
def test_an_event_may_say_that_pods_are_refused(event: Object, refusal: str | None) -> None:
    assert find_refusal([event]) == refusal


def an_owner(status: str | None = None) -> Object:
    conditions = [{"type": "ReplicaFailure", "status": status, "message": QUOTA}] if status else []
    return {"metadata": {"name": "web"}, "status": {"conditions": conditions}}


A_POD = {"metadata": {"name": "p"}, "status": unscheduled(message="no node")}
REFUSED, UNSCHEDULED = Blocker(BlockerKind.REFUSED, QUOTA), Blocker(BlockerKind.UNSCHEDULED, "no node")


@pytest.mark.parametrize(
    ("pods", "owner", "read_events", "blocker"),
    [
        pytest.param([], None, True, None, id="nothing exists"),
        pytest.param([], an_owner(), False, None, id="no pod yet, and events are not read"),
        pytest.param([], an_owner(), True, REFUSED, id="an event says that the pod is refused"),
        pytest.param([], an_owner("True"), False, REFUSED, id="a condition says that the pod is refused"),
        pytest.param([], an_owner("False"), False, None, id="a refusal that is over"),
        pytest.param([A_POD], an_owner(), True, UNSCHEDULED, id="the pod exists after all"),
        pytest.param([A_POD], an_owner("True"), False, REFUSED, id="an old pod, and its replacement is refused"),
        pytest.param([A_POD, {"metadata": {}}], an_owner(), False, None, id="the newest pod decides"),
    ],
)
def test_who_knows_why_there_is_no_running_pod(
    sim: Simulation, pods: list[Object], owner: Object | None, read_events: bool, blocker: Blocker | None
) -> None:
    sim.submit(a_job())
    ctx = sim.context()
    event = {"reason": "FailedCreate", "message": QUOTA, "involvedObject": {"name": "web"}}
    sim.host.put(Kind.EVENT, ctx.namespace, "refused", event)
    assert find_blocker(ctx, pods, owner, read_events=read_events) == blocker


@pytest.mark.parametrize(
    ("ready", "containers", "is_lost"),
    [
        pytest.param({"status": "True"}, {"status": "True"}, False, id="ready"),
        pytest.param({"status": "False"}, {"status": "True"}, True, id="the node controller changed one of the two"),
        pytest.param(
            {"status": "False", "reason": "ContainersNotReady"},
            {"status": "False", "reason": "ContainersNotReady"},
            False,
            id="the kubelet changed both",
        ),
        pytest.param(
            {"status": "False", "reason": "ReadinessGatesNotReady"}, {"status": "True"}, False, id="a readiness gate"
        ),
        pytest.param({}, {}, False, id="not known yet"),
    ],
)
def test_a_pod_says_that_its_node_is_lost(ready: Object, containers: Object, is_lost: bool) -> None:
    conditions = [{"type": "Ready", **ready}, {"type": "ContainersReady", **containers}]
    assert is_node_lost({"metadata": {"name": "p"}, "status": {"conditions": conditions}}) is is_lost
