"""What a reconcile results in, and the one way in which it writes a status."""

from dataclasses import dataclass

from kns.model.job.job import Job, JobStatus
from kns.ports import RecordWriter

IMMEDIATELY_S = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """
    The result of a reconcile: one word for log and metrics, and when to reconcile again (None: when something changes).
    """

    summary: str
    requeue_after_s: float | None = None
    detail: str = ""


def earliest(*delays_s: float | None) -> float | None:
    """The shortest delay; None if there is none."""
    return min((delay_s for delay_s in delays_s if delay_s is not None), default=None)


def write_changed(writer: RecordWriter, job: Job, status: JobStatus) -> None:
    """Write the status once, and only if it differs."""
    status = status.model_copy(update={"observed_generation": job.generation})
    if status != job.status:
        writer.write_status(job, status)
