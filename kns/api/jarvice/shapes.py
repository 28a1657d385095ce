"""
Jobs, machines and apps as the public API shows them, each with its schema. Pure.

Every key and type is part of the contract. Generated clients convert nothing: an integer is an integer, and an absent
value is `null`.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from kns.http.help_page import render_help
from kns.http.schemas import (
    BOOLEAN,
    FLAG_OR_NULL,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    TEXT_OR_NULL,
    Schema,
    a_map,
    a_record,
    or_null,
    ref,
)
from kns.model import names
from kns.model.job.job import Job, Substatus
from kns.model.job.slim import slim_submission
from kns.model.reading.duration import format_walltime
from kns.service.find import accepted_of
from kns.service.insight import Measurement
from kns.service.view import Connection, elapsed_s

_EPOCH: Schema = {"type": "integer", "minimum": 0, "description": "Seconds since 1970, 0 for not yet."}
_HTML_OR_NULL: Schema = {"type": ["string", "null"], "description": "HTML."}
_JOBS_BY_NUMBER = "^[1-9][0-9]*$"
_JOB_STATUSES = (
    "SUBMITTED", "SEQUENTIALLY QUEUED", "PROCESSING STARTING", "COMPLETED", "COMPLETED WITH ERROR", "TERMINATED",
    "CANCELED", "EXEMPT",
)  # fmt: skip

_STATUS: dict[str, Schema] = {
    "job_name": STRING,
    "job_status": {"type": "string", "enum": list(_JOB_STATUSES)},
    "job_substatus": {"type": "integer", "enum": [int(each) for each in Substatus]},
    "job_submit_time": _EPOCH,
    "job_start_time": _EPOCH,
    "job_end_time": _EPOCH,
    "job_application": STRING,
    "job_command": STRING,
    "job_walltime": {"type": ["string", "null"], "description": "Null while the job lives, then HH:MM:SS."},
    "job_project": TEXT_OR_NULL,
}


def status_entry(job: Job, *, now: datetime) -> dict[str, Any]:
    """The ten keys of `status`."""
    status = job.status
    return {
        "job_name": accepted_of(job).name,
        "job_status": str(status.job_status),
        "job_substatus": int(status.substatus),
        "job_submit_time": _epoch(job.submit_time),
        "job_start_time": _epoch(status.start_time),
        "job_end_time": _epoch(status.end_time),
        "job_application": job.spec.app,
        "job_command": accepted_of(job).command,
        "job_walltime": format_walltime(elapsed_s(job, now)) if job.is_ended else None,
        "job_project": job.spec.project,
    }


_STATS: dict[str, Schema] = {
    "compute_time": INTEGER,
    "queue_time": INTEGER,
    "wall_time": INTEGER,
    "job_count": INTEGER,
    "app_cost": NUMBER,
    "compute_cost": NUMBER,
}
_SUBMISSION_SHOWN = a_record(
    {
        "app": STRING,
        "application": a_record({"command": STRING, "parameters": OBJECT}, optional={"walltime": TEXT_OR_NULL}),
        "machine": a_record({"type": STRING, "nodes": INTEGER}),
        "user": a_record({"username": STRING}),
    },
    optional={
        "vault": or_null(
            a_record({}, optional={"name": TEXT_OR_NULL, "readonly": FLAG_OR_NULL, "force": FLAG_OR_NULL})
        ),
        **dict.fromkeys(("job_label", "job_project", "job_priority"), TEXT_OR_NULL),
    },
    description="The submission without its secrets; what it left out and a job has is filled in.",
)
_JOB_ENTRY: dict[str, Schema] = {
    **_STATUS,
    "job_number": {"type": "integer", "minimum": 1},
    "job_owner_username": STRING,
    "job_payer": STRING,
    "job_label": TEXT_OR_NULL,
    "job_substatus_text": TEXT_OR_NULL,
    "job_api_submission": _SUBMISSION_SHOWN,
    "job_address": TEXT_OR_NULL,
    "job_nodes": STRING,
    "job_mc_name": STRING,
    "job_mc_scale": INTEGER,
    "job_exitcode": INTEGER,
    "job_sched_id": INTEGER,
    "job_sched_job_id": {"type": "string", "pattern": "^kns-job-[1-9][0-9]*$"},
    "job_after": TEXT_OR_NULL,
    "job_price": NUMBER,
    "job_app_price": NUMBER,
    "job_app_discount": INTEGER,
    "job_mc_discount": INTEGER,
    "job_billing_code": INTEGER,
    "job_billed": BOOLEAN,
    "job_dashboard_visible": INTEGER,
    "job_stats": a_record(_STATS),
}


def job_entries(jobs: Iterable[Job], *, now: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Numbers and entries in the order of `jobs`, each made when it is asked for."""
    return ((str(accepted_of(job).number), _job_entry(job, now=now)) for job in jobs)


