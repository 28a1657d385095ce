"""
Our packet filter: nothing that a pod sends leaves the machine. And the exact removal of what the cluster
added.

The chain KNS-TESTBED is also the mark by which a later run knows that the KUBE-* and CNI-* chains beside it
are ours.
"""

import re

from testbed import layout
from testbed.commands import run

CHAIN = "KNS-TESTBED"
FAMILIES = ("iptables", "ip6tables")

_KUBE = re.compile(r"^KUBE-")
# Chains of the CNI port mapping that all its networks share: ours only once no other network's rule is in
# them.
_CNI_SHARED = re.compile(r"^CNI-HOSTPORT-")
_CNI_PER_POD = re.compile(r"^CNI-(?:DN-|SN-)?[0-9a-f]+$")
_NETWORK_MARK = re.compile(r'name: \\?"' + re.escape(layout.CNI_NETWORK) + r'\\?"')


def filter_rules() -> list[str]:
    """
    The rules of our chain. They see packets after DNAT, so a Service address has already become a pod's.

    Traffic between a pod and the node itself does not pass FORWARD and is not touched.
    """
    pods = layout.POD_RANGE
    return [
        f"-A {CHAIN} -s {pods} -d {pods} -j ACCEPT",
        f"-A {CHAIN} -s {pods} -j REJECT --reject-with icmp-admin-prohibited",
        f"-A {CHAIN} -d {pods} -j REJECT --reject-with icmp-admin-prohibited",
    ]


def ensure_filter() -> None:
    """
    Put our chain in place, first in FORWARD, whatever is there already. One transaction: never half a filter.
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
    Kubernetes chains on a machine without our mark: someone else's cluster.
    """
    saved = run(["iptables-save"]).stdout
    return sorted({line.split()[0][1:] for line in saved.splitlines() if line.startswith(":KUBE-")})


def select_ours(dump: str) -> dict[str, tuple[list[str], list[str]]]:
    """
    From an iptables-save dump, per table: our rules in chains that are not ours (to delete one by one), our
    chains.

    Ours are: our own chain, the KUBE-* chains, the CNI chains of pods of our network, and the CNI chains
    that all networks share if no rule of another network is left in them.
    """
    selected: dict[str, tuple[list[str], list[str]]] = {}
    for table, (chains, rules) in _parse(dump).items():
        ours = {name for name in chains if name == CHAIN or _KUBE.match(name)}
        # Only rules name the network, so a pod's chain is known by a rule in it or leading to it.
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
    Text for `iptables-restore --noflush` that removes a selection in one transaction per table.
    """
    lines: list[str] = []
    for table, (rules, chains) in selected.items():
        lines.append(f"*{table}")
        lines += ["-D" + rule.removeprefix("-A") for rule in rules]
        # All are emptied before any is removed, because they lead to each other.
        lines += [f"-F {chain}" for chain in chains]
        lines += [f"-X {chain}" for chain in chains]
        lines.append("COMMIT")
    return "\n".join([*lines, ""])


def remove_all() -> list[str]:
    """
    Remove our rules and chains of IPv4 and IPv6. Returns what was removed, for people to read.
    """
    removed: list[str] = []
    for family in FAMILIES:
        selected = select_ours(run([f"{family}-save"]).stdout)
        if not selected:
            continue
        run([f"{family}-restore", "--noflush"], stdin=removal_script(selected))
        count = sum(len(chains) for _, chains in selected.values())
        removed.append(f"{family}: {count} chains and the rules that led to them")
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
