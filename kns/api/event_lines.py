"""The Kubernetes events of a job's namespace as text: what an administrator reads when a job does not start."""

from typing import Any

from kns.api.errors import NOT_RUNNING, ApiError
from kns.api.ports import ApiPorts
from kns.api.shapes import accepted_of
from kns.model import names
from kns.model.errors import clip
from kns.model.job import Job
from kns.ports import Kind


def read_event_lines(ports: ApiPorts, job: Job) -> str:
    """
    One line per event, oldest first: `<RFC3339> <type> <reason> <object>: <message>`.

    Raises:
        ApiError: the job has ended, and its namespace with it.
    """
    if job.is_ended:
        raise ApiError(NOT_RUNNING)
    events = ports.namespaces.list_objects(Kind.EVENT, names.job_object_name(accepted_of(job).number))
    return "".join(f"{line}\n" for line in sorted(_line(event) for event in events))


def _line(event: Any) -> str:
    """Begins with the time, all in UTC and of one form, so lines sort by it."""
    about = event.get("involvedObject") or {}
    subject = f"{about.get('kind', 'Unknown')}/{about.get('name', '')}"
    kind, reason = event.get("type") or "Normal", event.get("reason") or "Unknown"
    return f"{_moment(event)} {kind} {reason} {subject}: {clip(event.get('message') or '')}"


def _moment(event: Any) -> str:
    """When it last happened; a new kind of event has `eventTime` (with microseconds) only."""
    text = str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
    return f"{text[:19]}Z"
