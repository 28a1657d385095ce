"""
Which record owns an object on the host. Every stage asks here before it uses or removes an object that it found by
name.

Names and numbers prove nothing: a second installation, a copied record or a lowered counter can give two records the
same number. The record's uid in an annotation proves it, because Kubernetes never uses a uid again. A namespace that
was made before its record has no such annotation; there the record names the namespace's uid (`Accepted.adopted`).
"""

from kns.model import names
from kns.ports import Context, Kind, Object


def find_namespace(ctx: Context) -> Object | None:
    """
    The namespace of the job's name, whichever record owns it.

    The cache is trusted only for this job's own namespace: it may be behind, and it contains no objects without kns's
    labels.
    """
    found = ctx.world.cluster.observe(Kind.NAMESPACE, "", ctx.namespace)
    if found is not None and is_own(found, ctx):
        return found
    return ctx.world.cluster.read(Kind.NAMESPACE, "", ctx.namespace)


def is_own(obj: Object, ctx: Context) -> bool:
    """
    Whether this job's record owns a namespace or a volume.

    The annotation decides if there is one, so no record can adopt a namespace of another record. A namespace without
    the label of its job is still the job's. Policy `kns-scheduler` refuses its removal if the installation's is gone.
    """
    meta = obj["metadata"]
    record_uid = (meta.get("annotations") or {}).get(names.RECORD_UID_ANNOTATION)
    if record_uid is not None:
        return bool(record_uid == ctx.job.uid)
    is_of_number = (meta.get("labels") or {}).get(names.JOB_LABEL) == str(ctx.location.number)
    return is_of_number and ctx.location.adopted_uid is not None and bool(meta["uid"] == ctx.location.adopted_uid)


def has_foreign_namespace(ctx: Context) -> bool:
    """Whether another record owns the namespace. Not from the cache, because deletions depend on the answer."""
    found = ctx.world.cluster.read(Kind.NAMESPACE, "", ctx.namespace)
    return found is not None and not is_own(found, ctx)


def is_terminating(obj: Object) -> bool:
    return obj["metadata"].get("deletionTimestamp") is not None
