"""
What kns's own containers ask for. All explicit, so that the job's LimitRange, which is for the tenant's pods, neither
throttles nor refuses them; and all counted, so that the quota gives the tenant the whole machine on top.
"""

from typing import Any

from kns.model.quantity import add_quantities

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

_PODS = (SYNCER, COREDNS, INIT)  # DISTRO_COPY runs before SYNCER and is smaller: the pod counts as the larger


def overhead(part: str, resource: str) -> list[Any]:
    """What kns's own pods of one job add up to, as quantities; `part` is `requests` or `limits`."""
    return [pod[part][resource] for pod in _PODS]


def with_overhead(part: str, resource: str, tenant: str) -> str:
    """The tenant's share plus kns's own."""
    return add_quantities(tenant, *overhead(part, resource))
