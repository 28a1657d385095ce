"""Access to a job's virtual cluster, for the stages that need it."""

from kns.objects.kubeconfig import build_admin_kubeconfig
from kns.ports import Context, Kind


def read_kubeconfig(ctx: Context) -> str | None:
    """The administrator's kubeconfig; None while the virtual cluster has no certificates or no Service."""
    location = ctx.location
    certs = ctx.world.cluster.read(Kind.SECRET, location.namespace, location.certs_secret)
    service = ctx.world.cluster.read(Kind.SERVICE, location.namespace, location.vcluster)
    return build_admin_kubeconfig(certs or {}, service or {})
