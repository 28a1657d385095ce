"""
The resources that a job requests at this moment.

Kubernetes keeps the use of the job's quota up to date, and the watch delivers it without a further request.
"""

from kns.model import names
from kns.model.job.conditions import ConditionType
from kns.model.job.job import JobStatus
from kns.model.job.usage import Rates, read_rates
from kns.ports import Context, Kind
from kns.stages.web_shell import has_pod


def measure(ctx: Context, status: JobStatus) -> Rates:
    """What the tenant's pods request. `status` says whether the init job still runs."""
    quota = ctx.world.cluster.observe(Kind.RESOURCE_QUOTA, ctx.namespace, names.RESOURCE_QUOTA) or {}
    used = (quota.get("status") or {}).get("used") or {}
    return read_rates(used, deploying=not status.is_true(ConditionType.DEPLOYED), shell=has_pod(ctx))
