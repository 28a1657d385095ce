"""The ready test of a virtual cluster: its API answers through its Service, and the default ServiceAccount exists."""

import yaml

from kns.adapters.kube.client import connect_to
from kns.model.errors import TransientError

_PROBE_TIMEOUT_S = 3.0
_PROBE = "/api/v1/namespaces/default/serviceaccounts/default"


class KubeVirtualClusters:
    """Implements `ports.VirtualClusters`. A client per probe: a spawn asks a few times, then never again."""

    def is_ready(self, kubeconfig: str) -> bool:
        client = connect_to(yaml.safe_load(kubeconfig))
        try:
            client.request("GET", _PROBE, read_timeout_s=_PROBE_TIMEOUT_S)
        except TransientError:
            return False
        finally:
            client.close()
        return True
