"""
Describes what `up` changes on the machine and how `down` reverts it.
"""

from testbed import binaries, firewall, images, layout, machine, network, paths


def render() -> str:
    """
    The text of `plan`. Rendering it changes nothing on the machine.
    """
    return "\n".join([*_packages(), *_builds(), *_network(), *_listeners(), *_folders(), *_undo()])


def _packages() -> list[str]:
    missing = machine.missing_packages()
    if not missing:
        return ["Debian packages: all installed."]
    return [f"Debian packages that apt-get installs: {', '.join(missing)}."]


def _builds() -> list[str]:
    needed = binaries.missing()
    if not needed:
        return ["Programs: all built."]
    names = ", ".join(binary.name for binary in needed)
    minutes = binaries.BUILD_MINUTES
    return [f"Programs to build from Go modules, at most about {minutes} minutes on two cores: {names}."]


def _network() -> list[str]:
    settings = ", ".join(f"{name.replace('/', '.')}={value}" for name, value in network.SYSCTLS_SET.items())
    return [
        f"Links: bridge {layout.NODE_BRIDGE} with the address {layout.NODE_IP}, bridge {layout.POD_BRIDGE} for pods, "
        "one veth pair per pod.",
        f"Routes: {', '.join(network.RANGES)}, all to {layout.NODE_BRIDGE}, so that no packet to them can leave.",
        f"Firewall (iptables, IPv4 and IPv6): chain {firewall.CHAIN}, first in FORWARD, which keeps pods from sending "
        "anything out of the machine; chains KUBE-* by kube-proxy; chains CNI-* by the CNI plugins.",
        f"Kernel settings: {settings} if they are lower now; kubelet sets vm.overcommit_memory and kernel.panic*.",
    ]


def _listeners() -> list[str]:
    lines = ["Addresses that it listens on, all of this machine:"]
    lines += [f"  {address}:{port:<6} {purpose}" for address, port, purpose in layout.LISTENERS]
    lines += [f"  {layout.NODE_IP}:{port:<6} {purpose} (firewall rule)" for port, purpose in layout.HOST_PORTS]
    return lines


def _folders() -> list[str]:
    size = machine.folder_size_bytes(paths.CACHE) / 2**30
    return [
        f"Cache: {paths.CACHE}, {size:.1f} GiB now, about 4 GiB after a first run: programs, images, the cluster's "
        "state, and a virtual environment of 0.6 GiB for each checkout (`venvs`). Every image that is built again adds "
        "to it. Sockets: /run/kns-testbed.",
        f"Go's own caches (module and build cache of this user) grow by about 5 GiB. Images: {len(images.IMAGES) + 1}.",
        "Only with `keycloak up`: Debian packages default-jre-headless and maven, 0.5 GiB in the cache, "
        "and Maven's own cache grows by 0.2 GiB.",
    ]


def _undo() -> list[str]:
    return [
        "`python3 -m testbed down` ends every process that `up` started, removes the cluster's containers, mounts, "
        "links, routes, firewall chains and cgroups, restores the kernel settings and deletes the cluster's state.",
        "The cache stays; `down --purge` removes it too. Debian packages and Go's caches stay.",
    ]
