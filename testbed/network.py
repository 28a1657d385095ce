"""
The links and routes of the node.

The order is a safety rule: first the bridge that owns the node's address, then the routes that keep every address range
of the cluster on this machine, then the packet filter. Only then may a program use these addresses, because a packet to
an address without a local owner follows the default route out of the machine.
"""

import contextlib
import ipaddress
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from testbed import firewall, layout, paths, processes
from testbed.commands import run
from testbed.errors import TestbedError

RANGES = (layout.NODE_RANGE, layout.SERVICE_RANGE, layout.POD_RANGE)
OUR_LINKS = (layout.POD_BRIDGE, layout.NODE_BRIDGE)

# Kernel settings that the testbed, kubelet or the CNI plugins change; `down` restores them. Every virtual cluster
# watches many files, and three of them reach the default limit of 128 inotify instances per user.
SYSCTLS_SET = {"net/ipv4/ip_forward": "1", "fs/inotify/max_user_instances": "8192"}
SYSCTLS_WATCHED = (
    *SYSCTLS_SET,
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
)


def link_exists(name: str) -> bool:
    """
    Whether a network interface of this name exists.
    """
    return (pathlib.Path("/sys/class/net") / name).exists()


def check_free() -> None:
    """
    Refuse to start if another cluster runs on this machine or if our address ranges are in use.
    """
    if not firewall.has_filter() and not link_exists(layout.NODE_BRIDGE):
        foreign = firewall.foreign_chains()
        if foreign or link_exists(layout.POD_BRIDGE):
            found = f"firewall chains {', '.join(foreign[:3])} ..." if foreign else f"link {layout.POD_BRIDGE}"
            raise TestbedError(f"another Kubernetes seems to run on this machine ({found}); remove it first")
    for route in _routes():
        if route.get("dev") in OUR_LINKS or route.get("dst") == "default":
            continue
        network = ipaddress.ip_network(str(route["dst"]), strict=False)
        for text in RANGES:
            if network.version == 4 and network.overlaps(ipaddress.ip_network(text)):
                raise TestbedError(
                    f"the testbed needs {text}, but this machine routes {route['dst']} to {route.get('dev')}; "
                    "remove that route or use another machine"
                )


def ensure_network() -> None:
    """
    Set up the bridge, its address, the routes and the packet filter, in this order.
    """
    bridge = layout.NODE_BRIDGE
    if not link_exists(bridge):
        run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "address", "replace", f"{layout.NODE_IP}/32", "dev", bridge])
    run(["ip", "link", "set", bridge, "up"])
    owned = run(["ip", "-4", "-o", "address", "show", "dev", bridge]).stdout
    if f" {layout.NODE_IP}/" not in owned:
        raise TestbedError(f"bridge {bridge} lacks {layout.NODE_IP} after `ip address replace`; it has {owned!r}")
    for text in RANGES:
        run(["ip", "route", "replace", text, "dev", bridge, "scope", "link"])
    firewall.ensure_filter()


def ensure_sysctls() -> None:
    """
    Record the kernel settings that a node changes, once per cluster, then raise those that we need.
    """
    if not paths.SYSCTLS.exists():
        before = {name: value for name in SYSCTLS_WATCHED if (value := _read_sysctl(name)) is not None}
        paths.SYSCTLS.parent.mkdir(parents=True, exist_ok=True)
        draft = paths.SYSCTLS.with_suffix(".tmp")
        draft.write_text(json.dumps(before), encoding="utf-8")
        draft.replace(paths.SYSCTLS)
    for name, value in SYSCTLS_SET.items():
        current = _read_sysctl(name)
        if current is not None and int(current) < int(value):
            _sysctl_path(name).write_text(value, encoding="ascii")


def restore_sysctls() -> list[str]:
    """
    Restore the kernel settings from before the cluster. Returns a description of what changed.
    """
    if not paths.SYSCTLS.exists():
        return []
    restored: list[str] = []
    for name, value in json.loads(paths.SYSCTLS.read_text(encoding="utf-8")).items():
        if _read_sysctl(name) != value:
            _sysctl_path(name).write_text(value, encoding="ascii")
            restored.append(f"kernel setting {name.replace('/', '.')} back to {value}")
    paths.SYSCTLS.unlink()
    return restored


def remove_links() -> list[str]:
    """
    Remove the bridges together with their routes and the pods' veth ends. The node's bridge is last.
    """
    removed: list[str] = []
    for bridge in OUR_LINKS:
        for member in _members(bridge):
            run(["ip", "link", "delete", member], check=False)
            removed.append(f"link {member}")
        if link_exists(bridge):
            run(["ip", "link", "delete", bridge])
            removed.append(f"link {bridge} and its routes")
    return removed


def talkers() -> list[str]:
    """
    The processes with a connection to one of our address ranges. Their next packet needs our bridge.
    """
    inodes = dict(_connections())
    if not inodes:
        return []
    found: list[str] = []
    for pid in processes.all_pids():
        for inode in socket_inodes(pid):
            if inode in inodes:
                name = " ".join(processes.argv_of(pid))[:60]
                found.append(f"pid {pid} ({name}) talks to {inodes[inode]}")
    return sorted(set(found))


def port_owner(address: str, port: int) -> str | None:
    """
    The process that listens on this address and port, or on this port of all addresses; None if there is none.
    """
    wanted = {f"{_hex_address(host)}:{port:04X}" for host in (address, "0.0.0.0")}
    wanted6 = f"{'0' * 32}:{port:04X}"
    for table in ("tcp", "tcp6"):
        for fields in _tcp_table(table):
            if fields[3] == "0A" and (fields[1] in wanted or fields[1] == wanted6):
                return _owner_of_inode(fields[9])
    return None


def _owner_of_inode(inode: str) -> str:
    for pid in processes.all_pids():
        if inode in socket_inodes(pid):
            return f"pid {pid} ({' '.join(processes.argv_of(pid))[:80]})"
    return "an unknown process"


def _connections() -> Iterator[tuple[str, str]]:
    ranges = [ipaddress.ip_network(text) for text in RANGES]
    for fields in _tcp_table("tcp"):
        host, _, port = fields[2].partition(":")
        address = ipaddress.ip_address(int.from_bytes(bytes.fromhex(host), "little"))
        # 06 is TIME_WAIT, which belongs to no process and sends nothing; 0A is LISTEN.
        if fields[3] not in {"06", "0A"} and any(address in network for network in ranges):
            yield fields[9], f"{address}:{int(port, 16)}"


def _tcp_table(name: str) -> Iterator[list[str]]:
    with contextlib.suppress(FileNotFoundError):
        for line in (processes.PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]:
            yield line.split()


def socket_inodes(pid: int) -> set[str]:
    """
    The inodes of the sockets that a process has open, as /proc/net lists them.
    """
    inodes: set[str] = set()
    with contextlib.suppress(OSError):
        for entry in (processes.PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    return inodes


def _hex_address(host: str) -> str:
    return ipaddress.IPv4Address(host).packed[::-1].hex().upper()


def _routes() -> list[dict[str, Any]]:
    return list(json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]).stdout or "[]"))


def _members(bridge: str) -> list[str]:
    ports = pathlib.Path("/sys/class/net") / bridge / "brif"
    return sorted(entry.name for entry in ports.iterdir()) if ports.exists() else []


def _sysctl_path(name: str) -> pathlib.Path:
    return processes.PROC / "sys" / name


def _read_sysctl(name: str) -> str | None:
    path = _sysctl_path(name)
    return path.read_text(encoding="ascii").strip() if path.exists() else None
