"""
The job's namespace with LimitRange, ResourceQuota and kns's own rights in it; everything else of the job lives inside.

Removal is the end of all of it: the namespace takes along what is in it. It never touches a namespace that does not
carry this job's label.
"""

from kns.model import names
from kns.model.conditions import ConditionType, Reason
from kns.model.outcome import Done, Failed, Outcome, Wait
from kns.objects.namespace import build_limit_range, build_namespace, build_resource_quota, build_role_binding
from kns.ports import Context, Kind, Object

_REMOVAL_POLL_S = 2.0


def ensure(ctx: Context) -> Outcome:
    cluster = ctx.world.cluster
    # What the cache lacks is asked for: it may be behind, and a namespace of somebody else is in no cache of ours.
    found = cluster.observe(Kind.NAMESPACE, "", ctx.name) or cluster.read(Kind.NAMESPACE, "", ctx.name)
    if ctx.job.status.is_true(ConditionType.NAMESPACE_READY):
        if found is None or _is_terminating(found):
            return Failed(Reason.NAMESPACE_GONE, f"namespace {ctx.name} was removed by somebody else")
        return Done()
    if found is not None and not _is_ours(found, ctx):
        return Failed(
            Reason.NAMESPACE_FOREIGN,
            f"namespace {ctx.name} exists and is not this job's; remove it or raise the counter of job numbers",
        )
    accepted, site = ctx.accepted, ctx.site
    cluster.apply(build_namespace(accepted, user=ctx.job.spec.user, app=ctx.job.spec.app, record_uid=ctx.job.uid))
    cluster.apply(
        build_role_binding(
            accepted.number, service_account=site.service_account, system_namespace=site.system_namespace
        )
    )
    limits = accepted.nested.limit_range or list(site.limit_range)
    cluster.apply(build_limit_range(accepted.number, limits))
    cluster.apply(build_resource_quota(accepted, nodes=ctx.job.spec.machine.nodes))
    return Done()


def remove(ctx: Context) -> Outcome:
    cluster = ctx.world.cluster
    found = cluster.observe(Kind.NAMESPACE, "", ctx.name) or cluster.read(Kind.NAMESPACE, "", ctx.name)
    if found is None or not _is_ours(found, ctx):
        return Done()
    if not _is_terminating(found):
        cluster.delete(Kind.NAMESPACE, "", ctx.name, uid=found["metadata"]["uid"])
    return Wait(_REMOVAL_POLL_S, Reason.REMOVING, f"namespace {ctx.name} is going{_describe(found)}")


def _is_ours(namespace: Object, ctx: Context) -> bool:
    """By number and by the record's uid: a copy of a record must not own, or remove, the original's namespace."""
    meta = namespace["metadata"]
    number = (meta.get("labels") or {}).get(names.JOB_LABEL)
    record_uid = (meta.get("annotations") or {}).get(names.RECORD_UID_ANNOTATION)
    return bool(number == str(ctx.accepted.number) and record_uid == ctx.job.uid)


def _is_terminating(namespace: Object) -> bool:
    return namespace["metadata"].get("deletionTimestamp") is not None


def _describe(namespace: Object) -> str:
    """What holds a namespace back, in the API server's own words; never a finalizer stripped."""
    conditions = (namespace.get("status") or {}).get("conditions") or ()
    messages = [c["message"] for c in conditions if c.get("status") == "True" and c.get("message")]
    return f": {'; '.join(messages)}" if messages else ""
