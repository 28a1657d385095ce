"""
Everything that a cluster can list, to be compared with a later moment.

An object is known by its uid; that it was written to is seen by its resourceVersion, except for kinds whose objects
are written to all the time. Objects of other jobs are left out, so that others may use the cluster meanwhile.
"""

import json
import re
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE

# Never looked at: they come and go without anybody's doing.
_COME_AND_GO = frozenset(
    {
        "events",
        "events.events.k8s.io",
        "componentstatuses",  # a view, without identity
        "nodes.metrics.k8s.io",  # views on measurements
        "pods.metrics.k8s.io",
    }
)
# Written to by heartbeats and by controllers: only whether they are there is compared.
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
# kns's own pods and what stands for them may be replaced while a test runs.
_KNS_PODS = frozenset({"Pod", "ReplicaSet", "EndpointSlice", "Endpoints"})
# An API server's own mark: a restarted one makes it anew, once the old one has run out.
_API_SERVER = re.compile(r"^apiserver-")
_JOB = re.compile(r"\bkns-job-([0-9]+)\b")
_LIST_S = 120.0

Key = tuple[str, str, str]  # kind, namespace or "", name


@dataclass(frozen=True, slots=True)
class Difference:
    """What is there now and was not, what was and is not, and what was written to."""

    added: frozenset[Key]
    removed: frozenset[Key]
    changed: frozenset[Key]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`objects`: key -> (uid, version; "" where it says nothing)."""

    kinds: int
    objects: dict[Key, tuple[str, str]]

    def compare(self, later: "Snapshot") -> Difference:
        """
        From this moment to a later one. An object that was replaced by another of its name counts as added.
        """
        kept = {key for key in self.objects.keys() & later.objects.keys() if self._uid(key) == later._uid(key)}
        return Difference(
            added=frozenset(later.objects.keys() - kept),
            removed=frozenset(self.objects.keys() - kept),
            changed=frozenset(key for key in kept if self.objects[key] != later.objects[key]),
        )

    def count(self) -> Counter[str]:
        """
        How many there are of each kind.
        """
        return Counter(kind for kind, _, _ in self.objects)

    def _uid(self, key: Key) -> str:
        return self.objects[key][0]


def take_snapshot(kubectl: Kubectl, *, jobs: Container[int] = ()) -> Snapshot:
    """
    All objects of all kinds, cluster-scoped ones included, less those of jobs other than `jobs`.
    """
    kinds = set(kubectl.run("api-resources", "--verbs=list", "--output=name").split()) - _COME_AND_GO
    text = kubectl.run("get", ",".join(sorted(kinds)), "--all-namespaces", "--output=json", timeout_s=_LIST_S)
    objects = {}
    for item in json.loads(text)["items"]:
        meta = item["metadata"]
        key = (item["kind"], meta.get("namespace", ""), meta["name"])
        if _is_of_others(item, jobs) or (key[0] in _KNS_PODS and key[1] == NAMESPACE):
            continue
        if key[0] == "Lease" and _API_SERVER.match(key[2]):
            continue
        objects[key] = (meta.get("uid", ""), "" if key[0] in _RESTLESS else meta["resourceVersion"])
    return Snapshot(kinds=len(kinds), objects=objects)


def _is_of_others(item: dict[str, object], jobs: Container[int]) -> bool:
    """Whatever it is, it names its job: an IPAddress by its parent, a volume by its claim."""
    numbers = {int(number) for number in _JOB.findall(json.dumps(item))}
    return bool(numbers) and not any(number in jobs for number in numbers)
