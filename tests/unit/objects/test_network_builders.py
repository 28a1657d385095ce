"""Who may connect to a job's pods, and where they may connect to."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from kns.model.site import NetworkSettings
from kns.objects.network import build_network_policies
from tests.builders import a_location

LABELS = {"app.kubernetes.io/managed-by": "kns", "kns.io/job": "7"}


def build(network: NetworkSettings = NetworkSettings(internet=True)) -> dict[str, dict[str, Any]]:  # noqa: B008 - frozen
    """The specs by name."""
    built = build_network_policies(a_location(), network, system_namespace="sys")
    assert all(policy["metadata"]["namespace"] == "kns-job-7" for policy in built)
    assert all(policy["metadata"]["labels"] == LABELS for policy in built)
    assert all((policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy") for policy in built)
    assert all(policy["spec"].pop("policyTypes") == ["Ingress", "Egress"] for policy in built)
    return {policy["metadata"]["name"]: policy["spec"] for policy in built}


def test_pods_of_a_job_reach_each_other_and_name_servers() -> None:
    """This policy selects every pod, and closes everything else in both directions."""
    assert build()["kns-default"] == {
        "podSelector": {},
        "ingress": [{"from": [{"podSelector": {}}]}],
        "egress": [
            {"to": [{"podSelector": {}}]},
            {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        ],
    }


def test_with_name_servers_port_53_is_open_at_these_and_the_clusters_dns_only() -> None:
    """Each rule has destinations: one without admits every address."""
    network = NetworkSettings(internet=False, name_servers=("10.0.0.2/32", "fd00::53/128"))
    both = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    other = [{"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353}]
    assert build(network)["kns-default"]["egress"] == [
        {"to": [{"podSelector": {}}]},
        {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                }
            ],
            "ports": both,
        },
        {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}},
                    "podSelector": {"matchLabels": {"dns.operator.openshift.io/daemonset-dns": "default"}},
                }
            ],
            "ports": other,
        },
        {"to": [{"ipBlock": {"cidr": "10.0.0.2/32"}}, {"ipBlock": {"cidr": "fd00::53/128"}}], "ports": both},
    ]
    assert build(network)["kns-app"]["egress"] == []


@pytest.mark.proves("security", "pass for the control plane by its labels")
def test_kns_reaches_the_control_plane_and_that_reaches_the_hosts_api() -> None:
    """It never selects a tenant's pod, whatever its labels, because every copy has the syncer's label."""
    assert build()["kns-control-plane"] == {
        "podSelector": {
            "matchLabels": {"app": "vcluster", "release": "kns-job-7"},
            "matchExpressions": [{"key": "vcluster.loft.sh/managed-by", "operator": "DoesNotExist"}],
        },
        "ingress": [
            {
                "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "sys"}}}],
                "ports": [{"protocol": "TCP", "port": 8443}],
            }
        ],
        "egress": [
            {"ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]},
            {
                "to": [
                    {
                        "ipBlock": {
                            "cidr": "0.0.0.0/0",
                            "except": ["100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16"],
                        }
                    },
                    {
                        "ipBlock": {
                            "cidr": "::/0",
                            "except": [
                                "fd00:ec2::254/128",
                                "fd20:ce::254/128",
                                "fe80::/10",
                                "64:ff9b::6464:64c8/128",
                                "64:ff9b::a83f:8110/128",
                                "64:ff9b::a9fe:0/112",
                            ],
                        }
                    },
                ]
            },
        ],
    }


def test_the_app_is_reached_by_no_other_job_and_reaches_public_addresses_only() -> None:
    assert build()["kns-app"] == {
        "podSelector": {"matchExpressions": [{"key": "release", "operator": "NotIn", "values": ["kns-job-7"]}]},
        "ingress": [
            {"from": [{"namespaceSelector": {"matchExpressions": [{"key": "kns.io/job", "operator": "DoesNotExist"}]}}]}
        ],
        "egress": [
            {
                "to": [
                    {
                        "ipBlock": {
                            "cidr": "0.0.0.0/0",
                            "except": [
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
                            ],
                        }
                    },
                    {
                        "ipBlock": {
                            "cidr": "::/0",
                            "except": [
                                "2002::/16",
                                "64:ff9b:1::/48",
                                "fc00::/7",
                                "fe80::/10",
                                "64:ff9b::a00:0/104",
                                "64:ff9b::6440:0/106",
                                "64:ff9b::7f00:0/104",
                                "64:ff9b::a83f:8110/128",
                                "64:ff9b::a9fe:0/112",
                                "64:ff9b::ac10:0/108",
                                "64:ff9b::c000:0/120",
                                "64:ff9b::c0a8:0/112",
                                "64:ff9b::c612:0/111",
                                "64:ff9b::f000:0/100",
                            ],
                        }
                    },
                ]
            }
        ],
    }


@pytest.mark.proves("security", "reach another job, the host's API, cloud metadata")
@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("169.254.169.254", False),  # cloud metadata
        ("fd00:ec2::254", False),
        ("10.96.0.1", False),  # the host's API, as its Service
        ("10.244.3.7", False),  # a pod of another job
        ("192.168.1.5", False),  # a node
        ("100.100.100.200", False),  # cloud metadata of Alibaba
        ("fd20:ce::254", False),  # and of GCE by IPv6
        ("64:ff9b::10.96.0.1", False),  # private addresses through NAT64
        ("64:ff9b::169.254.169.254", False),
        ("64:ff9b:1::1", False),
        ("64:ff9b::93.184.216.34", True),  # the internet of a site that has only IPv6
        ("2002:a60:1::1", False),  # 10.96.0.1 through 6to4
    ],
)
def test_what_the_app_reaches_by_address(address: str, reached: bool) -> None:
    (rule,) = build()["kns-app"]["egress"]
    assert any(_admits(peer["ipBlock"], address) for peer in rule["to"]) is reached


@pytest.mark.parametrize(
    ("address", "reached"),
    [("2001:db8:1::7", False), ("2001:db8:2::7", True), ("203.0.113.9", False), ("203.0.112.9", True)],
)
def test_public_ranges_of_the_clusters_own_are_closed(address: str, reached: bool) -> None:
    """In both families. Pods and nodes of an IPv6 cluster often have global addresses."""
    network = NetworkSettings(internet=True, closed_ranges=("2001:db8:1::/48", "203.0.113.0/24"))
    (rule,) = build(network)["kns-app"]["egress"]
    assert any(_admits(peer["ipBlock"], address) for peer in rule["to"]) is reached


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "fd20:ce::254", "64:ff9b::169.254.169.254"])
def test_the_control_plane_reaches_no_cloud_metadata_outside_of_the_ports_of_the_hosts_api(address: str) -> None:
    _, rule = build()["kns-control-plane"]["egress"]
    assert not any(_admits(peer["ipBlock"], address) for peer in rule["to"])


def test_closed_ranges_of_the_site_are_closed_through_nat64_too() -> None:
    (rule,) = build(NetworkSettings(internet=True, closed_ranges=("203.0.113.0/24",)))["kns-app"]["egress"]
    assert not any(_admits(peer["ipBlock"], "64:ff9b::203.0.113.9") for peer in rule["to"])


def _admits(block: dict[str, Any], address: str) -> bool:
    target = ip_address(address)
    return target in ip_network(block["cidr"]) and not any(target in ip_network(cidr) for cidr in block["except"])


def test_without_internet_nothing_outside_is_reached() -> None:
    """No rule at all, because a rule without destinations admits every destination."""
    assert build(NetworkSettings(internet=False))["kns-app"]["egress"] == []


def test_what_the_site_opens_is_open_both_ways() -> None:
    network = NetworkSettings(internet=False, ingress_namespace="traefik", open_ranges=("10.1.2.3/32",))
    app = build(network)["kns-app"]
    assert app["egress"] == [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}]
    assert app["ingress"] == [
        {
            "from": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}},
                {"ipBlock": {"cidr": "10.1.2.3/32"}},
            ]
        }
    ]
