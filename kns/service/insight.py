"""
Read what happens in a job's namespace from the host: its events, and what its pods use.

A new job's namespace may not exist yet, or kns may not have its rights there yet. Both mean that there is nothing to
show so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache

from kns.logs import get_logger
from kns.model.errors import ForbiddenError, NotFoundError
from kns.model.job.job import Job
from kns.model.reading.event_time import read_event_time
from kns.model.reading.quantity import parse_quantity
from kns.ports import Kind, Object
from kns.service.errors import NotRunningError
from kns.service.find import accepted_of, require_running
from kns.service.ports import ServicePorts

_KIB = 1024

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class JobEvent:
    """A Kubernetes event: when it happened last, and its other fields as one line. It sorts by time."""

    time: datetime
    line: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a job's pods use, in percent of the machine's CPU and in KiB."""

    cpu_percent: int
    memory_kib: int
    memory_total_kib: int


def read_events(ports: ServicePorts, job: Job) -> list[JobEvent]:
    """
    The newest events of a live job's namespace, oldest first: at most `MOST_EVENTS`.

    Raises:
        NotRunningError: the job has ended, and its namespace with it.
    """
    if job.is_ended:
        raise NotRunningError(f"{job.record} has ended")
    try:
        found = ports.namespaces.list_events(accepted_of(job).location.namespace)
    except (NotFoundError, ForbiddenError):
        found = ()
    return sorted(JobEvent(read_event_time(event), _line_of(event)) for event in found)


def read_warnings(ports: ServicePorts, job: Job) -> list[tuple[datetime, Object]]:
    """Time and object of a live job's newest warnings, oldest first: at most `MOST_WARNINGS`, perhaps a moment old."""
    try:
        found = ports.namespaces.list_warnings(accepted_of(job).location.namespace)
    except (NotFoundError, ForbiddenError):
        found = ()
    return sorted(((read_event_time(event), event) for event in found), key=lambda pair: pair[0])


def _line_of(event: Object) -> str:
    subject = event.get("involvedObject") or {}
    message = " ".join(str(event.get("message") or "").split())
    named = f"{subject.get('kind') or '-'}/{subject.get('name') or '-'}"
    return f"{event.get('type') or '-'} {event.get('reason') or '-'} {named}: {message}"


def measure(ports: ServicePorts, job: Job) -> Measurement:
    """
    The sum over the pods of a running job's namespace.

    Raises:
        NotRunningError: the job is not running, or nothing has been measured yet.
    """
    require_running(job)
    pods = _read_pod_metrics(ports, job)
    machine, nodes = accepted_of(job).machine, job.spec.machine.nodes
    cores = machine.cores(nodes)
    return Measurement(
        cpu_percent=round(100 * _sum_usage(pods, "cpu") / cores) if cores else 0,
        memory_kib=int(_sum_usage(pods, "memory")) // _KIB,
        memory_total_kib=machine.memory_gib(nodes) * _KIB * _KIB,
    )


def _read_pod_metrics(ports: ServicePorts, job: Job) -> Sequence[Object]:
    problem = f"nothing has been measured yet for {job.record}"
    try:
        found = _list(ports, job, Kind.POD_METRICS)
    except NotFoundError as error:
        _warn_unmeasured()
        raise NotRunningError(problem) from error
    except ForbiddenError as error:
        raise NotRunningError(problem) from error
    if not found:
        raise NotRunningError(problem)
    return found


@cache
def _warn_unmeasured() -> None:
    """Once per process, because clients poll."""
    log.warning("no_metrics_api", hint="install metrics-server on the host cluster; /jarvice/metrics answers 404")


def _sum_usage(pods: Sequence[Object], resource: str) -> Decimal:
    usages = [container.get("usage") or {} for pod in pods for container in pod.get("containers") or ()]
    return sum((parse_quantity(usage.get(resource, 0), path=resource) for usage in usages), Decimal(0))


def _list(ports: ServicePorts, job: Job, kind: Kind) -> Sequence[Object]:
    return ports.namespaces.list_objects(kind, accepted_of(job).location.namespace)
