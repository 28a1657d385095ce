"""The scheduler's own Deployment: other settings for a while, who leads, and killing the one that does."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.kubectl import Kubectl
from demo.overlay import DEPLOYMENT, NAMESPACE
from tests.e2e import evidence
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


def await_leader(kubectl: Kubectl, *, after: Leadership | None = None, not_in: str = "") -> Leadership:
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

    return wait_for(
        probe, timeout_s=_TAKEOVER_S, what="a leader", evidence=lambda: evidence.describe_scheduler(kubectl)
    )


def await_whole(kubectl: Kubectl) -> None:
    """Until all replicas are ready again, as before a test that killed one."""

    def probe() -> None:
        deployment = kubectl.get("deployment", DEPLOYMENT, _IN)
        wanted, ready = deployment["spec"]["replicas"], deployment.get("status", {}).get("readyReplicas", 0)
        if wanted != ready or len(scheduler_pods(kubectl)) != wanted:
            raise NotYetError(f"{ready} of {wanted} replicas are ready")

    wait_for(probe, timeout_s=_ROLLOUT_S, what="all replicas", evidence=lambda: evidence.describe_scheduler(kubectl))


@dataclass(frozen=True, slots=True)
class Killed(Leadership):
    """Who led before the kill; `restarts` of its container so far."""

    restarts: int


def kill_leader(kubectl: Kubectl) -> Killed:
    """
    SIGKILL to the leader's process; who it was.

    On a cluster of other machines the process is out of reach: there its pod is deleted without any grace.
    """
    leader = read_leadership(kubectl)
    container = kubectl.get("pod", leader.pod, _IN)["status"]["containerStatuses"][0]
    killed = Killed(leader.pod, leader.version, leader.transitions, restarts=container["restartCount"])
    container_id = container["containerID"].rpartition("/")[2]
    found = [pid for pid in _pids() if _is_scheduler(pid, container_id)]
    if not found:
        remove_pod(kubectl, leader.pod)
    for pid in found:
        _kill(pid, container_id)
    return killed


def remove_pod(kubectl: Kubectl, pod: str) -> None:
    """Delete a pod at once, so that its container is not started again in its place."""
    kubectl.run("delete", "pod", pod, _IN, "--grace-period=0", "--force", "--ignore-not-found")


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is_scheduler(pid: int, container: str) -> bool:
    """Whether this is `python -m kns` in that very container; a process that has just ended is not."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        groups = Path(f"/proc/{pid}/cgroup").read_text("utf-8")
    except OSError:
        return False
    return argv[1:3] == [b"-m", b"kns"] and container in groups


def _kill(pid: int, container: str) -> None:
    """By a handle on the process, so that a number given anew meanwhile is not mistaken for it."""
    handle = os.pidfd_open(pid)
    try:
        assert _is_scheduler(pid, container), f"process {pid} ended by itself"
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
