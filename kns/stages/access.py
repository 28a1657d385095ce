"""Access to a job's virtual cluster, for the stages that need it and for its users."""

from kns.model import names
from kns.model.job.location import Location
from kns.objects.kubeconfig import build_admin_kubeconfig, build_shell_kubeconfig
from kns.ports import Cluster, Context, Kind


def read_kubeconfig(ctx: Context) -> str | None:
    """The administrator's kubeconfig; None while the virtual cluster has no certificates or no Service."""
    return _read_admin_kubeconfig(ctx.world.cluster, ctx.location)


def read_users_kubeconfig(cluster: Cluster, location: Location, *, for_all: bool) -> str | None:
    """
    The kubeconfig for requests of the job's users; None while there is none.

    It is that of the web shell's ServiceAccount if the job has a shell, so that RBAC applies and the audit log has a
    name. `for_all`: otherwise it is the administrator's.
    """
    access = cluster.read(Kind.SECRET, location.namespace, names.SHELL_ACCESS)
    service = cluster.read(Kind.SERVICE, location.namespace, location.vcluster) if access else None
    found = build_shell_kubeconfig(location, access or {}, service or {})
    return _read_admin_kubeconfig(cluster, location) if found is None and for_all else found


def _read_admin_kubeconfig(cluster: Cluster, location: Location) -> str | None:
    certs = cluster.read(Kind.SECRET, location.namespace, location.certs_secret)
    service = cluster.read(Kind.SERVICE, location.namespace, location.vcluster)
    return build_admin_kubeconfig(certs or {}, service or {})
