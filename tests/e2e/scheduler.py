"""The scheduler's own Deployment: its settings, who leads, and how a test kills or freezes the leader."""

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
from tests.e2e.waiting import PATIENCE, NotYetError, wait_for

CONFIG = "kns-config"
LEASE = "kns-scheduler"
_IN = f"--namespace={NAMESPACE}"
_SELECTOR = "--selector=app.kubernetes.io/name=kns-scheduler"
_ROLLOUT_S = 180  # longer than test_nodes.py has its taints, with which no new pod of kns is scheduled
_TAKEOVER_S = 60.0  # a lease of 15 s, the standby's period of 2 s, and a slow machine


@dataclass(frozen=True, slots=True)
class Leadership:
    """The Lease as it stands. `pod` is the holder's; `version` moves with every renewal."""

    pod: str
    version: str
    transitions: int


class Settings:
    """
    The scheduler's settings, changed as an administrator changes them: ConfigMap, then a rolling restart. Jobs live on.

    The usual settings are restored only when a test needs them, so that tests that change settings, one after the
    other, cost one restart each and not two.
    """

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._usual: dict[str, str | None] = {}  # None: the variable is not in the ConfigMap
        self._in_use: dict[str, str] = {}

    def use(self, **variables: str) -> None:
        """Run the scheduler with these variables and, in everything else, with the usual settings."""
        if variables == self._in_use:
            return
        data = self._kubectl.get("configmap", CONFIG, _IN).get("data", {})
        for name in variables:
            self._usual.setdefault(name, data.get(name))
        change = {name: self._usual[name] for name in self._in_use} | variables
        self._in_use = variables  # before the restart: a restart that fails is to be undone as well
        _restart_with(self._kubectl, change)

    def restore(self) -> None:
        """Run the scheduler with the usual settings."""
        self.use()


def renew_replicas(kubectl: Kubectl) -> None:
    """Replace all pods; the settings stay. The containers of the new ones have never been restarted."""
    _restart_with(kubectl, {})


def _restart_with(kubectl: Kubectl, variables: dict[str, str | None]) -> None:
    kubectl.run("patch", "configmap", CONFIG, _IN, "--type=merge", f"--patch={json.dumps({'data': variables})}")
    kubectl.run("rollout", "restart", f"deployment/{DEPLOYMENT}", _IN)
    limit = f"--timeout={_ROLLOUT_S * PATIENCE:.0f}s"
    kubectl.run("rollout", "status", f"deployment/{DEPLOYMENT}", _IN, limit, timeout_s=_ROLLOUT_S + 10)
    await_leader(kubectl)


@contextlib.contextmanager
def scheduler_stopped(kubectl: Kubectl) -> Iterator[None]:
    """Scale the Deployment to zero while the block runs: nobody reconciles, as between two releases."""
    replicas = kubectl.get("deployment", DEPLOYMENT, _IN)["spec"]["replicas"]
    _scale(kubectl, 0)
    try:
        wait_for(lambda: _require_no_pod(kubectl), timeout_s=_ROLLOUT_S, what="the end of all replicas")
        yield
    finally:
        _scale(kubectl, replicas)
        await_whole(kubectl)
        await_leader(kubectl)


def _scale(kubectl: Kubectl, replicas: int) -> None:
    kubectl.run("scale", f"deployment/{DEPLOYMENT}", _IN, f"--replicas={replicas}")


def _require_no_pod(kubectl: Kubectl) -> None:
    if pods := kubectl.get("pods", _IN, _SELECTOR)["items"]:
        raise NotYetError(f"{len(pods)} pods of the scheduler exist")


def scheduler_pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    """The replicas that are not being deleted."""
    pods = kubectl.get("pods", _IN, _SELECTOR)["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def read_leadership(kubectl: Kubectl) -> Leadership:
    """Who leads according to the Lease."""
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
    Wait until an existing pod leads, other than `not_in`, and has renewed the Lease since `after`.
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
    """Wait until all replicas are ready, as before a test that killed one."""

    def probe() -> None:
        deployment = kubectl.get("deployment", DEPLOYMENT, _IN)
        wanted, ready = deployment["spec"]["replicas"], deployment.get("status", {}).get("readyReplicas", 0)
        if wanted != ready or len(scheduler_pods(kubectl)) != wanted:
            raise NotYetError(f"{ready} of {wanted} replicas are ready")

    wait_for(probe, timeout_s=_ROLLOUT_S, what="all replicas", evidence=lambda: evidence.describe_scheduler(kubectl))


@dataclass(frozen=True, slots=True)
class Former(Leadership):
    """The leader before it was killed or frozen; `restarts` of its container so far."""

    restarts: int


def kill_leader(kubectl: Kubectl) -> Former:
    """
    SIGKILL to the leader's process. Returns who it was.

    On a cluster of other machines the process is out of reach; there its pod is deleted without any grace.
    """
    leader = _read_former(kubectl)
    if not find_program(kubectl, leader.pod).signal(signal.SIGKILL):
        remove_pod(kubectl, leader.pod)
    return leader


def kill_leading_pod(kubectl: Kubectl) -> Former:
    """SIGKILL to the leader, and delete its pod, so that its container is not restarted."""
    leader = kill_leader(kubectl)
    remove_pod(kubectl, leader.pod)
    return leader


def kill_all(kubectl: Kubectl) -> list[str]:
    """SIGKILL to the processes of all replicas. Returns the names of their pods."""
    pods = [pod["metadata"]["name"] for pod in scheduler_pods(kubectl)]
    programs = [find_program(kubectl, pod) for pod in pods]
    assert [program.signal(signal.SIGKILL) for program in programs] == [1] * len(pods)
    return pods


@contextlib.contextmanager
def frozen_leader(kubectl: Kubectl) -> Iterator[Former]:
    """Freeze the leader's process (SIGSTOP) while the block runs. Gives who it is."""
    leader = _read_former(kubectl)
    program = find_program(kubectl, leader.pod)
    assert program.signal(signal.SIGSTOP) == 1
    try:
        yield leader
    finally:
        program.signal(signal.SIGCONT)


def find_program(kubectl: Kubectl, pod: str, *arguments: str) -> Program:
    """The program with these arguments in a replica's container; by default kns itself."""
    container = kubectl.get("pod", pod, _IN)["status"]["containerStatuses"][0]
    return Program(container["containerID"].rpartition("/")[2], arguments or ("-m", "kns"))


def count_restarts(kubectl: Kubectl, pod: str) -> int:
    """How often a replica's container was restarted."""
    return int(kubectl.get("pod", pod, _IN)["status"]["containerStatuses"][0]["restartCount"])


def read_log(kubectl: Kubectl, pod: str, *, previous: bool = False) -> list[dict[str, Any]]:
    """A replica's log lines without HTTP requests; `previous`: those of its container before the restart."""
    text = kubectl.run("logs", pod, _IN, *(["--previous"] if previous else []))
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] != "http_request"]


def remove_pod(kubectl: Kubectl, pod: str) -> None:
    """Delete a pod at once, so that its container is not restarted."""
    kubectl.run("delete", "pod", pod, _IN, "--grace-period=0", "--force", "--ignore-not-found")


def _read_former(kubectl: Kubectl) -> Former:
    leader = await_leader(kubectl)
    restarts = count_restarts(kubectl, leader.pod)
    return Former(leader.pod, leader.version, leader.transitions, restarts=restarts)
