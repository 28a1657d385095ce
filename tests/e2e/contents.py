"""
What a virtual cluster contains, without what differs between any two of them, so that two can be compared whole.

Compared are all objects that somebody asked for: labels, annotations, owners, spec, data and rules. What controllers
derive from them, and what shows the present state, is left out.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from demo.kubectl import Kubectl
from demo.nested import nested_kubectl
from tests.e2e.jobs import TrialJob
from tests.e2e.site import Site

Contents = Mapping[str, Any]  # "kind namespace/name" -> the object, reduced

MOST_SHOWN = 40  # lines of a difference
_LIST_S = 120.0
# They come and go on their own, or controllers derive them from other objects.
_LEFT_OUT = frozenset(
    {
        "componentstatuses",
        "controllerrevisions.apps",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "events",
        "events.events.k8s.io",
        "ipaddresses.networking.k8s.io",  # their names are addresses
        "leases.coordination.k8s.io",
        "nodes.metrics.k8s.io",
        "pods",
        "pods.metrics.k8s.io",
        "replicasets.apps",
    }
)
_NAMED_ONLY = frozenset({"Node", "CSINode"})  # copies of the host's, as its scheduler and kubelet change them
_VOLATILE = frozenset({"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"})
_OTHER = re.compile(
    r"(?P<uid>\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b)"
    r"|(?P<time>\b20[0-9]{2}-[0-9]{2}-[0-9]{2}(?:T[0-9:.]+(?:Z|[+-][0-9:]+))?)"
    r"|(?P<pem>-----BEGIN [A-Z ]+-----[^-]+-----END [A-Z ]+-----\n?)"
    r"|(?P<base64>LS0tLS1CRUdJTi[A-Za-z0-9+/=]+)"  # "-----BEGIN" in base64
    r"|(?P<address>\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b)"
    r"|(?P<digest>(?<!sha256:)\b[0-9a-f]{64}\b)"  # not of an image
)


def read_contents(site: Site, job: TrialJob) -> Contents:
    """
    What the virtual cluster of a job contains.

    Raises:
        DemoError: the job has no running virtual cluster, or it does not answer.
    """
    with nested_kubectl(site.target, job.number) as kubectl:
        return reduce_objects(_list_all(kubectl), number=job.number, name=job.name)


def _list_all(kubectl: Kubectl) -> list[dict[str, Any]]:
    kinds = set(kubectl.run("api-resources", "--verbs=list", "--output=name").split()) - _LEFT_OUT
    text = kubectl.run("get", ",".join(sorted(kinds)), "--all-namespaces", "--output=json", timeout_s=_LIST_S)
    items: list[dict[str, Any]] = json.loads(text)["items"]
    return items


def reduce_objects(objects: Iterable[Mapping[str, Any]], *, number: int, name: str) -> Contents:
    """
    The objects by kind, namespace and name. Uids, times, addresses, keys and certificates become placeholders, as do
    the job's number and its public name.
    """
    reduce = partial(_reduce, number=str(number), name=name)
    found = {}
    for obj in objects:
        meta = obj["metadata"]
        found[_replace(f"{obj['kind']} {meta.get('namespace', '')}/{meta['name']}", str(number), name)] = reduce(obj)
    return found


def describe_difference(one: Contents, other: Contents) -> Sequence[str]:
    """The lines in which two contents differ, at most `MOST_SHOWN`; empty if they are equal."""
    before, after = (json.dumps(each, indent=1, sort_keys=True).splitlines() for each in (one, other))
    lines = difflib.unified_diff(before, after, "one", "other", n=6, lineterm="")
    return [line for _, line in zip(range(MOST_SHOWN), lines, strict=False)]


def _reduce(obj: Mapping[str, Any], *, number: str, name: str) -> Any:
    if obj["kind"] in _NAMED_ONLY:
        return None
    kept = {key: value for key, value in obj.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in obj["metadata"].items() if key not in _VOLATILE}
    if obj["kind"] == "Secret":
        kept["data"] = sorted(obj.get("data") or {})
    return _walk(kept, number, name)


def _walk(value: Any, number: str, name: str) -> Any:
    if isinstance(value, Mapping):
        return {_replace(key, number, name): _walk(each, number, name) for key, each in value.items()}
    if isinstance(value, list):
        return [_walk(each, number, name) for each in value]
    return _replace(value, number, name) if isinstance(value, str) else value


def _replace(text: str, number: str, name: str) -> str:
    if text == number:
        return "<number>"
    text = re.sub(rf"\bkns-job-{number}\b", "kns-job-<number>", text.replace(name, "<name>"))
    return _OTHER.sub(lambda match: f"<{match.lastgroup}>", text)
