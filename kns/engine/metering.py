"""
Keeps a job's usage in its record (contract E.9): a running sum, a report line per interval, and one at the end.

What is requested is read from the job's quota, which Kubernetes keeps up to date and the watch brings for nothing.
"""

from datetime import datetime, timedelta

from kns.model import names
from kns.model.job.conditions import ConditionType
from kns.model.job.job import JobStatus
from kns.model.job.usage import MAX_REPORTS, Usage, next_usage, read_rates
from kns.ports import Context, Kind


def meter(ctx: Context, status: JobStatus) -> tuple[JobStatus, float]:
    """The status with what was used up to now, and in how many seconds to look again at the latest."""
    quota = ctx.world.cluster.observe(Kind.RESOURCE_QUOTA, ctx.name, names.RESOURCE_QUOTA) or {}
    used = (quota.get("status") or {}).get("used") or {}
    shell = ctx.world.cluster.observe(Kind.DEPLOYMENT, ctx.name, names.SHELL) or {}
    rates = read_rates(
        used,
        deploying=not status.is_true(ConditionType.DEPLOYED),
        shell=bool((shell.get("status") or {}).get("replicas")),
    )
    usage, look_s = next_usage(status.usage, rates, now=ctx.now, interval_s=ctx.site.probe_interval_s)
    began = status.usage_reports[-1].time if status.usage_reports else status.start_time or usage.time
    report_s = (began + timedelta(seconds=ctx.site.report_interval_s) - ctx.now).total_seconds()
    status = status.model_copy(update={"usage": usage})
    if report_s <= 0:
        status, report_s = _report(status, usage.at(ctx.now)), float(ctx.site.report_interval_s)
    return status, min(report_s, look_s) if look_s is not None else report_s


def close_account(status: JobStatus, now: datetime) -> JobStatus:
    """The status of a job that ends now, with its last report."""
    if status.usage is None:
        return status
    return _report(status, status.usage.at(now).model_copy(update={"cores": 0, "gib": 0, "gpus": 0}))


def _report(status: JobStatus, usage: Usage) -> JobStatus:
    return status.model_copy(update={"usage": usage, "usage_reports": (*status.usage_reports, usage)[-MAX_REPORTS:]})
