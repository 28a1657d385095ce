"""
The tenant's pods on the host, and their end.

A pod may ask for a grace period of years, and the deletion of its namespace respects that. Only a deletion request with
a shorter grace period ends the pod earlier, also if the pod is terminating already.
"""

from kns.model import names
from kns.objects.namespace import build_drain_quota
from kns.ports import Context, Kind, Object
from kns.stages.ownership import has_foreign_namespace

_NOT_COREDNS = "k8s-app!=vcluster-kube-dns"


def end_pods(ctx: Context, *, spare_dns: bool = False, may_apply: bool = True) -> int:
    """
    Delete all of the tenant's pods with the site's grace period. Returns how many pods are left.

    A quota of no pods keeps the tenant's controllers from replacing them. `spare_dns` spares the pods that serve DNS to
    the terminating ones; a tenant may label any pod so. `may_apply`: the namespace still accepts new objects.
    """
    selector = f"{names.SYNCED_LABEL}={ctx.location.vcluster}" + (f",{_NOT_COREDNS}" if spare_dns else "")
    pods = ctx.world.cluster.list_metadata(Kind.POD, ctx.namespace, selector)
    if any(_stays_longer(pod, ctx.site.grace_s) for pod in pods) and not has_foreign_namespace(ctx):
        if may_apply:
            ctx.world.cluster.apply(build_drain_quota(ctx.location))
        ctx.world.cluster.delete_pods(ctx.namespace, selector, grace_s=ctx.site.grace_s)
    return len(pods)


def _stays_longer(pod: Object, grace_s: int) -> bool:
    meta = pod["metadata"]
    return meta.get("deletionTimestamp") is None or (meta.get("deletionGracePeriodSeconds") or 0) > grace_s
