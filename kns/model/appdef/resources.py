"""
Resource requests and limits of the containers that kns adds to a job.

All are explicit, so that the job's LimitRange, which is meant for the tenant's pods, does not change or refuse them.
All are added to the quota, so that the tenant can use the whole machine.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_CEILING
from typing import Any

from kns.model.appdef.limit_range import LimitRangeItem, find_refused
from kns.model.reading.problem import Problem
from kns.model.reading.quantity import add_quantities, parse_quantity

Resources = dict[str, dict[str, str]]  # {"requests": {...}, "limits": {...}}

SYNCER: Resources = {
    "requests": {"cpu": "100m", "memory": "600Mi", "ephemeral-storage": "512Mi"},
    "limits": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "4Gi"},
}
# The containers of a control plane whose processes run side by side. Together they request as much as SYNCER, which
# runs all processes in the other layout, so the usage of a job does not depend on it. No limit is more times its
# request than in the other containers of kns, because a LimitRange may bound that ratio.
SIDE_BY_SIDE: dict[str, Resources] = {
    "kine": {
        "requests": {"cpu": "20m", "memory": "40Mi", "ephemeral-storage": "320Mi"},  # its volume holds the state
        "limits": {"cpu": "1", "memory": "320Mi", "ephemeral-storage": "4Gi"},
    },
    "kube-apiserver": {  # its start is bound by the processor
        "requests": {"cpu": "40m", "memory": "330Mi", "ephemeral-storage": "64Mi"},
        "limits": {"cpu": "2", "memory": "1536Mi", "ephemeral-storage": "1Gi"},
    },
    "syncer": {
        "requests": {"cpu": "20m", "memory": "120Mi", "ephemeral-storage": "64Mi"},
        "limits": {"cpu": "1", "memory": "768Mi", "ephemeral-storage": "1Gi"},
    },
    "kube-controller-manager": {
        "requests": {"cpu": "20m", "memory": "110Mi", "ephemeral-storage": "64Mi"},
        "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "1Gi"},
    },
}
DISTRO_COPY: Resources = {  # the control plane's init container; it copies files, and its speed depends on CPU
    "requests": {"cpu": "40m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
    "limits": {"cpu": "2", "memory": "512Mi", "ephemeral-storage": "4Gi"},
}
COREDNS: Resources = {
    "requests": {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "64Mi"},
    "limits": {"cpu": "200m", "memory": "170Mi", "ephemeral-storage": "1Gi"},
}
INIT: Resources = {
    "requests": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
    "limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "4Gi"},
}
SHELL: Resources = {  # a few people run kubectl and helm at the same time
    "requests": {"cpu": "20m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
    "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "1Gi"},
}

VOLUME_SIZE = "5Gi"  # volume for the control plane's data, if the site configures one

_ASKED = ("cpu", "memory", "ephemeral-storage")


def _sum_up(containers: Iterable[Resources]) -> Resources:
    """The resources of a pod with these containers."""
    each = list(containers)
    return {
        part: {name: add_quantities(*(container[part][name] for container in each)) for name in _ASKED}
        for part in ("requests", "limits")
    }


# Both layouts request the same, and the limits of this one are the higher ones. DISTRO_COPY runs before SYNCER and is
# smaller, so it adds nothing.
CONTROL_PLANE = _sum_up(SIDE_BY_SIDE.values())

_PODS = (CONTROL_PLANE, COREDNS, INIT)
# A job's layout may change with the setting, so a LimitRange must admit the containers of both.
_CONTAINERS = {
    **{name: container for name, container in SIDE_BY_SIDE.items() if name != "syncer"},
    "syncer": SYNCER,
    "kubernetes": DISTRO_COPY,
    "coredns": COREDNS,
    "init": INIT,
    "shell": SHELL,
}


def find_limit_range_problems(items: Sequence[LimitRangeItem]) -> Iterator[Problem]:
    """
    Limits that the host would refuse, or that would refuse the containers of kns, so that the job could never start.
    Locations begin with the item's index.

    `LimitRangeItem` does not check this, because stored records must stay readable when the rules change.
    """
    yield from find_refused(items)
    for index, item in enumerate(items):
        if item.type != "PersistentVolumeClaim":
            yield from (problem.below((index,)) for problem in _find_unfit(item))


def admits_side_by_side(items: Sequence[LimitRangeItem]) -> bool:
    """
    Whether a pod with the containers of `SIDE_BY_SIDE` is admitted. Together they have higher limits than the single
    container that `find_limit_range_problems` checks, so limits for whole pods may refuse them.
    """
    for item in items:
        if item.type == "Pod":
            for resource in _ASKED:
                limit = parse_quantity(CONTROL_PLANE["limits"][resource])
                request = parse_quantity(CONTROL_PLANE["requests"][resource])
                ratio = item.max_limit_request_ratio.get(resource)
                if resource in item.max and limit > parse_quantity(item.max[resource]):
                    return False
                if ratio is not None and limit / request > parse_quantity(ratio):
                    return False
    return True


def _find_unfit(item: LimitRangeItem) -> Iterator[Problem]:
    """Compare each bound with the container that needs the most of the resource."""
    for resource in _ASKED:
        limits = {name: container["limits"][resource] for name, container in _having(resource)}
        requests = {name: container["requests"][resource] for name, container in _having(resource)}
        ratios = {name: parse_quantity(limits[name]) / parse_quantity(requests[name]) for name in limits}
        largest = max(limits, key=lambda name: parse_quantity(limits[name]))
        smallest = min(requests, key=lambda name: parse_quantity(requests[name]))
        widest = max(ratios, key=lambda name: ratios[name])
        if resource in item.max and parse_quantity(limits[largest]) > parse_quantity(item.max[resource]):
            message = f"must be at least {limits[largest]}, the limit of the container {largest} of kns"
            yield Problem(("max", resource), message)
        if resource in item.min and parse_quantity(requests[smallest]) < parse_quantity(item.min[resource]):
            message = f"must be at most {requests[smallest]}, the request of the container {smallest} of kns"
            yield Problem(("min", resource), message)
        bound = item.max_limit_request_ratio.get(resource)
        if bound is not None and ratios[widest] > parse_quantity(bound):
            least = ratios[widest].to_integral_value(ROUND_CEILING)
            message = f"must be at least {least}, the ratio of the container {widest} of kns"
            yield Problem(("max_limit_request_ratio", resource), message)


def _having(resource: str) -> list[tuple[str, Resources]]:
    return [(name, container) for name, container in _CONTAINERS.items() if resource in container["requests"]]


def overhead(part: str, resource: str, *, shell: bool) -> list[Any]:
    """The quantities of `resource` in each pod of kns in a job. `part` is `requests` or `limits`."""
    return [pod[part][resource] for pod in (*_PODS, *([SHELL] if shell else ()))]


def with_overhead(part: str, resource: str, tenant: str, *, shell: bool = False) -> str:
    """The tenant's share plus the share of the pods of kns. `shell`: the job has a web shell."""
    return add_quantities(tenant, *overhead(part, resource, shell=shell))
