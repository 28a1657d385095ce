"""
The tenant's pods on the host, and their end.

A pod may ask for a grace of years, and a namespace in deletion gives it: only a delete that says otherwise ends it
sooner. It says so to pods that are ending already, too.
"""

from kns.model import names
from kns.objects.namespace import build_drain_quota
from kns.ports import Context, Kind, Object
from kns.stages.ownership import has_foreign_namespace

_COREDNS = "k8s-app!=vcluster-kube-dns"


def end_pods(ctx: Context, *, spare_dns: bool = False, may_apply: bool = True) -> int:
    """
    Give all of them the site's grace; how many there are still.

    A quota of no pods keeps the controllers inside from replacing them. `spare_dns` leaves out what serves the others
    while they end; a tenant may call any pod so. `may_apply`: the namespace takes new objects still.
    """
    selector = f"{names.SYNCED_LABEL}={ctx.name}" + (f",{_COREDNS}" if spare_dns else "")
    pods = ctx.world.cluster.list_objects(Kind.POD, ctx.name, selector)
    if any(_stays_longer(pod, ctx.site.grace_s) for pod in pods) and not has_foreign_namespace(ctx):
        if may_apply:
            ctx.world.cluster.apply(build_drain_quota(ctx.accepted.number))
        ctx.world.cluster.delete_pods(ctx.name, selector, grace_s=ctx.site.grace_s)
    return len(pods)


def _stays_longer(pod: Object, grace_s: int) -> bool:
    meta = pod["metadata"]
    return meta.get("deletionTimestamp") is None or (meta.get("deletionGracePeriodSeconds") or 0) > grace_s
