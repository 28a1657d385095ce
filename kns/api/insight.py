"""
What happens inside a job's namespace, read from the host at that moment: `events` and `metrics`.

A new job's namespace may not be there yet, nor kns's rights in it: both mean that there is nothing to show so far.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

import structlog
from fastapi import APIRouter, Response

from kns.api.answers import JsonAnswer, TextAnswer
from kns.api.auth import Admin
from kns.api.errors import NOT_RUNNING, ApiError
from kns.api.lookup import KnownJob, require_running
from kns.api.ports import ApiPorts, Ports
from kns.api.shapes import accepted_of
from kns.model.errors import ForbiddenError, NotFoundError
from kns.model.job.job import Job
from kns.model.reading.quantity import parse_quantity
from kns.ports import Kind, Object

METHODS = ["GET", "POST"]
_KIB = 1024
_NEVER = "1970-01-01T00:00:00Z"  # an event without any time comes first

log = structlog.get_logger(__name__)
router = APIRouter()


@router.api_route("/events", methods=METHODS)
def events(ports: Ports, _admin: Admin, job: KnownJob) -> Response:
    return TextAnswer(read_events(ports, job))


def read_events(ports: ApiPorts, job: Job) -> str:
    """
    The events of a live job's namespace, oldest first, one per line.

    Raises:
        ApiError: the job has ended, and its namespace with it.
    """
    if job.is_ended:
        raise ApiError(NOT_RUNNING)
    try:
        found = _list(ports, job, Kind.EVENT)
    except (NotFoundError, ForbiddenError):
        found = ()
    lines = sorted((_moment_of(event), _event_line(event)) for event in found)
    return "".join(f"{_rfc3339(moment)} {line}\n" for moment, line in lines)


def _moment_of(event: Object) -> datetime:
    """When it happened last: each generation of the events API has a key of its own for it."""
    series = event.get("series") or {}
    meta = event.get("metadata") or {}
    moments = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        meta.get("creationTimestamp"),
    )
    return datetime.fromisoformat(next((moment for moment in moments if moment), _NEVER))


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _event_line(event: Object) -> str:
    subject = event.get("involvedObject") or {}
    message = " ".join(str(event.get("message") or "").split())
    named = f"{subject.get('kind') or '-'}/{subject.get('name') or '-'}"
    return f"{event.get('type') or '-'} {event.get('reason') or '-'} {named}: {message}"


@router.api_route("/metrics", methods=METHODS)
def metrics(ports: Ports, job: KnownJob) -> Response:
    """One item: the sum over the namespace, against what the machine allots."""
    require_running(job)
    return JsonAnswer(_metrics_entry(job, _read_pod_metrics(ports, job)))


def _read_pod_metrics(ports: ApiPorts, job: Job) -> Sequence[Object]:
    """
    Raises:
        ApiError: nothing was measured so far; clients poll until this error disappears.
    """
    try:
        found = _list(ports, job, Kind.POD_METRICS)
    except NotFoundError as error:
        _warn_unmeasured()
        raise ApiError(NOT_RUNNING) from error
    except ForbiddenError as error:
        raise ApiError(NOT_RUNNING) from error
    if not found:
        raise ApiError(NOT_RUNNING)
    return found


@cache
def _warn_unmeasured() -> None:
    """Once in the life of the process: somebody polls this route."""
    log.warning("no_metrics_api", hint="install metrics-server on the host cluster; /jarvice/metrics answers 404")


def _metrics_entry(job: Job, pods: Sequence[Object]) -> dict[str, Any]:
    machine, nodes = accepted_of(job).machine, job.spec.machine.nodes
    cores = machine.cores(nodes)
    summary = {
        "cpu_used": round(100 * _sum_usage(pods, "cpu") / cores) if cores else 0,
        "memory_used": int(_sum_usage(pods, "memory")) // _KIB,
        "memory_total": machine.memory_gib(nodes) * _KIB * _KIB,
    }
    return {"itemized": {key: [value] for key, value in summary.items()}, "summary": summary}


def _sum_usage(pods: Sequence[Object], resource: str) -> Decimal:
    usages = [container.get("usage") or {} for pod in pods for container in pod.get("containers") or ()]
    return sum((parse_quantity(usage.get(resource, 0), path=resource) for usage in usages), Decimal(0))


def _list(ports: ApiPorts, job: Job, kind: Kind) -> Sequence[Object]:
    return ports.namespaces.list_objects(kind, accepted_of(job).location.namespace)
