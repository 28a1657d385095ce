"""Memory and processor time of a namespace's pods, from the kubelet's summary, which reads the cgroups."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.errors import BenchError
from demo.kubectl import Kubectl

_MIB = 2**20
_TENANT = "web-"  # the pods of the app that both chains run


@dataclass(frozen=True, slots=True)
class Idle:
    """
    An idle virtual cluster: control plane and CoreDNS, without the app. `memory_mib` is the working set; `containers`
    has it by container.
    """

    memory_mib: float
    millicores: float
    containers: dict[str, float]


def measure_idle(kubectl: Kubectl, namespace: str, seconds: float) -> Idle:
    """
    Raises:
        BenchError: a node does not report the pods.
    """
    before = _read(kubectl, namespace)
    time.sleep(seconds)
    after = _read(kubectl, namespace)
    if not after or before.keys() != after.keys():
        raise BenchError(f"the kubelet does not report the same pods of {namespace} twice")
    memory = {name: container["memory"]["workingSetBytes"] / _MIB for name, container in after.items()}
    spent = {name: _millicores(before[name]["cpu"], after[name]["cpu"]) for name in after}
    return Idle(sum(memory.values()), sum(spent.values()), memory)


def _millicores(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """The mean between two samples. The kubelet takes one every 10 to 20 s, so their own times count."""
    passed_s = _seconds(after["time"]) - _seconds(before["time"])
    if passed_s <= 0:
        raise BenchError("the kubelet took no new sample; measure for longer")
    return float((after["usageCoreNanoSeconds"] - before["usageCoreNanoSeconds"]) / 1e6 / passed_s)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _read(kubectl: Kubectl, namespace: str) -> dict[str, dict[str, Any]]:
    """The summaries of the containers by name, without those of the app."""
    found: dict[str, dict[str, Any]] = {}
    for node in kubectl.get("nodes")["items"]:
        path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
        summary = json.loads(kubectl.run("get", "--raw", path))
        for pod in summary["pods"]:
            ref = pod["podRef"]
            if ref["namespace"] != namespace or ref["name"].startswith(_TENANT):
                continue
            for container in pod.get("containers") or ():
                if "workingSetBytes" in container.get("memory", {}) and "usageCoreNanoSeconds" in container.get(
                    "cpu", {}
                ):
                    found[container["name"]] = container
    return found
