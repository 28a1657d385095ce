"""
The pods of a job on the host, and their end.

A tenant's pod may ask for a grace period of years, and the deletion of its namespace respects that. Only a deletion
request with a shorter grace period ends the pod earlier, also if the pod is terminating already.
"""

from kns.model import names
from kns.objects.namespace import build_drain_quota, refuses_pods
from kns.ports import Context, Kind, Object
from kns.stages.ownership import has_foreign_namespace, is_own, is_terminating

# The least grace period of a pod. With 0 its object is deleted while its containers may still run.
OWN_GRACE_S = 1
_NOT_DNS = "k8s-app!=vcluster-kube-dns"


def end_tenants_pods(ctx: Context, *, spare_dns: bool = True) -> int:
    """
    Delete the tenant's pods with the site's grace period. Returns how many pods are left.

    A quota of no pods keeps the syncer from making the replacements that the tenant's controllers want. The pods that
    serve DNS to the terminating ones are spared; a tenant may label any pod so.
    """
    synced = f"{names.SYNCED_LABEL}={ctx.location.vcluster}"
    selector = f"{synced},{_NOT_DNS}" if spare_dns else synced
    pods = ctx.world.cluster.list_metadata(Kind.POD, ctx.namespace, selector)
    if any(_stays_longer(pod, ctx.site.grace_s) for pod in pods) and not has_foreign_namespace(ctx):
        ctx.world.cluster.apply(build_drain_quota(ctx.location))
        ctx.world.cluster.delete_pods(ctx.namespace, selector, grace_s=ctx.site.grace_s)
    return len(pods)


def allow_tenants_pods(ctx: Context) -> None:
    """
    Lift the quota of `end_tenants_pods`. It stays as an object, because kns has no right to delete one.

    The API server says whether there is one: a cache may not know it yet.
    """
    found = ctx.world.cluster.read(Kind.RESOURCE_QUOTA, ctx.namespace, names.DRAIN_QUOTA)
    if found is not None and refuses_pods(found):
        ctx.world.cluster.apply(build_drain_quota(ctx.location, is_over=True))


def end_all_pods(ctx: Context) -> None:
    """
    Delete all pods of the terminating namespace with the site's grace period, in one request.

    The namespace's removal waits for its pods, and it waits half of the longest grace period in their specs at a time.
    In a namespace that is not terminating, because its deletion met a conflict, the host would make new pods.
    """
    cluster, grace_s = ctx.world.cluster, max(ctx.site.grace_s, OWN_GRACE_S)
    pods = cluster.list_metadata(Kind.POD, ctx.namespace)
    if not any(_stays_longer(pod, grace_s) for pod in pods):
        return
    found = cluster.read(Kind.NAMESPACE, "", ctx.namespace)
    if found is not None and is_own(found, ctx) and is_terminating(found):
        cluster.delete_pods(ctx.namespace, "", grace_s=grace_s)


def _stays_longer(pod: Object, grace_s: int) -> bool:
    meta = pod["metadata"]
    return meta.get("deletionTimestamp") is None or (meta.get("deletionGracePeriodSeconds") or 0) > grace_s
