"""
The pods of a job on the host, and their end.

A tenant's pod may ask for a long grace period, and the deletion of its namespace respects that. A deletion request with
a shorter one ends the pod earlier, but only as the first request: a kubelet that waits for a container does not hear of
a shorter one (decision 50). Policy `kns-job-objects` bounds what a tenant can ask for.
"""

from collections.abc import Sequence

from kns.logs import get_logger
from kns.model import names
from kns.model.errors import KnsError
from kns.objects.namespace import build_drain_quota, refuses_pods
from kns.ports import Context, Kind, Object
from kns.stages.ownership import has_foreign_namespace, is_own, is_terminating

log = get_logger(__name__)

# The least grace period of a pod. With 0 its object is deleted while its containers may still run.
OWN_GRACE_S = 1
_NOT_DNS = "k8s-app!=vcluster-kube-dns"


def choose_grace_s(ctx: Context) -> int:
    """The grace period of the tenant's pods in seconds: that of the site, and at least `OWN_GRACE_S`."""
    return max(ctx.site.grace_s, OWN_GRACE_S)


def end_tenants_pods(ctx: Context, *, spare_dns: bool = True, insist: bool = False) -> int:
    """
    Delete the tenant's pods with the site's grace period. Returns how many pods are left.

    A quota of no pods keeps the syncer from making the replacements that the tenant's controllers want. With `insist`,
    the pods are deleted even without it. The pods that serve DNS to the terminating ones are spared; a tenant may label
    any pod so.
    """
    synced = f"{names.SYNCED_LABEL}={ctx.location.vcluster}"
    selector = f"{synced},{_NOT_DNS}" if spare_dns else synced
    cluster, grace_s = ctx.world.cluster, choose_grace_s(ctx)
    pods = cluster.list_metadata(Kind.POD, ctx.namespace, selector)
    if any(stays_longer(pod, grace_s) for pod in pods) and not has_foreign_namespace(ctx):
        try:
            cluster.apply(build_drain_quota(ctx.location))
        except KnsError as error:
            if not insist:
                raise
            log.warning("pods_not_refused", error=str(error))
        cluster.delete_pods(ctx.namespace, selector, grace_s=grace_s)
    return len(pods)


def allow_tenants_pods(ctx: Context) -> None:
    """
    Lift the quota of `end_tenants_pods`. It stays as an object, because kns has no right to delete one.

    The API server says whether there is one: a cache may not know it yet.
    """
    found = ctx.world.cluster.read(Kind.RESOURCE_QUOTA, ctx.namespace, names.DRAIN_QUOTA)
    if found is not None and refuses_pods(found):
        ctx.world.cluster.apply(build_drain_quota(ctx.location, is_over=True))


def end_all_pods(ctx: Context) -> Sequence[str]:
    """
    Delete all pods of the terminating namespace with the site's grace period, in one request. Returns the names of the
    pods that are left.

    The namespace's removal waits for its pods, and it waits half of the longest grace period in their specs at a time.
    In a namespace that is not terminating, because its deletion met a conflict, the host would make new pods.
    """
    cluster, grace_s = ctx.world.cluster, choose_grace_s(ctx)
    pods = cluster.list_metadata(Kind.POD, ctx.namespace)
    if any(stays_longer(pod, grace_s) for pod in pods):
        found = cluster.read(Kind.NAMESPACE, "", ctx.namespace)
        if found is not None and is_own(found, ctx) and is_terminating(found):
            cluster.delete_pods(ctx.namespace, "", grace_s=grace_s)
    return [pod["metadata"]["name"] for pod in pods]


def stays_longer(pod: Object, grace_s: int) -> bool:
    """Whether the pod has not been asked to end, or has more time than that."""
    return not is_terminating(pod) or (pod["metadata"].get("deletionGracePeriodSeconds") or 0) > grace_s
