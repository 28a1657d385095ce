"""
Writes a job's usage into its record (contract E.9): a running sum, a report per interval, and a report at the end.

Nothing is counted by a clock that is wrong, because a sum never gets smaller. Afterwards all the time counts.
"""

from datetime import datetime, timedelta

from kns.model.job.job import JobStatus
from kns.model.job.usage import MAX_REPORTS, Rates, Usage, next_usage
from kns.model.site import Site


def meter(status: JobStatus, rates: Rates, *, site: Site, now: datetime) -> tuple[JobStatus, float]:
    """
    The status with the usage up to `now`, and the seconds after which to call this again at the latest. Usage that is
    paused counts again from `now` on.
    """
    before = status.usage.resume(now) if status.usage is not None and status.usage.paused else status.usage
    usage, requeue_after_s = next_usage(before, rates, now=now, interval_s=site.probe_interval_s)
    began = status.usage_reports[-1].time if status.usage_reports else status.start_time or usage.time
    report_s = (began + timedelta(seconds=site.report_interval_s) - now).total_seconds()
    status = status.model_copy(update={"usage": usage})
    if report_s <= 0:
        status, report_s = _report(status, usage.at(now)), float(site.report_interval_s)
    return status, min(report_s, requeue_after_s) if requeue_after_s is not None else report_s


def pause(status: JobStatus, now: datetime | None) -> JobStatus:
    """
    The status of a job that is asleep from `now` on, or None: the clock is wrong. One that is asleep already keeps the
    time from which usage did not count.
    """
    usage = status.usage
    if usage is None or usage.paused:
        return status
    return status.model_copy(update={"usage": usage.pause(now or usage.time)})


def close_account(status: JobStatus, now: datetime | None) -> JobStatus:
    """The status of a job that ends now, with its last report. None: the clock is wrong."""
    if status.usage is None:
        return status
    usage = status.usage.at(now or status.usage.time)
    return _report(status, usage.model_copy(update={"cores": 0, "gib": 0, "gpus": 0, "scratch_gib": 0}))


def _report(status: JobStatus, usage: Usage) -> JobStatus:
    return status.model_copy(update={"usage": usage, "usage_reports": (*status.usage_reports, usage)[-MAX_REPORTS:]})
