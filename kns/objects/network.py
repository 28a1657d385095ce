"""
The job's NetworkPolicies: who may reach its pods, and what its pods may reach.

Policies add up, and the first of these admits so little that it is the default. What a tenant writes on a pod reaches
the host, labels included, so a policy for kns's own pods never selects one that has the mark of a copy.
"""

from typing import Any

from kns.model import names
from kns.model.site import NetworkSettings
from kns.objects.labels import build_meta

API_PORT = 8443  # of the virtual cluster, on its pod
HOST_API_PORTS = (443, 6443)

# Where pods, Services, nodes and cloud metadata are found: no job has business there but what the site opens.
PRIVATE_RANGES = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
)
LINK_LOCAL_RANGES = ("169.254.0.0/16", "fd00:ec2::254/128", "fe80::/10")

_EVERYWHERE = ("0.0.0.0/0", "::/0")
_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def build_network_policies(number: int, network: NetworkSettings, *, system_namespace: str) -> list[dict[str, Any]]:
    """Of every pod of the job, of its control plane, and of all others: the app's, the init pod, the web shell."""
    job = names.job_object_name(number)
    return [
        _build_policy(
            "kns-default",
            number,
            pods={},
            ingress=[{"from": [{"podSelector": {}}]}],
            egress=[{"to": [{"podSelector": {}}]}, {"ports": [_port(53, "UDP"), _port(53)]}],
        ),
        _build_policy(
            "kns-control-plane",
            number,
            pods={
                "matchLabels": names.control_plane_selector(number),
                "matchExpressions": [{"key": names.SYNCED_LABEL, "operator": "DoesNotExist"}],
            },
            ingress=[{"from": [_select_namespace(system_namespace)], "ports": [_port(API_PORT)]}],
            # The host's API, whose address kns cannot know: the usual ports anywhere, since for some networks no
            # address range contains a node, and all ports wherever no cloud keeps its metadata.
            egress=[
                {"ports": [_port(port) for port in HOST_API_PORTS]},
                {"to": _blocks(_EVERYWHERE, LINK_LOCAL_RANGES)},
            ],
        ),
        _build_policy(
            "kns-app",
            number,
            pods={"matchExpressions": [{"key": "release", "operator": "NotIn", "values": [job]}]},
            ingress=[{"from": [_select_ingress_controller(network), *_blocks(network.open_ranges)]}],
            egress=_build_app_egress(network),
        ),
    ]


def _build_app_egress(network: NetworkSettings) -> list[dict[str, Any]]:
    """An empty rule would admit everything, so there is none without a destination."""
    internet = _blocks(_EVERYWHERE, PRIVATE_RANGES) if network.internet else []
    to = [*internet, *_blocks(network.open_ranges)]
    return [{"to": to}] if to else []


def _select_ingress_controller(network: NetworkSettings) -> dict[str, Any]:
    """The namespace that the site names, else any that is no job's."""
    if network.ingress_namespace:
        return _select_namespace(network.ingress_namespace)
    return {"namespaceSelector": {"matchExpressions": [{"key": names.JOB_LABEL, "operator": "DoesNotExist"}]}}


def _select_namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: name}}}


def _blocks(ranges: tuple[str, ...], closed: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The API server wants an exception to lie within its range, so each family has its own."""
    blocks = []
    for cidr in ranges:
        inside = [other for other in closed if (":" in other) == (":" in cidr)]
        blocks.append({"ipBlock": {"cidr": cidr, **({"except": inside} if inside else {})}})
    return blocks


def _port(port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"protocol": protocol, "port": port}


def _build_policy(
    name: str, number: int, *, pods: dict[str, Any], ingress: list[dict[str, Any]], egress: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": build_meta(name, number),
        "spec": {"podSelector": pods, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress},
    }
