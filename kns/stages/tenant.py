"""
The pods of a job on the host, and their end.

A tenant's pod may ask for a grace period of years, and the deletion of its namespace respects that. Only a deletion
request with a shorter grace period ends the pod earlier, also if the pod is terminating already.
"""

from kns.model import names
from kns.objects.namespace import build_drain_quota
from kns.ports import Context, Kind, Object
from kns.stages.ownership import has_foreign_namespace
from kns.stages.pods import list_pods

# The state of kns's own pods ends with the job. Not 0, which deletes a pod's object while its containers may still run.
OWN_GRACE_S = 1
_DNS, _NOT_DNS = "k8s-app=vcluster-kube-dns", "k8s-app!=vcluster-kube-dns"


def end_tenants_pods(ctx: Context) -> int:
    """
    Delete the tenant's pods with the site's grace period. Returns how many pods are left.

    A quota of no pods keeps the tenant's controllers from replacing them. The pods that serve DNS to the terminating
    ones are spared; a tenant may label any pod so.
    """
    selector = f"{_select_tenants(ctx)},{_NOT_DNS}"
    pods = ctx.world.cluster.list_metadata(Kind.POD, ctx.namespace, selector)
    if any(_stays_longer(pod, ctx.site.grace_s) for pod in pods) and not has_foreign_namespace(ctx):
        ctx.world.cluster.apply(build_drain_quota(ctx.location))
        ctx.world.cluster.delete_pods(ctx.namespace, selector, grace_s=ctx.site.grace_s)
    return len(pods)


def end_all_pods(ctx: Context, *, may_apply: bool) -> None:
    """
    Delete the tenant's pods with the site's grace period, and kns's own and those of the DNS with a short one.

    The namespace's removal waits for its pods, and it waits half of the longest grace period in their specs at a time.
    `may_apply`: the namespace still accepts new objects.
    """
    cluster, tenants = ctx.world.cluster, _select_tenants(ctx)
    found = cluster.list_metadata(Kind.POD, ctx.namespace, tenants)
    tenants_stay = any(_stays_longer(pod, ctx.site.grace_s) for pod in found)
    own_stay = any(_stays_longer(pod, OWN_GRACE_S) for pod in list_pods(ctx, {}))
    if not (tenants_stay or own_stay) or has_foreign_namespace(ctx):
        return
    if may_apply:
        cluster.apply(build_drain_quota(ctx.location))
    if own_stay:
        cluster.delete_pods(ctx.namespace, f"!{names.SYNCED_LABEL}", grace_s=OWN_GRACE_S)
    if tenants_stay:
        cluster.delete_pods(ctx.namespace, f"{tenants},{_DNS}", grace_s=OWN_GRACE_S)
        cluster.delete_pods(ctx.namespace, f"{tenants},{_NOT_DNS}", grace_s=ctx.site.grace_s)


def _select_tenants(ctx: Context) -> str:
    return f"{names.SYNCED_LABEL}={ctx.location.vcluster}"


def _stays_longer(pod: Object, grace_s: int) -> bool:
    meta = pod["metadata"]
    return meta.get("deletionTimestamp") is None or (meta.get("deletionGracePeriodSeconds") or 0) > grace_s
