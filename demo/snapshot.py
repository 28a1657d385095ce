"""
A snapshot of all objects in a cluster, for comparison with a later one.

An object is identified by its uid. A changed resourceVersion shows a write, except for kinds that change all the time.
Objects of other jobs are omitted, so that others may use the cluster at the same time.
"""

import json
import re
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE

# Ignored, because they appear and disappear on their own.
_COME_AND_GO = frozenset(
    {
        "events",
        "events.events.k8s.io",
        "componentstatuses",  # a view, without identity
        "nodes.metrics.k8s.io",  # views on measurements
        "pods.metrics.k8s.io",
    }
)
# Heartbeats and controllers write to them, so only their existence is compared.
_RESTLESS = frozenset(
    {
        "APIService",
        "CSINode",
        "DaemonSet",
        "Deployment",
        "Endpoints",
        "EndpointSlice",
        "HorizontalPodAutoscaler",
        "Lease",
        "Node",
        "Pod",
        "PodDisruptionBudget",
        "ReplicaSet",
    }
)
# The pods of kns and the objects that represent them may be replaced during a test.
_KNS_PODS = frozenset({"Pod", "ReplicaSet", "EndpointSlice", "Endpoints"})
# The Lease of an API server. A restarted server creates a new one after the old one has expired.
_API_SERVER = re.compile(r"^apiserver-")
_JOB = re.compile(r"\bkns-job-([0-9]+)\b")
_LIST_S = 120.0

Key = tuple[str, str, str]  # kind, namespace or "", name


@dataclass(frozen=True, slots=True)
class Difference:
    """The objects that were added, removed, and changed."""

    added: frozenset[Key]
    removed: frozenset[Key]
    changed: frozenset[Key]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`objects` is key -> (uid, resourceVersion). The version is "" for kinds that change all the time."""

    kinds: int
    objects: dict[Key, tuple[str, str]]

    def compare(self, later: "Snapshot") -> Difference:
        """
        The difference between this snapshot and a later one. A replaced object counts as removed and added.
        """
        kept = {key for key in self.objects.keys() & later.objects.keys() if self._uid(key) == later._uid(key)}
        return Difference(
            added=frozenset(later.objects.keys() - kept),
            removed=frozenset(self.objects.keys() - kept),
            changed=frozenset(key for key in kept if self.objects[key] != later.objects[key]),
        )

    def count(self) -> Counter[str]:
        """
        The number of objects of each kind.
        """
        return Counter(kind for kind, _, _ in self.objects)

    def _uid(self, key: Key) -> str:
        return self.objects[key][0]


# kns makes the prepared state once for each Kubernetes version, whatever jobs do.
_PREPARED = re.compile("kns-(prepare|state)-")


def take_snapshot(kubectl: Kubectl, *, jobs: Container[int] = ()) -> Snapshot:
    """
    All objects of all kinds, including cluster-scoped ones, without those of jobs that are not in `jobs`.
    """
    kinds = set(kubectl.run("api-resources", "--verbs=list", "--output=name").split()) - _COME_AND_GO
    text = kubectl.run("get", ",".join(sorted(kinds)), "--all-namespaces", "--output=json", timeout_s=_LIST_S)
    objects = {}
    for item in json.loads(text)["items"]:
        meta = item["metadata"]
        key = (item["kind"], meta.get("namespace", ""), meta["name"])
        if _is_of_others(item, jobs) or (key[0] in _KNS_PODS and key[1] == NAMESPACE):
            continue
        if key[1] == NAMESPACE and _PREPARED.match(key[2]):
            continue
        if key[0] == "Lease" and _API_SERVER.match(key[2]):
            continue
        objects[key] = (meta.get("uid", ""), "" if key[0] in _RESTLESS else meta["resourceVersion"])
    return Snapshot(kinds=len(kinds), objects=objects)


def _is_of_others(item: dict[str, object], jobs: Container[int]) -> bool:
    """Whether an object belongs to another job. Every such object names its job, for example a volume by its claim."""
    numbers = {int(number) for number in _JOB.findall(json.dumps(item))}
    return bool(numbers) and not any(number in jobs for number in numbers)
