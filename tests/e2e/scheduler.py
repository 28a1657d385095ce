"""The scheduler's own Deployment: other settings for a while, who leads, and what befalls the one that does."""

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from demo.kubectl import Kubectl
from demo.overlay import DEPLOYMENT, NAMESPACE
from tests.e2e import evidence
from tests.e2e.processes import Program
from tests.e2e.waiting import NotYetError, wait_for

CONFIG = "kns-config"
LEASE = "kns-scheduler"
_IN = f"--namespace={NAMESPACE}"
_SELECTOR = "--selector=app.kubernetes.io/name=kns-scheduler"
_ROLLOUT_S = 180
_TAKEOVER_S = 60.0  # a lease of 15 s, the standby's period of 2 s, and a slow machine


@dataclass(frozen=True, slots=True)
class Leadership:
    """The Lease as it stands. `pod` is the holder's; `version` moves with every renewal."""

    pod: str
    version: str
    transitions: int


@contextlib.contextmanager
def scheduler_settings(kubectl: Kubectl, **variables: str) -> Iterator[None]:
    """
    Run the scheduler with these variables, and with the former ones again afterwards.

    As an administrator does it: the ConfigMap, then a restart of the Deployment. Jobs live on meanwhile.
    """
    data = kubectl.get("configmap", CONFIG, _IN).get("data", {})
    before = {name: data.get(name) for name in variables}
    _restart_with(kubectl, dict(variables))
    try:
        yield
    finally:
        _restart_with(kubectl, before)


def renew_replicas(kubectl: Kubectl) -> None:
    """Other pods with the same settings: none of their containers was ever started again."""
    _restart_with(kubectl, {})


def _restart_with(kubectl: Kubectl, variables: dict[str, str | None]) -> None:
    kubectl.run("patch", "configmap", CONFIG, _IN, "--type=merge", f"--patch={json.dumps({'data': variables})}")
    kubectl.run("rollout", "restart", f"deployment/{DEPLOYMENT}", _IN)
    kubectl.run(
        "rollout", "status", f"deployment/{DEPLOYMENT}", _IN, f"--timeout={_ROLLOUT_S}s", timeout_s=_ROLLOUT_S + 10
    )
    await_leader(kubectl)


@contextlib.contextmanager
def scheduler_stopped(kubectl: Kubectl) -> Iterator[None]:
    """
    Nobody reconciles meanwhile, as between two releases; afterwards as many replicas as before do.
    """
    deployment = f"deployment/{DEPLOYMENT}"
    replicas = kubectl.get(deployment, _IN)["spec"]["replicas"]
    kubectl.run("scale", deployment, _IN, "--replicas=0")
    try:
        wait_for(lambda: _expect_no_pod(kubectl), timeout_s=_ROLLOUT_S, what="the end of all replicas")
        yield
    finally:
        kubectl.run("scale", deployment, _IN, f"--replicas={replicas}")
        kubectl.run("rollout", "status", deployment, _IN, f"--timeout={_ROLLOUT_S}s", timeout_s=_ROLLOUT_S + 10)
        await_leader(kubectl)


def _expect_no_pod(kubectl: Kubectl) -> None:
    if pods := kubectl.get("pods", _IN, _SELECTOR)["items"]:
        raise NotYetError(f"{len(pods)} pods are there")


