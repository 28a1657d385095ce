"""
The record of a job, a NestedJob object as decoded JSON: reading it, salvaging one that is unreadable, and writing it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from kns.model import names
from kns.model.errors import InvalidInputError
from kns.model.job.job import AdoptedNamespace, DesiredState, Job, JobSpec, JobStatus
from kns.model.reading.parsing import parse_model


def job_from_record(record: Mapping[str, Any]) -> Job:
    """
    Read a NestedJob object (decoded JSON).

    Raises:
        InvalidInputError: spec or status is unreadable; the message has the key path.
    """
    meta = record["metadata"]
    return Job(
        record=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        generation=meta.get("generation", 1),
        created=_read_time(meta["creationTimestamp"]),
        deleting=meta.get("deletionTimestamp") is not None,
        finalizers=tuple(meta.get("finalizers") or ()),
        spec=parse_model(JobSpec, record.get("spec") or {}, prefix="spec"),
        status=parse_model(JobStatus, record.get("status") or {}, prefix="status"),
    )


def salvage_job(record: Mapping[str, Any], error: InvalidInputError) -> Job:
    """
    Read as much of an unreadable record as is needed to end the job with that error and to remove its objects.

    Raises:
        InvalidInputError: the record does not have even that much.
    """
    raw = record.get("spec") or {}
    known = raw.get("accepted") or {}
    spec = {
        "user": str(raw.get("user") or "unknown"),
        "app": str(raw.get("app") or "unknown"),
        "machine": {"type": "unknown"},
        "desiredState": raw.get("desiredState", DesiredState.RUNNING),
    }
    if isinstance(known.get("number"), int):
        spec["accepted"] = {
            "number": known["number"],
            "name": str(known.get("name")),
            "payer": str(known.get("payer")),
            "submitTime": record["metadata"]["creationTimestamp"],
            "image": str(known.get("image")),
            "command": str(known.get("command")),
            "machine": {"mc_name": "unknown", "mc_cores": 0, "mc_ram": 0},
            "nested": {"templates": [{"name": "unknown", "type": "kubectl", "path": "unknown"}]},
            **_salvage_adopted(known.get("adopted")),
        }
    try:
        job = job_from_record({**record, "spec": spec})
    except InvalidInputError:
        job = job_from_record({**record, "spec": spec, "status": {}})
    return replace(job, read_error=str(error))


def _salvage_adopted(raw: Any) -> dict[str, Any]:
    """
    Without a readable value the job has the namespace of its number, which removal leaves alone if it is not its own.
    """
    try:
        return {"adopted": AdoptedNamespace.model_validate(raw).model_dump()}
    except ValidationError:
        return {}


def _read_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError("metadata.creationTimestamp", "is not a time") from error


def spec_to_record(spec: JobSpec) -> dict[str, Any]:
    """`spec` as stored: camelCase, without absent values, because the CRD's schema allows no null."""
    own_spelling = {"nested", "machine"}  # that of AppDef and catalogue
    data: dict[str, Any] = spec.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"accepted": own_spelling}
    )
    if spec.accepted:
        data["accepted"]["nested"] = spec.accepted.nested.model_dump(mode="json", exclude_none=True)
        data["accepted"]["machine"] = spec.accepted.machine.model_dump(mode="json")
    return data


def status_to_record(status: JobStatus) -> dict[str, Any]:
    data: dict[str, Any] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    data["substatus"] = int(status.substatus)
    data["substatusText"] = status.activity or ""
    return data


def build_record(*, record: str, spec: JobSpec, namespace: str) -> dict[str, Any]:
    """A new NestedJob. It has the finalizer from the start, so that its deletion always waits for the cleanup."""
    labels = {names.MANAGED_BY_LABEL: "kns", names.USER_LABEL: names.label_value(spec.user)}
    if spec.accepted:
        labels[names.JOB_LABEL] = str(spec.accepted.number)
        labels[names.PUBLIC_NAME_LABEL] = names.label_value(spec.accepted.name)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.RECORD_KIND,
        "metadata": {
            "name": record,
            "namespace": namespace,
            "labels": labels,
            "finalizers": [names.FINALIZER],
        },
        "spec": spec_to_record(spec),
    }
