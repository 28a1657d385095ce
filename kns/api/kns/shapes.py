"""A job as kns's own API shows it. Times are RFC 3339 in UTC with whole seconds, or null."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kns.http.schemas import INTEGER, NUMBER, STRING, TEXT_OR_NULL, Schema, a_map, a_record, ref
from kns.model.job.job import Job, JobState, Rest
from kns.model.job.timeline import Step, StepState, build_timeline
from kns.model.job.usage import Usage
from kns.service.explain import Explanation, HostWarning, Standing, Use
from kns.service.find import accepted_of
from kns.service.overview import Allowance, Orphan, Overview
from kns.service.view import Connection

_TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
_SECONDS_OR_NULL: Schema = {"type": ["number", "null"], "minimum": 0}

_STEP: dict[str, Schema] = {
    "name": STRING,
    "title": STRING,
    "state": {"type": "string", "enum": [str(each) for each in StepState]},
    "began": _TIME_OR_NULL,
    "ended": _TIME_OR_NULL,
    "seconds": {**_SECONDS_OR_NULL, "description": "Until now if it has not ended; null if unknown."},
    "reason": TEXT_OR_NULL,
    "message": STRING,
}


def step_entry(step: Step, *, now: datetime) -> dict[str, Any]:
    seconds = step.seconds(now)
    return {
        "name": step.name,
        "title": step.title,
        "state": str(step.state),
        "began": format_time(step.began),
        "ended": format_time(step.ended),
        "seconds": None if seconds is None else round(seconds, 1),
        "reason": step.reason,
        "message": step.message,
    }


_USAGE: dict[str, Schema] = {
    key: {**NUMBER, "minimum": 0}
    for key in ("core_hours", "memory_gib_hours", "gpu_hours", "cores", "memory_gib", "gpus")
}


def usage_entry(usage: Usage) -> dict[str, float]:
    return {
        "core_hours": round(usage.core_seconds / 3600, 3),
        "memory_gib_hours": round(usage.gib_seconds / 3600, 3),
        "gpu_hours": round(usage.gpu_seconds / 3600, 3),
        "cores": usage.cores,
        "memory_gib": usage.gib,
        "gpus": usage.gpus,
    }


_JOB: dict[str, Schema] = {
    "number": {"type": "integer", "minimum": 1},
    "name": STRING,
    "namespace": {**STRING, "description": "On the host cluster."},
    "user": STRING,
    "app": STRING,
    "command": STRING,
    "machine": STRING,
    "nodes": INTEGER,
    "label": TEXT_OR_NULL,
    "project": TEXT_OR_NULL,
    "status": {"type": "string", "enum": [str(each) for each in JobState]},
    "substatus": TEXT_OR_NULL,
    "rest": {"type": "string", "enum": [str(each) for each in Rest]},
    "exit_code": INTEGER,
    "reason": TEXT_OR_NULL,
    "message": TEXT_OR_NULL,
    "url": TEXT_OR_NULL,
    "submitted": _TIME_OR_NULL,
    "started": _TIME_OR_NULL,
    "ended": _TIME_OR_NULL,
    "walltime_seconds": {"type": ["integer", "null"]},
    "walltime_end": _TIME_OR_NULL,
    "usage": {
        "anyOf": [ref("Usage"), {"type": "null"}],
        "description": "What the job's pods requested so far, and request now; null before its start.",
    },
    "now": {**_TIME_OR_NULL, "description": "The server's time, which `seconds` of a step refer to."},
    "steps": {"type": "array", "items": ref("Step")},
}


def job_entry(job: Job, *, now: datetime) -> dict[str, Any]:
    accepted, status = accepted_of(job), job.status
    return {
        "number": accepted.number,
        "name": accepted.name,
        "namespace": accepted.location.namespace,
        "user": job.spec.user,
        "app": job.spec.app,
        "command": accepted.command,
        "machine": accepted.machine.mc_name,
        "nodes": job.spec.machine.nodes,
        "label": job.spec.label,
        "project": job.spec.project,
        "status": str(status.job_status),
        "substatus": status.activity,
        "rest": str(status.rest),
        "exit_code": status.exit_code,
        "reason": status.reason,
        "message": status.message,
        "url": status.url,
        "submitted": format_time(job.submit_time),
        "started": format_time(status.start_time),
        "ended": format_time(status.end_time),
        "walltime_seconds": job.walltime_s,
        "walltime_end": format_time(job.walltime_end),
        "usage": usage_entry(status.usage.at(status.end_time or now)) if status.usage else None,
        "now": format_time(now),
        "steps": [step_entry(step, now=now) for step in build_timeline(job)],
    }


_USE: dict[str, Schema] = {"what": STRING, "used": NUMBER, "limit": NUMBER, "unit": STRING}
_WARNING: dict[str, Schema] = {
    "time": _TIME_OR_NULL,
    "subject": STRING,
    "reason": STRING,
    "message": STRING,
    "count": INTEGER,
}
_EXPLANATION: dict[str, Schema] = {
    "standing": {"type": "string", "enum": [str(each) for each in Standing]},
    "summary": STRING,
    "cause": {**STRING, "description": 'What the job waits for, or why it ended; "" if nothing.'},
    "uses": {"type": "array", "items": ref("Use")},
    "warnings": {"type": "array", "items": ref("Warning")},
    "advice": {"type": "array", "items": STRING},
}


def explanation_entry(found: Explanation) -> dict[str, Any]:
    return {
        "standing": str(found.standing),
        "summary": found.summary,
        "cause": found.cause,
        "uses": [_use_entry(use) for use in found.uses],
        "warnings": [_warning_entry(warning) for warning in found.warnings],
        "advice": list(found.advice),
    }


def _use_entry(use: Use) -> dict[str, Any]:
    return {"what": use.what, "used": float(use.used), "limit": float(use.limit), "unit": use.unit}


def _warning_entry(warning: HostWarning) -> dict[str, Any]:
    return {
        "time": format_time(warning.time),
        "subject": warning.subject,
        "reason": warning.reason,
        "message": warning.message,
        "count": warning.count,
    }


_CONNECTION: dict[str, Schema] = {
    "url": TEXT_OR_NULL,
    "shell_url": TEXT_OR_NULL,
    "address": TEXT_OR_NULL,
    "user": STRING,
    "password": STRING,
}


def connection_entry(found: Connection) -> dict[str, Any]:
    return {
        "url": found.url,
        "shell_url": found.shell_url,
        "address": found.address,
        "user": found.user,
        "password": found.password,
    }


_LIMITS: dict[str, Schema] = {"live_jobs": INTEGER, "live_jobs_limit": {"type": ["integer", "null"]}}


def limits_entry(found: Allowance) -> dict[str, Any]:
    return {"live_jobs": found.live_jobs, "live_jobs_limit": found.limit}


_FREE: dict[str, Schema] = {
    "machines": {
        **a_map({"type": ["integer", "null"], "minimum": 0}),
        "description": "By name, those that run nested jobs; null if it is not known, or the site does not show it.",
    }
}


def free_entry(found: Mapping[str, int | None]) -> dict[str, Any]:
    return {"machines": dict(found)}


_SHARE: dict[str, Schema] = {
    "user": STRING,
    "live_jobs": INTEGER,
    "cores": INTEGER,
    "memory_gib": INTEGER,
    "gpus": INTEGER,
}
_ORPHAN: dict[str, Schema] = {"time": _TIME_OR_NULL, "reason": STRING, "message": STRING, "count": INTEGER}
_OVERVIEW: dict[str, Schema] = {
    "users": {"type": "array", "items": ref("Share"), "description": "Those with the most cores first."},
    "live_jobs_limit": {"type": ["integer", "null"], "description": "Of one user."},
    "starting": INTEGER,
    "running": INTEGER,
    "failures": {"type": "array", "items": a_record({"reason": STRING, "count": INTEGER})},
    "failed": {"type": "array", "items": ref("Job"), "description": "The newest failed jobs."},
    "orphans": {
        "type": ["array", "null"],
        "items": ref("Orphan"),
        "description": "Of the last hour; null if kns cannot read its Events now.",
    },
    "live": {"type": "array", "items": ref("Job"), "description": "One page of the live jobs, newest first."},
    "more": {"type": "boolean", "description": "Whether older live jobs follow."},
}


def overview_entry(found: Overview, live: Sequence[Job], *, has_more: bool, now: datetime) -> dict[str, Any]:
    return {
        "users": [
            {"user": user, "live_jobs": each.jobs, "cores": each.cores, "memory_gib": each.gib, "gpus": each.gpus}
            for user, each in found.by_user
        ],
        "live_jobs_limit": found.live_limit,
        "starting": found.starting,
        "running": found.running,
        "failures": [{"reason": reason, "count": count} for reason, count in found.by_reason],
        "failed": [job_entry(job, now=now) for job in found.failed],
        "orphans": None if found.orphans is None else [_orphan_entry(each) for each in found.orphans],
        "live": [job_entry(job, now=now) for job in live],
        "more": has_more,
    }


def _orphan_entry(orphan: Orphan) -> dict[str, Any]:
    return {
        "time": format_time(orphan.time),
        "reason": orphan.reason,
        "message": orphan.message,
        "count": orphan.count,
    }


def format_time(moment: datetime | None) -> str | None:
    """
    >>> format_time(datetime(2026, 1, 5, 14, 15, 30, 999, tzinfo=UTC))
    '2026-01-05T14:15:30Z'
    """
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


SCHEMAS: dict[str, Schema] = {
    "Job": a_record(_JOB),
    "Step": a_record(_STEP),
    "Explanation": a_record(_EXPLANATION),
    "Connection": a_record(_CONNECTION),
    "Free": a_record(_FREE),
    "Limits": a_record(_LIMITS),
    "Orphan": a_record(_ORPHAN),
    "Overview": a_record(_OVERVIEW),
    "Share": a_record(_SHARE),
    "Usage": a_record(_USAGE),
    "Use": a_record(_USE),
    "Warning": a_record(_WARNING),
}
