"""
Which firewall rules `down` takes away: all of ours, none of anybody else's.
"""

from testbed import firewall

DUMP = r"""*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-DN-61078ad311b0fcd5fba3d - [0:0]
:CNI-079abf3f587cdc14f2374c45 - [0:0]
:CNI-aaaaaaaaaaaaaaaaaaaaaaaa - [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -s 10.244.0.4/32 -m comment --comment "name: \"kns-testbed\" id: \"fad7\"" -j CNI-079abf3f587cdc14f2374c45
-A POSTROUTING -s 10.88.0.2/32 -m comment --comment "name: \"podman\" id: \"beef\"" -j CNI-aaaaaaaaaaaaaaaaaaaaaaaa
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"kns-testbed\" id: \"f0\"" -j CNI-DN-61078ad311b0fcd5fba3d
-A CNI-DN-61078ad311b0fcd5fba3d -d 172.30.0.1/32 -p tcp -j DNAT --to-destination 10.244.0.3:8000
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:KNS-TESTBED - [0:0]
-A FORWARD -j KNS-TESTBED
-A FORWARD -i docker0 -j ACCEPT
-A KNS-TESTBED -s 10.244.0.0/16 -d 10.244.0.0/16 -j ACCEPT
COMMIT
"""  # noqa: E501 a dump as iptables-save writes it
FOREIGN_HOSTPORT = (
    ":CNI-DN-bbbbbbbbbbbbbbbbbbbbb - [0:0]\n"
    '-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"podman\\"" -j CNI-DN-bbbbbbbbbbbbbbbbbbbbb\n'
)


def test_selects_our_chains_and_the_rules_that_lead_to_them() -> None:
    selected = firewall.select_ours(DUMP)
    rules, chains = selected["nat"]
    assert chains == [
        "CNI-079abf3f587cdc14f2374c45",
        "CNI-DN-61078ad311b0fcd5fba3d",
        "CNI-HOSTPORT-DNAT",
        "KUBE-SERVICES",
    ]
    assert [rule.rsplit(" ", 1)[1] for rule in rules] == [
        "CNI-HOSTPORT-DNAT",
        "KUBE-SERVICES",
        "CNI-079abf3f587cdc14f2374c45",
    ]
    assert selected["filter"] == (["-A FORWARD -j KNS-TESTBED"], ["KNS-TESTBED"])


def test_shared_chain_stays_while_another_network_uses_it() -> None:
    dump = DUMP.replace("-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n", FOREIGN_HOSTPORT, 1)
    rules, chains = firewall.select_ours(dump)["nat"]
    assert "CNI-HOSTPORT-DNAT" not in chains
    assert "CNI-DN-bbbbbbbbbbbbbbbbbbbbb" not in chains
    # Only our own rule inside it goes.
    assert [rule for rule in rules if rule.startswith("-A CNI-HOSTPORT-DNAT")] == [
        r'-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"kns-testbed\" id: \"f0\""'
        " -j CNI-DN-61078ad311b0fcd5fba3d"
    ]
    assert not any("PREROUTING" in rule and "CNI-HOSTPORT" in rule for rule in rules)


def test_removal_empties_all_chains_before_it_removes_one() -> None:
    script = firewall.removal_script({"nat": (["-A PREROUTING -j KUBE-A"], ["KUBE-A", "KUBE-B"])})
    assert script.splitlines() == [
        "*nat",
        "-D PREROUTING -j KUBE-A",
        "-F KUBE-A",
        "-F KUBE-B",
        "-X KUBE-A",
        "-X KUBE-B",
        "COMMIT",
    ]


def test_pods_reach_pods_and_nothing_else() -> None:
    accept, *rejects = firewall.filter_rules()
    assert accept == "-A KNS-TESTBED -s 10.244.0.0/16 -d 10.244.0.0/16 -j ACCEPT"
    assert [rule.split(" -j ")[1].split()[0] for rule in rejects] == ["REJECT", "REJECT"]
