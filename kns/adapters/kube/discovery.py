"""What kns asks the host cluster about itself."""

from kns.adapters.kube.client import KubeClient
from kns.logs import get_logger
from kns.model.errors import KnsError

log = get_logger(__name__)

_SERVICE_CIDR = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes"


def find_service_cidr(client: KubeClient) -> str:
    """
    The host's range of ClusterIPs (ServiceCIDR API, Kubernetes 1.33 on), or "" if the host does not tell.

    With "" vcluster finds the range itself, by creating Services that are refused: slower, and it works.
    """
    try:
        cidrs = client.request("GET", _SERVICE_CIDR)["spec"]["cidrs"]
    except (KnsError, KeyError) as error:
        log.warning("service_cidr_unknown", error=str(error), help="set KNS_SERVICE_CIDR to speed up spawns")
        return ""
    return ",".join(cidrs)
