"""
The job's NetworkPolicies: who may connect to its pods, and where its pods may connect to.

Policies add up; the first one is the default, which admits almost nothing. Tenants control the labels of their pods, so
a policy for kns's own pods excludes every pod with vcluster's label of a copy.
"""

from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any

from kns.model import names
from kns.model.job.location import Location
from kns.model.site import NetworkSettings
from kns.objects.labels import build_meta

API_PORT = 8443  # of the virtual cluster, on its pod
HOST_API_PORTS = (443, 6443)

# Pods, Services, nodes and cloud metadata have addresses in these ranges. Jobs may reach only those that the site
# opens. 168.63.129.16 is Azure's platform, and some networks use the test range 198.18.0.0/15 and class E for pods.
# 64:ff9b:1::/48 (RFC 8215) and 2002::/16 (RFC 3056) contain IPv4 addresses, private ones too.
PRIVATE_RANGES = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "240.0.0.0/4",
    "2002::/16",
    "64:ff9b:1::/48",
    "fc00::/7",
    "fe80::/10",
)
# Cloud metadata: of Alibaba, of Azure, of most others; of EC2 and of GCE by IPv6.
METADATA_RANGES = (
    "100.100.100.200/32",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "fe80::/10",
)

# NAT64 translates an address in it to the IPv4 address in its last 32 bits (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")

# Where distributions run the DNS of the cluster: namespace, labels of its pods, and the port that these listen on.
CLUSTER_DNS = (
    ("kube-system", {"k8s-app": "kube-dns"}, 53),
    ("openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}, 5353),
)

_EVERYWHERE = ("0.0.0.0/0", "::/0")
_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def build_network_policies(
    location: Location, network: NetworkSettings, *, system_namespace: str
) -> list[dict[str, Any]]:
    """Policies for every pod of the job, for its control plane, and for all other pods (app, init, web shell)."""
    return [
        _build_policy(
            "kns-default",
            location,
            pods={},
            ingress=[{"from": [{"podSelector": {}}]}],
            egress=[{"to": [{"podSelector": {}}]}, *_build_name_service(network)],
        ),
        _build_policy(
            "kns-control-plane",
            location,
            pods={
                "matchLabels": location.control_plane_selector,
                "matchExpressions": [{"key": names.SYNCED_LABEL, "operator": "DoesNotExist"}],
            },
            ingress=[{"from": [_select_namespace(system_namespace)], "ports": [_port(API_PORT)]}],
            # The control plane must reach the host's API, at an address that kns does not know: the usual ports at
            # every address, since some network plugins match no node by an address range, and every port outside of the
            # addresses of cloud metadata.
            egress=[
                {"ports": [_port(port) for port in HOST_API_PORTS]},
                {"to": _blocks(_EVERYWHERE, METADATA_RANGES)},
            ],
        ),
        _build_policy(
            "kns-app",
            location,
            pods={"matchExpressions": [{"key": "release", "operator": "NotIn", "values": [location.vcluster]}]},
            ingress=[{"from": [_select_ingress_controller(network), *_blocks(network.open_ranges)]}],
            egress=_build_app_egress(network),
        ),
    ]


def _build_name_service(network: NetworkSettings) -> list[dict[str, Any]]:
    """
    The name servers: the DNS of the host cluster for pods of kns, and those of the nodes, which the DNS of the virtual
    cluster asks. kns cannot know the latter, and without them no name outside of the job resolves.
    """
    if not network.name_servers:
        return [{"ports": _both(53)}]
    pods = [
        {"to": [{**_select_namespace(namespace), "podSelector": {"matchLabels": labels}}], "ports": _both(port)}
        for namespace, labels, port in CLUSTER_DNS
    ]
    return [*pods, {"to": _blocks(network.name_servers), "ports": _both(53)}]


def _build_app_egress(network: NetworkSettings) -> list[dict[str, Any]]:
    """A rule without destinations would admit everything, so there is no rule without a destination."""
    internet = _blocks(_EVERYWHERE, (*PRIVATE_RANGES, *network.closed_ranges)) if network.internet else []
    to = [*internet, *_blocks(network.open_ranges)]
    return [{"to": to}] if to else []


def _select_ingress_controller(network: NetworkSettings) -> dict[str, Any]:
    """The configured namespace, else every namespace that is not a job's."""
    if network.ingress_namespace:
        return _select_namespace(network.ingress_namespace)
    return {"namespaceSelector": {"matchExpressions": [{"key": names.JOB_LABEL, "operator": "DoesNotExist"}]}}


def _select_namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: name}}}


def _blocks(ranges: tuple[str, ...], closed: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """
    IP blocks for `ranges` without `closed`, whose IPv4 ranges are closed through NAT64 too.

    The API server requires an exception to be inside of its range.
    """
    translated = tuple(_through_nat64(cidr) for cidr in closed if ":" not in cidr)
    blocks = []
    for cidr in ranges:
        inside = [other for other in (*closed, *translated) if (":" in other) == (":" in cidr)]
        blocks.append({"ipBlock": {"cidr": cidr, **({"except": inside} if inside else {})}})
    return blocks


def _through_nat64(cidr: str) -> str:
    """
    >>> _through_nat64("10.0.0.0/8")
    '64:ff9b::a00:0/104'
    """
    network = IPv4Network(cidr)
    address = IPv6Address(int(_NAT64.network_address) | int(network.network_address))
    return f"{address}/{_NAT64.prefixlen + network.prefixlen}"


def _both(port: int) -> list[dict[str, Any]]:
    """The port of a name server, for UDP and TCP."""
    return [_port(port, "UDP"), _port(port)]


def _port(port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"protocol": protocol, "port": port}


def _build_policy(
    name: str, location: Location, *, pods: dict[str, Any], ingress: list[dict[str, Any]], egress: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": build_meta(name, location),
        "spec": {"podSelector": pods, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress},
    }
