"""What the pool and the submissions have in common: the shape of a member, and whether it is as it must be."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from kns.model.job.job import Accepted, Job, JobSpec, JobStatus
from kns.ports import Context
from kns.stages.lifecycle import MemberKind
from kns.stages.outcome import Done, Outcome


def digest_shape(values: Mapping[str, Any], release: str) -> str:
    """
    A digest of everything that a member was made with. `release` identifies the software that made it.

    >>> digest_shape({"a": 1, "b": 2}, "1") == digest_shape({"b": 2, "a": 1}, "1") != digest_shape({"a": 1}, "1")
    True
    """
    return sha256(json.dumps([release, values], sort_keys=True).encode()).hexdigest()


def build_draft(spec: JobSpec, accepted: Accepted, status: JobStatus) -> Job:
    """A job without a record, as stages see it before the record exists. Its uid is that of the namespace, if any."""
    return Job(
        record="",
        uid=accepted.adopted.uid if accepted.adopted is not None else "",
        resource_version="",
        generation=0,
        created=accepted.submit_time,
        deleting=False,
        finalizers=(),
        spec=spec.model_copy(update={"accepted": accepted}),
        status=status,
    )


def find_unfinished(kind: MemberKind, ctx: Context) -> Outcome | None:
    """The outcome of the first stage of a ready member that is not done any more; None if all are."""
    outcomes = (stage.ensure(ctx) for stage in kind.stages)
    return next((outcome for outcome in outcomes if not isinstance(outcome, Done)), None)
