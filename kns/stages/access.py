"""Access to a job's virtual cluster, for the stages that need it and for its users."""

from kns.model import names
from kns.model.job.location import Location
from kns.objects.kubeconfig import build_admin_kubeconfig, build_shell_kubeconfig, find_server
from kns.ports import Cluster, Context, Kind, Object


def answers(ctx: Context) -> bool:
    """
    Whether the virtual cluster's API answers.

    A starting cluster is asked every moment, so its certificates are read only when something listens at its address.
    """
    clusters = ctx.world.virtual_clusters
    server = find_server(_find_service(ctx) or {})
    if server is None or not clusters.listens(ctx.namespace, server):
        return False
    kubeconfig = read_kubeconfig(ctx)
    return kubeconfig is not None and clusters.is_ready(ctx.namespace, kubeconfig)


def read_kubeconfig(ctx: Context) -> str | None:
    """The administrator's kubeconfig; None while the virtual cluster has no certificates or no Service."""
    certs = ctx.world.cluster.read(Kind.SECRET, ctx.namespace, ctx.location.certs_secret)
    return build_admin_kubeconfig(certs or {}, _find_service(ctx) or {})


def read_users_kubeconfig(cluster: Cluster, location: Location, *, for_all: bool) -> str | None:
    """
    The kubeconfig for requests of the job's users; None while there is none.

    It is that of the web shell's ServiceAccount if the job has a shell, so that RBAC applies and the audit log has a
    name. `for_all`: otherwise it is the administrator's.
    """
    access = cluster.read(Kind.SECRET, location.namespace, names.SHELL_ACCESS)
    service = cluster.read(Kind.SERVICE, location.namespace, location.vcluster) if access or for_all else None
    found = build_shell_kubeconfig(location, access or {}, service or {})
    if found is None and for_all:
        certs = cluster.read(Kind.SECRET, location.namespace, location.certs_secret)
        return build_admin_kubeconfig(certs or {}, service or {})
    return found


def _find_service(ctx: Context) -> Object | None:
    """The control plane's Service. A moment after it was made, the watch does not show it yet."""
    cluster, name = ctx.world.cluster, ctx.location.vcluster
    return cluster.observe(Kind.SERVICE, ctx.namespace, name) or cluster.read(Kind.SERVICE, ctx.namespace, name)
