"""
A job as the cluster stores it: JSON in an annotation of the Kubernetes Job.

The environment's values and the input stay out of the annotation. The values are in the pod's template anyway, and an
annotation is shown by every `kubectl describe`.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kns.model.errors import InvalidInputError, KnsError
from kns.plain import names
from kns.plain.job import (
    Constraint,
    Container,
    Mount,
    PlainJob,
    Port,
    Protocol,
    Resources,
    SecretVariable,
    Variable,
)

Object = dict[str, Any]
MAX_STORED_BYTES = 128 * 1024  # the annotations of an object may have 256 KiB together, and templates add theirs
_YEAR_ZERO = 1970  # of Unix; Go's zero is in the year 1


@dataclass(frozen=True, slots=True)
class Stored:
    """A job and what the cluster keeps of it. `end` is the decoded end, {} before. `asked` is who ended it, or ""."""

    id: str
    uid: str
    job: PlainJob
    submitted: datetime
    asked: str
    is_suspended: bool
    end: Mapping[str, Any]
    stdin_token: str
    is_deleted: bool


def encode_job(job: PlainJob) -> str:
    """
    The annotation of a job.

    Raises:
        InvalidInputError: it is too large.
    """
    data = {
        "name": job.name,
        "user": job.user,
        "image": job.container.image,
        "runAsUser": job.container.run_as_user,
        "runAsGroup": job.container.run_as_group,
        "groups": list(job.container.supplemental_groups),
        "command": job.command,
        "exe": job.exe,
        "args": list(job.args),
        "environment": [variable.name for variable in job.environment],
        "secrets": [[each.name, each.secret, each.key] for each in job.secrets],
        "workingDirectory": job.working_directory,
        "host": job.host,
        "ports": [[port.target, port.published, str(port.protocol)] for port in job.ports],
        "mounts": [
            {
                "path": m.path,
                "volume": dict(m.volume),
                "readOnly": m.read_only,
                "subPath": m.sub_path,
                "given": dict(m.given),
            }
            for m in job.mounts
        ],
        "limits": dict(job.resources.limits),
        "requests": dict(job.resources.requests),
        "constraints": [[each.name, each.value] for each in job.constraints],
        "tags": list(job.tags),
        "queues": list(job.queues),
        "shared": job.share_process_namespace,
        "nested": job.nested or None,
        "extras": dict(job.extras),
    }
    text = json.dumps({key: value for key, value in data.items() if value not in (None, "", [], {})}, sort_keys=True)
    if len(text.encode()) > MAX_STORED_BYTES:
        raise InvalidInputError(
            "job", f"has {len(text.encode())} bytes without its environment and stdin; {MAX_STORED_BYTES} are possible"
        )
    return text


def is_own(obj: Mapping[str, Any]) -> bool:
    return names.STORED in (obj["metadata"].get("annotations") or {})


def read_stored(obj: Mapping[str, Any]) -> Stored:
    """
    The job of a Kubernetes Job. Whatever another program changed in the annotations, the job can be read: its name and
    its user come from what is left.
    """
    meta = obj["metadata"]
    notes = meta.get("annotations") or {}
    data = _decode(notes.get(names.STORED, ""))
    try:
        job = _build(data, obj)
    except (KnsError, TypeError, ValueError, KeyError, AttributeError):
        job = _build_rest(meta, obj)
    return Stored(
        id=meta["name"],
        uid=meta.get("uid", ""),
        job=job,
        submitted=read_time(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        asked=notes.get(names.ASKED, ""),
        is_suspended=notes.get(names.SUSPENDED) == "true",
        end=_decode(notes.get(names.END, "")),
        stdin_token=notes.get(names.STDIN, ""),
        is_deleted="deletionTimestamp" in meta,
    )


def read_time(text: object) -> datetime | None:
    """
    A time of the API server, in UTC; None if it is missing, unreadable or zero, which container runtimes write for a
    time that they do not know.
    """
    try:
        time = datetime.fromisoformat(str(text))
        time = time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # at the ends of the calendar, another zone is in another year
        return None
    return None if time.year <= _YEAR_ZERO else time


def find_container(pod_spec: Mapping[str, Any]) -> Object:
    """The container of the job: the one with the Launcher's name, else the first; {} if there is none."""
    containers = [each for each in pod_spec.get("containers") or () if isinstance(each, dict)]
    for container in containers:
        if container.get("name") == names.CONTAINER:
            return container
    return containers[0] if containers else {}


def unescape_references(text: str) -> str:
    """
    The text that a container sees, as Kubernetes reads it without any variable.

    >>> unescape_references("echo $$(date) $$HOME")
    'echo $(date) $HOME'
    """
    return text.replace("$$", "$")


_LONGEST_SHARED = 24  # characters of a value that jobs are likely to have in common


def _share(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys and short texts are one object for all jobs, of which there may be thousands."""
    return {
        sys.intern(key): sys.intern(value) if type(value) is str and len(value) <= _LONGEST_SHARED else value
        for key, value in pairs
    }


def _decode(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, object_pairs_hook=_share) if text else {}
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _template(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    return spec


def _read_environment(wanted: Sequence[str], obj: Mapping[str, Any]) -> tuple[Variable, ...]:
    """
    The values are in the container, in the order of the job's variables. A name may appear again: as a secret, or as a
    variable that a template added.
    """
    values: dict[str, list[str]] = {}
    for item in find_container(_template(obj)).get("env") or ():
        if "valueFrom" not in item:
            values.setdefault(item.get("name", ""), []).append(str(item.get("value") or ""))
    found = []
    for name in wanted:
        left = values.get(name) or [""]
        found.append(Variable(name, unescape_references(left.pop(0) if len(left) > 1 else left[0])))
    return tuple(found)


def _build(data: Mapping[str, Any], obj: Mapping[str, Any]) -> PlainJob:
    return PlainJob(
        name=data["name"],
        # One text for all jobs of a user and of an image.
        user=sys.intern(data["user"]),
        container=Container(
            sys.intern(data["image"]), data.get("runAsUser"), data.get("runAsGroup"), tuple(data.get("groups") or ())
        ),
        command=data.get("command", ""),
        exe=data.get("exe", ""),
        args=tuple(data.get("args") or ()),
        environment=_read_environment(data.get("environment") or (), obj),
        secrets=tuple(SecretVariable(*each) for each in data.get("secrets") or ()),
        working_directory=data.get("workingDirectory", ""),
        host=data.get("host", ""),
        ports=tuple(Port(target, published, Protocol(kind)) for target, published, kind in data.get("ports") or ()),
        mounts=tuple(
            Mount(m["path"], m["volume"], m["readOnly"], m["subPath"], m["given"]) for m in data.get("mounts") or ()
        ),
        resources=Resources(data.get("limits") or {}, data.get("requests") or {}),
        constraints=tuple(Constraint(*each) for each in data.get("constraints") or ()),
        tags=tuple(data.get("tags") or ()),
        queues=tuple(data.get("queues") or ()),
        share_process_namespace=data.get("shared", False),
        nested=data.get("nested", False),
        extras=data.get("extras") or {},
    )


def _build_rest(meta: Mapping[str, Any], obj: Mapping[str, Any]) -> PlainJob:
    labels = meta.get("labels") or {}
    image = find_container(_template(obj)).get("image") or "unknown"
    return PlainJob(
        name=meta["name"], user=str(labels.get(names.USER_LABEL) or "unknown"), container=Container(str(image))
    )