def scheduler_pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    """The replicas that are not on their way out."""
    pods = kubectl.get("pods", _IN, _SELECTOR)["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def read_leadership(kubectl: Kubectl) -> Leadership:
    """Who leads, by the Lease."""
    lease = kubectl.get("lease", LEASE, _IN)
    holder = lease["spec"].get("holderIdentity") or ""
    return Leadership(
        pod=holder.rpartition("-")[0],
        version=lease["metadata"]["resourceVersion"],
        transitions=lease["spec"].get("leaseTransitions") or 0,
    )


def await_leader(
    kubectl: Kubectl, *, after: Leadership | None = None, not_in: str = "", timeout_s: float = _TAKEOVER_S
) -> Leadership:
    """
    Until a pod that is there leads, and has renewed the Lease since `after`; `not_in` is a pod that must not be it.
    """

    def probe() -> Leadership:
        now = read_leadership(kubectl)
        live = [pod["metadata"]["name"] for pod in scheduler_pods(kubectl)]
        renewed = after is None or now.version != after.version
        if now.pod in live and now.pod != not_in and renewed:
            return now
        raise NotYetError(f"{now}; pods: {', '.join(live)}")

    return wait_for(probe, timeout_s=timeout_s, what="a leader", evidence=lambda: evidence.describe_scheduler(kubectl))


def await_whole(kubectl: Kubectl) -> None:
    """Until all replicas are ready again, as before a test that killed one."""

    def probe() -> None:
        deployment = kubectl.get("deployment", DEPLOYMENT, _IN)
        wanted, ready = deployment["spec"]["replicas"], deployment.get("status", {}).get("readyReplicas", 0)
        if wanted != ready or len(scheduler_pods(kubectl)) != wanted:
            raise NotYetError(f"{ready} of {wanted} replicas are ready")

    wait_for(probe, timeout_s=_ROLLOUT_S, what="all replicas", evidence=lambda: evidence.describe_scheduler(kubectl))


@dataclass(frozen=True, slots=True)
class Former(Leadership):
    """Who led before it was struck; `restarts` of its container so far."""

    restarts: int


def kill_leader(kubectl: Kubectl) -> Former:
    """
    SIGKILL to the leader's process; who it was.

    On a cluster of other machines the process is out of reach: there its pod is deleted without any grace.
    """
    leader = _read_former(kubectl)
    if not find_program(kubectl, leader.pod).signal(signal.SIGKILL):
        remove_pod(kubectl, leader.pod)
    return leader


def kill_leading_pod(kubectl: Kubectl) -> Former:
    """SIGKILL to the leader, and its pod goes with it: nothing waits for a container that is started again."""
    leader = kill_leader(kubectl)
    remove_pod(kubectl, leader.pod)
    return leader


def kill_all(kubectl: Kubectl) -> list[str]:
    """SIGKILL to the processes of all replicas; which pods they are in."""
    pods = [pod["metadata"]["name"] for pod in scheduler_pods(kubectl)]
    programs = [find_program(kubectl, pod) for pod in pods]
    assert [program.signal(signal.SIGKILL) for program in programs] == [1] * len(pods)
    return pods


@contextlib.contextmanager
def frozen_leader(kubectl: Kubectl) -> Iterator[Former]:
    """The leader's process stands still (SIGSTOP) and is woken at the end; who it is."""
    leader = _read_former(kubectl)
    program = find_program(kubectl, leader.pod)
    assert program.signal(signal.SIGSTOP) == 1
    try:
        yield leader
    finally:
        program.signal(signal.SIGCONT)


def find_program(kubectl: Kubectl, pod: str, *arguments: str) -> Program:
    """What runs with these arguments in a replica's container; by default kns itself."""
    container = kubectl.get("pod", pod, _IN)["status"]["containerStatuses"][0]
    return Program(container["containerID"].rpartition("/")[2], arguments or ("-m", "kns"))


def count_restarts(kubectl: Kubectl, pod: str) -> int:
    """How often a replica's container was started again."""
    return int(kubectl.get("pod", pod, _IN)["status"]["containerStatuses"][0]["restartCount"])


def read_log(kubectl: Kubectl, pod: str, *, previous: bool = False) -> list[dict[str, Any]]:
    """A replica's log lines, less those of its HTTP server; `previous`: those of its container before the restart."""
    text = kubectl.run("logs", pod, _IN, *(["--previous"] if previous else []))
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] != "http_request"]


@contextlib.contextmanager
def no_scheduler(kubectl: Kubectl) -> Iterator[None]:
    """The Deployment scaled to nothing while the block runs."""
    replicas = kubectl.get("deployment", DEPLOYMENT, _IN)["spec"]["replicas"]
    _scale(kubectl, 0)

    def probe() -> None:
        if pods := kubectl.get("pods", _IN, _SELECTOR)["items"]:
            raise NotYetError(f"{len(pods)} pods of the scheduler are there")

    try:
        wait_for(probe, timeout_s=_ROLLOUT_S, what="no scheduler")
        yield
    finally:
        _scale(kubectl, replicas)
        await_whole(kubectl)


def _scale(kubectl: Kubectl, replicas: int) -> None:
    kubectl.run("scale", f"deployment/{DEPLOYMENT}", _IN, f"--replicas={replicas}")


def remove_pod(kubectl: Kubectl, pod: str) -> None:
    """Delete a pod at once, so that its container is not started again in its place."""
    kubectl.run("delete", "pod", pod, _IN, "--grace-period=0", "--force", "--ignore-not-found")


def _read_former(kubectl: Kubectl) -> Former:
    leader = await_leader(kubectl)
    restarts = count_restarts(kubectl, leader.pod)
    return Former(leader.pod, leader.version, leader.transitions, restarts=restarts)
