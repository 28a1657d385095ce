"""Facts of the host cluster that kns reads at start."""

from kns.adapters.kube.client import KubeClient
from kns.adapters.kube.kinds import KINDS
from kns.logs import get_logger
from kns.model.errors import ForbiddenError, NotFoundError
from kns.ports import Kind

log = get_logger(__name__)

_SERVICE_CIDR = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes"


def find_service_cidr(client: KubeClient) -> str:
    """
    The host's range of ClusterIPs (ServiceCIDR API, Kubernetes 1.33 or later), or "" if the host does not tell it.

    With "", vcluster determines the range itself with Services that the host refuses, and kns leaves out its fast
    start, which needs the range.

    Raises:
        TransientError: the host does not answer now. To go on without the range would make every start slow, and no
            member of the warm pool would fit, until this process ends.
    """
    try:
        cidrs = client.request("GET", _SERVICE_CIDR)["spec"]["cidrs"]
    except (NotFoundError, ForbiddenError, KeyError) as error:
        effect = "virtual clusters start slower: no fast start, no prepared state"
        log.warning("service_cidr_unknown", error=str(error), effect=effect, help="set KNS_SERVICE_CIDR")
        return ""
    return ",".join(cidrs)


def find_installation_uid(client: KubeClient, namespace: str) -> str:
    """
    The uid of the system namespace. It identifies this installation, also among installations in other clusters.

    Raises:
        NotFoundError: the namespace does not exist.
    """
    return str(client.request("GET", KINDS[Kind.NAMESPACE].path(name=namespace))["metadata"]["uid"])
