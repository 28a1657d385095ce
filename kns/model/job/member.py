"""
A member of the warm pool: a namespace with a virtual cluster that runs before a job exists for it.

The labels and annotations of the namespace are the member's only record. A namespace is a member from its creation
until the first reconcile of the job that claimed it writes the record's uid to it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kns.model import names
from kns.model.errors import InvalidInputError
from kns.model.job.job import AdoptedNamespace, JobStatus
from kns.model.job.record import status_to_record
from kns.model.reading.parsing import parse_model


@dataclass(frozen=True, slots=True)
class Marks:
    """
    What the namespace of a member says beyond that of any job.

    `pool` is the pool that it was made for, `shape` a digest of everything that its virtual cluster was started with.
    `status` is None while the member is being made, and then the status that a job would have at this point.
    `ready_uid` is the uid of the namespace that was found ready; a copy of the namespace has another uid, so it is not.
    """

    pool: str
    shape: str
    status: JobStatus | None = None
    ready_uid: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        return {names.POOL_LABEL: names.label_value(self.pool)}

    @property
    def annotations(self) -> dict[str, str]:
        marks = {names.POOL_SHAPE_ANNOTATION: self.shape}
        if self.status is not None and self.ready_uid is not None:
            marks[names.POOL_READY_ANNOTATION] = self.ready_uid
            marks[names.POOL_STATUS_ANNOTATION] = json.dumps(status_to_record(self.status), separators=(",", ":"))
        return marks


@dataclass(frozen=True, slots=True)
class Member:
    """
    A member as its namespace describes it. `version` is the namespace's resourceVersion: a claim, a ready mark and a
    deletion are for this version only. `claim` is the id of the claim, if there is one, and `claimed` its time by the
    clock of the replica that made it.
    """

    number: int
    namespace: str
    uid: str
    version: str
    created: datetime
    terminating: bool
    marks: Marks
    claim: str | None = None
    claimed: datetime | None = None

    @property
    def pool_label(self) -> str:
        return self.marks.labels[names.POOL_LABEL]

    @property
    def is_ready(self) -> bool:
        return self.marks.status is not None and self.marks.ready_uid == self.uid

    @property
    def is_unclaimed(self) -> bool:
        return self.claim is None and not self.terminating

    @property
    def is_free(self) -> bool:
        """Whether a job may claim it."""
        return self.is_ready and self.is_unclaimed

    @property
    def adopted(self) -> AdoptedNamespace:
        return AdoptedNamespace(name=self.namespace, uid=self.uid)

    def made(self, status: JobStatus) -> Marks:
        """The marks of this member when it is ready."""
        return replace(self.marks, status=status, ready_uid=self.uid)


def build_claim(claim: str, now: datetime) -> dict[str, str]:
    """The annotations that claim a member."""
    return {names.POOL_CLAIM_ANNOTATION: claim, names.POOL_CLAIM_TIME_ANNOTATION: now.isoformat()}


def read_member(namespace: Mapping[str, Any]) -> Member | None:
    """
    The member that a namespace is; None for every other namespace, and for one that a job has taken over.

    Marks that cannot be read count as absent: such a member is not ready and fits no shape, so the pool discards it.
    """
    meta = namespace["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if names.POOL_LABEL not in labels or names.RECORD_UID_ANNOTATION in annotations:
        return None
    number = names.read_job_number(meta["name"])
    if number is None or labels.get(names.JOB_LABEL) != str(number):
        return None
    return Member(
        number=number,
        namespace=meta["name"],
        uid=meta["uid"],
        version=str(meta.get("resourceVersion") or ""),
        created=datetime.fromisoformat(meta["creationTimestamp"]),
        terminating=meta.get("deletionTimestamp") is not None,
        marks=Marks(
            pool=labels[names.POOL_LABEL],
            shape=annotations.get(names.POOL_SHAPE_ANNOTATION, ""),
            status=_read_status(annotations.get(names.POOL_STATUS_ANNOTATION)),
            ready_uid=annotations.get(names.POOL_READY_ANNOTATION),
        ),
        claim=annotations.get(names.POOL_CLAIM_ANNOTATION),
        claimed=_read_time(annotations.get(names.POOL_CLAIM_TIME_ANNOTATION)),
    )


def is_member(namespace: Mapping[str, Any]) -> bool:
    return read_member(namespace) is not None


def _read_time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def _read_status(text: str | None) -> JobStatus | None:
    if text is None:
        return None
    try:
        return parse_model(JobStatus, json.loads(text), prefix="status")
    except (ValueError, RecursionError, InvalidInputError):
        return None