def _job_entry(job: Job, *, now: datetime) -> dict[str, Any]:
    """The keys of `status` and the rest."""
    accepted = accepted_of(job)
    run_s = int(elapsed_s(job, now))
    return {
        **status_entry(job, now=now),
        "job_number": accepted.number,
        "job_owner_username": job.spec.user,
        "job_payer": accepted.payer,
        "job_label": job.spec.label,
        "job_substatus_text": job.status.activity,
        "job_api_submission": _submission_entry(job),
        "job_address": job.status.address,
        "job_nodes": "",
        "job_mc_name": accepted.machine.mc_name,
        "job_mc_scale": job.spec.machine.nodes,
        "job_exitcode": job.status.exit_code,
        "job_sched_id": names.SCHEDULER_ID,
        "job_sched_job_id": names.job_object_name(accepted.number),
        "job_after": None,
        "job_price": 0,
        "job_app_price": 0,
        "job_app_discount": 0,
        "job_mc_discount": 0,
        "job_billing_code": accepted.billing_code,
        "job_billed": False,
        "job_dashboard_visible": 1,
        "job_stats": {
            "compute_time": run_s,
            "queue_time": int(_queue_s(job, now)),
            "wall_time": run_s,
            "job_count": 1,
            "app_cost": 0,
            "compute_cost": 0,
        },
    }


def _submission_entry(job: Job) -> dict[str, Any]:
    """
    The submission without its secrets. The keys that every client reads come from the spec, because a submission may
    omit them and a record applied by hand has no submission. A job's parameters are stored only in the spec; those that
    are too large for the record are null.
    """
    spec, accepted = job.spec, accepted_of(job)
    large = accepted.inputs.keys if accepted.inputs else ()
    known: dict[str, dict[str, Any]] = {
        "application": {"command": accepted.command, "parameters": {**spec.parameters, **dict.fromkeys(large)}},
        "machine": {"type": spec.machine.type, "nodes": spec.machine.nodes},
        "user": {"username": spec.user},
    }
    shown = slim_submission(spec.submission)
    return {"app": spec.app, **shown, **{key: {**_as_map(shown.get(key)), **part} for key, part in known.items()}}


def _as_map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _epoch(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0


def _queue_s(job: Job, now: datetime) -> float:
    """Seconds from submit to start; to the end, if the job never started."""
    until = job.status.start_time or job.status.end_time or now
    return max(0.0, (until - job.submit_time).total_seconds())


_INFO: dict[str, Schema] = {
    "url": TEXT_OR_NULL,
    "about": _HTML_OR_NULL,
    "help": _HTML_OR_NULL,
    "actions": OBJECT,
    "address": TEXT_OR_NULL,
    "password": TEXT_OR_NULL,
}


def info_entry(connection: Connection) -> dict[str, Any]:
    return {
        "url": connection.url,
        "about": None,
        "help": render_help(connection),
        "actions": {},
        "address": connection.address or "",
        "password": connection.password,
    }


_METRIC_KEYS = ("cpu_used", "memory_used", "memory_total")
_METRICS = a_record(
    {
        "itemized": a_record({key: {"type": "array", "items": INTEGER} for key in _METRIC_KEYS}),
        "summary": a_record(dict.fromkeys(_METRIC_KEYS, INTEGER)),
    },
    description="`cpu_used` in percent of the job's CPU, memory in KB.",
)


def metrics_entry(measured: Measurement) -> dict[str, Any]:
    """One item, which is also the sum: kns measures the whole namespace."""
    summary = {
        "cpu_used": measured.cpu_percent,
        "memory_used": measured.memory_kib,
        "memory_total": measured.memory_total_kib,
    }
    return {"itemized": {key: [value] for key, value in summary.items()}, "summary": summary}


SCHEMAS: dict[str, Schema] = {
    "Status": a_record(_STATUS),
    "JobEntry": a_record(_JOB_ENTRY),
    "Statuses": a_map(ref("Status"), pattern=_JOBS_BY_NUMBER),
    "Jobs": a_map(ref("JobEntry"), pattern=_JOBS_BY_NUMBER),
    "Info": a_record(_INFO),
    "Connect": a_record({"address": STRING, "password": STRING}),
    "Metrics": _METRICS,
}
