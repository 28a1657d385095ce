"""
Whose the namespace of a job's number is. Several jobs may have one number (a second installation, a copied record, a
counter that was lowered), so nothing that is found by number may be used or removed before this was asked.
"""

from kns.model import names
from kns.ports import Context, Kind, Object


def find_namespace(ctx: Context) -> Object | None:
    """
    The namespace of this number, whoever's it is.

    Only of this job's own the cache is believed: it may be behind, and what carries no label of ours is in none.
    """
    found = ctx.world.cluster.observe(Kind.NAMESPACE, "", ctx.name)
    return found if found is not None and is_own(found, ctx) else ctx.world.cluster.read(Kind.NAMESPACE, "", ctx.name)


def is_own(obj: Object, ctx: Context) -> bool:
    """By number and by the record's uid: a copy of a record must not own, or remove, what is the original's."""
    meta = obj["metadata"]
    number = (meta.get("labels") or {}).get(names.JOB_LABEL)
    record_uid = (meta.get("annotations") or {}).get(names.RECORD_UID_ANNOTATION)
    return bool(number == str(ctx.accepted.number) and record_uid == ctx.job.uid)


def has_foreign_namespace(ctx: Context) -> bool:
    """Whether what lies in the namespace is another's to remove. Read now: no deletion may rest on a cache alone."""
    found = ctx.world.cluster.read(Kind.NAMESPACE, "", ctx.name)
    return found is not None and not is_own(found, ctx)
