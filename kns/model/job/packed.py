"""
A job as the caches hold it: compressed JSON beside the few values by which jobs are found.

A parsed job needs tens of KiB, most of it overhead of the objects, and a replica caches thousands of jobs. Reading one
takes a fraction of a millisecond. `unpack_job` remembers the last jobs, because clients poll and the reconciler
reads a live job many times.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from sys import intern
from weakref import WeakValueDictionary

from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import Job, JobState
from kns.model.job.record import job_from_record, spec_to_record, status_to_record
from kns.model.job.slim import slim_submission
from kns.model.reading.json_text import read_json, write_json

_REMEMBERED = 128
_LEVEL = 1  # of compression; higher levels take longer and save little
_SAMPLE_BYTES = 24 * 1024  # zlib looks back 32 KiB

# What stands in the text for the parts of a job that are beside it, and for those that only its objects need.
_NO_NESTED = {"nested": {"templates": [{"name": "removed", "type": "kubectl", "path": "removed"}]}}
_NOTHING_SETTLED: dict[str, list[str]] = {"parameters": [], "variables": [], "inheritedVariables": []}

# The text of a job, beside which others are compressed: most are nearly the same, so only what differs remains. It is
# replaced by the first text that is much longer, because the first job of all has no status yet.
_samples: list[bytes] = []
_LONGER = 1.5

_shared: WeakValueDictionary[bytes, NestedKubernetes] = WeakValueDictionary()


@dataclass(frozen=True, slots=True, eq=False)
class PackedJob:
    """
    `cores`, `gib` and `gpus` are those of its machines. `sleeps`: the job shall be asleep. `is_removed`: the job has
    ended and nothing of it is left on the host. `retained_since` is the end of such a job, unless its record is being
    deleted or has no finalizer yet. `removing_since` is the end of a job that has ended, is not kept, and of which
    something is left. `nested` is shared by all jobs with equal values, and None if `is_removed`. `data`
    can be decompressed with `sample` only, which many jobs share. Make it with `pack_job`.
    """

    record: str
    uid: str
    version: str
    user: str
    payer: str | None
    number: int | None
    name: str | None
    namespace: str | None
    app: str
    cores: int
    gib: int
    gpus: int
    state: JobState
    deleting: bool
    reason: str | None
    is_removed: bool
    retained_since: datetime | None
    removing_since: datetime | None
    sleeps: bool
    nested: NestedKubernetes | None = field(repr=False)
    read_error: str | None
    data: bytes = field(repr=False)
    sample: bytes = field(repr=False)


def pack_job(job: Job) -> PackedJob:
    """
    The packed form. A submission that an earlier release stored whole is cut to what this release keeps. A removed job
    loses the parts that only a live job needs: settled parameters, names of variables, and `nested`.
    """
    accepted, nodes = job.spec.accepted, job.spec.machine.nodes
    removed = job.status.condition(ConditionType.REMOVED)
    is_removed = job.is_ended and removed is not None and removed.is_true
    is_kept = removed is not None and removed.reason == Reason.KEPT
    is_retained = is_removed and not job.deleting and names.FINALIZER in job.finalizers
    namespace = job.location.namespace if job.location else None
    spec = spec_to_record(job.spec)
    spec["submission"] = slim_submission(job.spec.submission)
    if accepted is not None:
        spec["accepted"] |= _NO_NESTED | (_NOTHING_SETTLED if is_removed else {})
    record = {
        "metadata": {
            "name": job.record,
            "uid": job.uid,
            "resourceVersion": job.resource_version,
            "generation": job.generation,
            "creationTimestamp": job.created.isoformat(),
            "deletionTimestamp": job.created.isoformat() if job.deleting else None,
            "finalizers": job.finalizers,
        },
        "spec": spec,
        "status": status_to_record(job.status),
    }
    text = write_json(record)
    sample = _choose_sample(text)
    packer = zlib.compressobj(_LEVEL, zdict=sample)
    return PackedJob(
        record=job.record,
        uid=job.uid,
        version=job.resource_version,
        user=intern(job.spec.user),
        payer=intern(accepted.payer) if accepted else None,
        number=job.number,
        name=accepted.name if accepted else None,
        namespace=job.record if namespace == job.record else namespace,  # mostly equal, and then one object
        app=intern(job.spec.app),
        cores=accepted.machine.cores(nodes) if accepted else 0,
        gib=accepted.machine.memory_gib(nodes) if accepted else 0,
        gpus=accepted.machine.gpus(nodes) if accepted else 0,
        state=job.status.job_status,
        deleting=job.deleting,
        reason=intern(job.status.reason) if job.status.reason else None,
        is_removed=is_removed,
        retained_since=job.status.end_time if is_retained else None,
        removing_since=job.status.end_time if job.is_ended and not is_removed and not is_kept else None,
        sleeps=bool(job.spec.sleep) and not job.is_ended,
        nested=_share(accepted.nested) if accepted and not is_removed else None,
        read_error=job.read_error,
        data=packer.compress(text) + packer.flush(),
        sample=sample,
    )


def read_packed(packed: PackedJob) -> Job:
    """The job, parsed anew. For lists, which would displace all that `unpack_job` remembers."""
    text = zlib.decompressobj(zdict=packed.sample).decompress(packed.data)
    job = job_from_record(read_json(text))
    job = replace(job, read_error=packed.read_error)
    if job.spec.accepted is None or packed.nested is None:
        return job
    accepted = job.spec.accepted.model_copy(update={"nested": packed.nested})
    return replace(job, spec=job.spec.model_copy(update={"accepted": accepted}))


unpack_job: Callable[[PackedJob], Job] = lru_cache(_REMEMBERED)(read_packed)


def _choose_sample(text: bytes) -> bytes:
    if not _samples or len(_samples[-1]) * _LONGER < min(len(text), _SAMPLE_BYTES):
        _samples.append(text[:_SAMPLE_BYTES])
    return _samples[-1]


def _share(nested: NestedKubernetes) -> NestedKubernetes:
    """An equal value that other jobs have already, or else this one."""
    digest = sha256(nested.model_dump_json().encode("utf-8", "surrogatepass")).digest()
    return _shared.setdefault(digest, nested)
