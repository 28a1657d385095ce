"""
Writes a job's usage into its record (contract E.9): a running sum, a report per interval, and a report at the end.
"""

from datetime import datetime, timedelta

from kns.model.job.job import JobStatus
from kns.model.job.usage import MAX_REPORTS, Rates, Usage, next_usage
from kns.model.site import Site


def meter(status: JobStatus, rates: Rates, *, site: Site, now: datetime) -> tuple[JobStatus, float]:
    """The status with the usage up to `now`, and the seconds after which to call this again at the latest."""
    usage, requeue_after_s = next_usage(status.usage, rates, now=now, interval_s=site.probe_interval_s)
    began = status.usage_reports[-1].time if status.usage_reports else status.start_time or usage.time
    report_s = (began + timedelta(seconds=site.report_interval_s) - now).total_seconds()
    status = status.model_copy(update={"usage": usage})
    if report_s <= 0:
        status, report_s = _report(status, usage.at(now)), float(site.report_interval_s)
    return status, min(report_s, requeue_after_s) if requeue_after_s is not None else report_s


def close_account(status: JobStatus, now: datetime) -> JobStatus:
    """The status of a job that ends now, with its last report."""
    if status.usage is None:
        return status
    return _report(status, status.usage.at(now).model_copy(update={"cores": 0, "gib": 0, "gpus": 0, "scratch_gib": 0}))


def _report(status: JobStatus, usage: Usage) -> JobStatus:
    return status.model_copy(update={"usage": usage, "usage_reports": (*status.usage_reports, usage)[-MAX_REPORTS:]})
