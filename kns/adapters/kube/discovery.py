"""Facts of the host cluster that kns reads at start."""

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.kinds import KINDS
from kns.logs import get_logger
from kns.model.errors import KnsError
from kns.ports import Kind

log = get_logger(__name__)

_SERVICE_CIDR = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes"


def find_service_cidr(client: KubeClient) -> str:
    """
    The host's range of ClusterIPs (ServiceCIDR API, Kubernetes 1.33 or later), or "" if it is not available.

    With "", vcluster determines the range itself with Services that the host refuses, which is slower.
    """
    try:
        cidrs = client.request("GET", _SERVICE_CIDR)["spec"]["cidrs"]
    except (KnsError, KeyError) as error:
        log.warning("service_cidr_unknown", error=str(error), help="set KNS_SERVICE_CIDR to speed up spawns")
        return ""
    return ",".join(cidrs)


def find_installation_uid(client: KubeClient, namespace: str) -> str:
    """
    The uid of the system namespace. It identifies this installation, also among installations in other clusters.

    Raises:
        NotFoundError: the namespace does not exist.
    """
    return str(client.request("GET", KINDS[Kind.NAMESPACE].path(name=namespace))["metadata"]["uid"])
