"""
What kns's own containers of a job ask for.

All explicit, so that the job's LimitRange, which is for the tenant's pods, neither throttles nor refuses them; and all
counted, so that the quota gives the tenant the whole machine on top.
"""

from collections.abc import Iterable
from typing import Any

from kns.model.errors import InvalidInputError
from kns.model.limits import LimitRangeItem
from kns.model.quantity import add_quantities, parse_quantity

Resources = dict[str, dict[str, str]]  # {"requests": {...}, "limits": {...}}

SYNCER: Resources = {
    "requests": {"cpu": "100m", "memory": "600Mi", "ephemeral-storage": "512Mi"},
    "limits": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "4Gi"},
}
DISTRO_COPY: Resources = {  # the control plane's init container: a copy, quick only with CPU
    "requests": {"cpu": "40m", "memory": "64Mi"},
    "limits": {"cpu": "2", "memory": "512Mi"},
}
COREDNS: Resources = {
    "requests": {"cpu": "10m", "memory": "32Mi"},
    "limits": {"cpu": "200m", "memory": "170Mi"},
}
INIT: Resources = {
    "requests": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
    "limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "4Gi"},
}
SHELL: Resources = {  # kubectl and helm of a few people at a time
    "requests": {"cpu": "20m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
    "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "1Gi"},
}

VOLUME_SIZE = "5Gi"  # of the control plane's own data, where the site gives it a volume

_PODS = (SYNCER, COREDNS, INIT)  # DISTRO_COPY runs before SYNCER and is smaller: the pod counts as the larger


_CONTAINERS = {"syncer": SYNCER, "kubernetes": DISTRO_COPY, "coredns": COREDNS, "init": INIT, "shell": SHELL}


def check_limit_range(items: Iterable[LimitRangeItem]) -> None:
    """
    Refuse a LimitRange that would keep kns's own containers out: the job could never start.

    Raises:
        InvalidInputError: which bound, and what it would have to admit.
    """
    for item in items:
        if item.type == "PersistentVolumeClaim":
            continue
        for name, container in _CONTAINERS.items():
            for resource in container["requests"]:
                _check_bounds(item, name, resource, container["requests"][resource], container["limits"][resource])


def _check_bounds(item: LimitRangeItem, name: str, resource: str, request: str, limit: str) -> None:
    if resource in item.max and parse_quantity(limit) > parse_quantity(item.max[resource]):
        raise InvalidInputError(f"max.{resource}", f"must be at least {limit}, the limit of kns's container {name}")
    if resource in item.min and parse_quantity(request) < parse_quantity(item.min[resource]):
        raise InvalidInputError(f"min.{resource}", f"must be at most {request}, the request of kns's container {name}")
    ratio = parse_quantity(limit) / parse_quantity(request)
    if resource in item.max_limit_request_ratio and ratio > parse_quantity(item.max_limit_request_ratio[resource]):
        raise InvalidInputError(
            f"max_limit_request_ratio.{resource}", f"must be at least {ratio:.0f}, that of kns's container {name}"
        )


def overhead(part: str, resource: str, *, shell: bool = False) -> list[Any]:
    """What kns's own pods of one job add up to, as quantities; `part` is `requests` or `limits`."""
    return [pod[part][resource] for pod in (*_PODS, *([SHELL] if shell else ()))]


def with_overhead(part: str, resource: str, tenant: str, *, shell: bool = False) -> str:
    """The tenant's share plus kns's own; `shell`: the job has a web shell."""
    return add_quantities(tenant, *overhead(part, resource, shell=shell))
