"""
Keeps the traffic of pods on this machine, and removes exactly the firewall rules that the cluster added.

The chain KNS-TESTBED also marks the KUBE-* and CNI-* chains on this machine as ours, for later runs.
"""

import re

from testbed import layout
from testbed.commands import run

CHAIN = "KNS-TESTBED"
FAMILIES = ("iptables", "ip6tables")

_KUBE = re.compile(r"^KUBE-")
# Chains that the CNI portmap plugin shares between networks. They are ours only if no other network has a rule in
# them.
_CNI_SHARED = re.compile(r"^CNI-HOSTPORT-")
_CNI_PER_POD = re.compile(r"^CNI-(?:DN-|SN-)?[0-9a-f]+$")
_NETWORK_MARK = re.compile(r'name: \\?"' + re.escape(layout.CNI_NETWORK) + r'\\?"')


def filter_rules() -> list[str]:
    """
    The rules of our chain. They apply after DNAT, when a Service address has been replaced by a pod's address.

    Traffic between a pod and the node does not pass FORWARD, so the rules do not affect it.
    """
    pods = layout.POD_RANGE
    return [
        f"-A {CHAIN} -s {pods} -d {pods} -j ACCEPT",
        f"-A {CHAIN} -s {pods} -j REJECT --reject-with icmp-admin-prohibited",
        f"-A {CHAIN} -d {pods} -j REJECT --reject-with icmp-admin-prohibited",
    ]


def ensure_filter() -> None:
    """
    Put our chain first in FORWARD and replace an earlier one, in one transaction.
    """
    saved = run(["iptables-save", "-t", "filter"]).stdout.splitlines()
    jump = f"-A FORWARD -j {CHAIN}"
    lines = ["*filter", f":{CHAIN} - [0:0]"]
    lines += [f"-D FORWARD -j {CHAIN}" for line in saved if line == jump]
    lines += filter_rules()
    lines += [f"-I FORWARD 1 -j {CHAIN}", "COMMIT", ""]
    run(["iptables-restore", "--noflush"], stdin="\n".join(lines))


def has_filter() -> bool:
    """
    Whether our chain exists, which marks the machine's Kubernetes chains as ours.
    """
    return run(["iptables", "-w", "-n", "-L", CHAIN], check=False).returncode == 0


def foreign_chains() -> list[str]:
    """
    The Kubernetes chains on this machine. If our own chain is absent, they belong to another cluster.
    """
    saved = run(["iptables-save"]).stdout
    return sorted({line.split()[0][1:] for line in saved.splitlines() if line.startswith(":KUBE-")})


def select_ours(dump: str) -> dict[str, tuple[list[str], list[str]]]:
    """
    Select our rules and chains from an iptables-save dump.

    Returns, for each table, our rules in chains of others, which are deleted one by one, and our chains. Our chains are
    KNS-TESTBED, KUBE-*, the CNI chains of pods in our network, and the shared CNI chains if no other network has a rule
    in them.
    """
    selected: dict[str, tuple[list[str], list[str]]] = {}
    for table, (chains, rules) in _parse(dump).items():
        ours = {name for name in chains if name == CHAIN or _KUBE.match(name)}
        # Only rules contain the network's name, so a pod's chain is recognised by a rule in it or one that jumps to it.
        marked = [rule for rule in rules if _NETWORK_MARK.search(rule)]
        for rule in marked:
            ours |= {name for name in (_chain_of(rule), _target_of(rule)) if _CNI_PER_POD.match(name)}
        strangers = {
            _chain_of(rule)
            for rule in rules
            if _target_of(rule) and _CNI_PER_POD.match(_target_of(rule)) and _target_of(rule) not in ours
        }
        shared = {name for name in chains if _CNI_SHARED.match(name)}
        if not strangers & shared:
            ours |= shared
        loose = [
            rule
            for rule in rules
            if _chain_of(rule) not in ours and (_target_of(rule) in ours or _NETWORK_MARK.search(rule))
        ]
        if loose or ours:
            selected[table] = (loose, sorted(ours))
    return selected


def removal_script(selected: dict[str, tuple[list[str], list[str]]]) -> str:
    """
    The input for `iptables-restore --noflush` that removes a selection, in one transaction per table.
    """
    lines: list[str] = []
    for table, (rules, chains) in selected.items():
        lines.append(f"*{table}")
        lines += ["-D" + rule.removeprefix("-A") for rule in rules]
        # Flush all chains before deleting any, because they jump to each other.
        lines += [f"-F {chain}" for chain in chains]
        lines += [f"-X {chain}" for chain in chains]
        lines.append("COMMIT")
    return "\n".join([*lines, ""])


def remove_all() -> list[str]:
    """
    Remove our IPv4 and IPv6 rules and chains. Returns a description of what was removed.
    """
    removed: list[str] = []
    for family in FAMILIES:
        selected = select_ours(run([f"{family}-save"]).stdout)
        if not selected:
            continue
        run([f"{family}-restore", "--noflush"], stdin=removal_script(selected))
        count = sum(len(chains) for _, chains in selected.values())
        removed.append(f"{family}: {count} chains and the rules that jump to them")
    return removed


def _parse(dump: str) -> dict[str, tuple[list[str], list[str]]]:
    tables: dict[str, tuple[list[str], list[str]]] = {}
    table = ""
    for line in dump.splitlines():
        if line.startswith("*"):
            table = line[1:]
            tables[table] = ([], [])
        elif line.startswith(":"):
            tables[table][0].append(line.split()[0][1:])
        elif line.startswith("-A "):
            tables[table][1].append(line)
    return tables


def _chain_of(rule: str) -> str:
    return rule.split()[1]


def _target_of(rule: str) -> str:
    match = re.search(r" -[jg] (\S+)", rule)
    return match.group(1) if match else ""
