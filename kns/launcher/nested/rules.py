"""
What can run in a virtual cluster, on which machine, and what runs inside. Pure.

The objects are those of a plain job, also from a site's template. What they refer to must exist inside, where there is
nothing but the job; what kns's policies refuse on the host is refused here, before anything exists.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

from kns.launcher.nested.records import NAME
from kns.model.catalog.machine import Machine
from kns.model.errors import InvalidInputError
from kns.model.reading.quantity import parse_quantity
from kns.plain.ports import Kept
from kns.plain.stored import Object

INSIDE = "default"  # the namespace in the job's cluster
_GIB = 1024**3
_VOLUMES = frozenset({"emptyDir", "ephemeral", "downwardAPI"})
_GPU = ("nvidia.com/gpu", "amd.com/gpu")
_SERVER_LABELS = frozenset(
    {"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"}
)
_META = ("name", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
_STATUS = ("phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses", "startTime")
_MOST_POD_BYTES = 64 * 1024  # in memory, one for each job; a pod with ten containers has a tenth of it
_EXIT_CODES = range(-(2**31), 2**31)
_MOST_OF_NAME = 58  # characters of a Job's name and its dash in the name of its pod, of which 63 are allowed
_GRACE_S = 30  # as Kubernetes, if the pod says nothing
_MOST_GRACE_S = 3600  # as the policies of kns allow
_SPEC_OF_SERVER = ("suspend", "selector", "manualSelector")


def check_nested(obj: Object) -> None:
    """
    Raises:
        InvalidInputError: the Kubernetes Job cannot run in a virtual cluster.
    """
    for problem in _find_problems(obj["spec"]["template"]["spec"]):
        raise InvalidInputError("nested", f"the job cannot run in a virtual cluster: {problem}")


def _find_problems(pod: Mapping[str, Any]) -> Iterator[str]:
    for volume in pod.get("volumes") or ():
        kinds = sorted(set(volume) - {"name"} - _VOLUMES)
        if kinds:
            yield f"mount {volume.get('name')} is {kinds[0]}, and storage of the host is not reachable inside"
    for key in ("hostNetwork", "hostPID", "hostIPC", "nodeName"):
        if pod.get(key):
            yield f"it has {key}, which belongs to the host"
    account = pod.get("serviceAccountName") or pod.get("serviceAccount")
    if account and account != "default":
        yield f"the account {account} does not exist inside"
    if pod.get("priorityClassName"):
        yield f"the PriorityClass {pod['priorityClassName']} does not exist inside"
    for container in (*(pod.get("initContainers") or ()), *(pod.get("containers") or ())):
        yield from _find_problems_of(container)


def _find_problems_of(container: Mapping[str, Any]) -> Iterator[str]:
    for each in container.get("env") or ():
        source = each.get("valueFrom") or {}
        if "secretKeyRef" in source or "configMapKeyRef" in source:
            yield f"variable {each.get('name')} comes from a Secret or ConfigMap of the namespace, which is not inside"
    if container.get("envFrom"):
        yield "it has envFrom, and there is no Secret or ConfigMap inside"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "a published port is a port of the node; leave publishedPort out"
    if (container.get("securityContext") or {}).get("privileged"):
        yield "its container is privileged"


def choose_machine(obj: Object, machines: Mapping[str, Mapping[str, Any]], *, wanted: str) -> str:
    """
    The machine of kns: `wanted`, else the smallest that holds what the job's containers may use.

    The job's amounts are those that its profile allows, so that the profile's maxima decide the machine.

    Raises:
        InvalidInputError: there is none.
    """
    nested = {name: _read(name, data) for name, data in machines.items() if is_for_nested_jobs(name, data)}
    if wanted:
        if wanted not in nested:
            raise InvalidInputError("nested-machine", f"{wanted} is not a machine of kns for nested jobs")
        nested = {wanted: nested[wanted]}
    cpu, memory, gpus = _sum_amounts(obj["spec"]["template"]["spec"].get("containers") or ())
    fitting = {
        name: (machine.mc_gpus, machine.mc_cores, machine.mc_ram, name)
        for name, machine in nested.items()
        if machine.mc_cores >= cpu and machine.mc_ram * _GIB >= memory and machine.mc_gpus >= gpus
    }
    if not fitting:
        what = f"machine {wanted} does not have" if wanted else "no machine of kns has"
        raise InvalidInputError(
            "resourceLimits",
            f"{what} {cpu.normalize():f} processors, {memory / _GIB:.1f} GiB of memory and {gpus} GPUs",
        )
    return min(fitting, key=lambda name: fitting[name])


def is_for_nested_jobs(name: str, data: Mapping[str, Any]) -> bool:
    """Whether jobs of kns run on that machine of its catalogue."""
    return _read(name, data).runs_nested_jobs


def _read(name: str, data: Mapping[str, Any]) -> Machine:
    return Machine.model_validate({"mc_name": name, **data})


def _sum_amounts(containers: Sequence[Mapping[str, Any]]) -> tuple[Decimal, Decimal, Decimal]:
    """Processors, bytes of memory, GPUs. A limit counts, or a request without one."""

    def amount(container: Mapping[str, Any], key: str) -> Decimal:
        resources = container.get("resources") or {}
        value = (resources.get("limits") or {}).get(key) or (resources.get("requests") or {}).get(key) or 0
        return parse_quantity(value, path=f"resources.{key}")

    return (
        sum((amount(each, "cpu") for each in containers), Decimal(0)),
        sum((amount(each, "memory") for each in containers), Decimal(0)),
        sum((amount(each, key) for each in containers for key in _GPU), Decimal(0)),
    )


def build_inner(record: Kept) -> Object:
    """The Kubernetes Job inside, from the record as the API server stores it."""
    meta, spec = record["metadata"], copy.deepcopy(record["spec"])
    for key in _SPEC_OF_SERVER:
        spec.pop(key, None)
    template = spec["template"].setdefault("metadata", {})
    template.pop("creationTimestamp", None)
    template["labels"] = _without_server(template.get("labels"))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": meta["name"], "namespace": INSIDE, "labels": _without_server(meta.get("labels"))},
        "spec": spec,
    }


def read_grace_s(record: Kept) -> int:
    """
    Seconds that the job's pod has for its end, as the record says; at most an hour.

    >>> read_grace_s({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 300}}}})
    300
    """
    grace_s = record["spec"]["template"]["spec"].get("terminationGracePeriodSeconds")
    return _GRACE_S if grace_s is None else min(int(grace_s), _MOST_GRACE_S)


def _without_server(labels: Mapping[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (labels or {}).items() if key not in _SERVER_LABELS}


def place_pod(pod: Kept, job_id: str) -> Object:
    """
    What kns reads of a pod of the job inside, with its own address in the place of its node's: the job's quota has no
    node ports, so that is where the job is reached.

    Raises:
        ValueError: it is none that Kubernetes makes for this job. Whoever is administrator inside may write anything
            into it: one unreadable pod must not make the list of all jobs unreadable, and one with the name of another
            job's pod must not get what is meant for that, because calls about a pod go by its name.
    """
    try:
        meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
        address = _read_address(str(status.get("podIP") or ""))
        placed: Object = {
            "metadata": {key: str(meta[key]) for key in _META if key in meta},
            "spec": {
                "nodeName": address,
                "containers": [_keep_container(each) for each in spec["containers"]],
            },
            "status": {
                **{key: value for key, value in status.items() if key in _STATUS},
                "hostIP": address,
                "hostIPs": [{"ip": address}] if address else [],
            },
        }
        for each in status.get("containerStatuses") or ():
            ended = (each.get("state") or {}).get("terminated")
            if ended is not None and (type(code := ended.get("exitCode")) is not int or code not in _EXIT_CODES):
                raise ValueError("its exit code is no number of 32 bits")
        name = placed["metadata"]["name"]
        if not NAME.fullmatch(name) or not name.startswith(f"{job_id}-"[:_MOST_OF_NAME]):
            raise ValueError("its name is not that of a pod of the job")
        # Raises for numbers that are none, and for halves of surrogate pairs: every reader must take them.
        if len(json.dumps(placed, allow_nan=False, ensure_ascii=False).encode()) > _MOST_POD_BYTES:
            raise ValueError("it is too large")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it has no {error}") from error
    return placed


def _keep_container(container: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: str(container.get(key, "")) for key in ("name", "image")}
    limits = (container.get("resources") or {}).get("limits") or {}
    if "memory" in limits:
        kept["resources"] = {"limits": {"memory": str(limits["memory"])}}
    if "postStart" in (container.get("lifecycle") or {}):
        kept["lifecycle"] = {"postStart": {}}
    return kept


def _read_address(text: str) -> str:
    """
    The address of a pod; "" for one that no pod has. Workbench connects there.

    >>> _read_address("10.244.0.9"), _read_address("127.0.0.1"), _read_address("169.254.169.254")
    ('10.244.0.9', '', '')
    """
    if not text:
        return ""
    address = ip_address(text)
    is_no_pod = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    return "" if is_no_pod else str(address)
