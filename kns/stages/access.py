"""The way into a job's virtual cluster, as every stage that needs one finds it."""

from kns.model import names
from kns.objects.kubeconfig import build_admin_kubeconfig
from kns.ports import Context, Kind


def read_kubeconfig(ctx: Context) -> str | None:
    """The administrator's kubeconfig; None while the virtual cluster has no certificates or no Service."""
    certs = ctx.world.cluster.read(Kind.SECRET, ctx.name, names.certs_secret(ctx.accepted.number))
    service = ctx.world.cluster.read(Kind.SERVICE, ctx.name, ctx.name)
    return build_admin_kubeconfig(certs or {}, service or {})
