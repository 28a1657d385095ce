"""
Removes the cluster: processes first, then mounts, firewall rules and files, and the bridges last.

Nothing has to run. The same code removes a healthy cluster, a half-started one and the remains of a dead one. It finds
containers by their cgroups and shims, not through containerd.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterable

from testbed import firewall, layout, machine, network, parts, paths, processes
from testbed.commands import run
from testbed.errors import TestbedError
from testbed.processes import Identity

POD_CGROUP = "kubepods"
# Clients stop before their servers, so that none waits for an answer.
STOP_ORDER: tuple[tuple[str, float], ...] = (("keycloak", 5), ("kubelet", 5), ("kube-proxy", 3))
CONTROL_PLANE: tuple[tuple[str, float], ...] = (
    ("kube-scheduler", 3),
    ("kube-controller-manager", 3),
    ("containerd", 5),
    # On SIGTERM it waits up to a minute for open watches, although their clients have stopped.
    ("kube-apiserver", 4),
    ("etcd", 3),
    ("registry", 3),
)
GRACES_S = dict((*STOP_ORDER, *CONTROL_PLANE))
CONTAINER_LOG_LINKS = pathlib.Path("/var/log/containers")
CNI_RESULTS = pathlib.Path("/var/lib/cni/results")
DEVICE_PLUGINS = pathlib.Path("/var/lib/kubelet/device-plugins")
SHIM_SOCKETS = pathlib.Path("/run/containerd/s")
QUIET_TIMEOUT_S = 15.0


def is_ours() -> bool:
    """
    Whether this machine has anything of a testbed: its state, its link or its firewall chain.
    """
    return paths.STATE.exists() or network.link_exists(layout.NODE_BRIDGE) or _has_filter()


def is_of_this_boot() -> bool:
    """
    Whether the cluster was started since the machine booted. Of an earlier one there are only files: the processes,
    cgroups and firewall chains of Kubernetes, and the kernel settings, are those of another cluster.
    """
    started = paths.BOOT_ID.exists() and paths.BOOT_ID.read_text(encoding="ascii") == processes.boot_id()
    return started or network.link_exists(layout.NODE_BRIDGE) or _has_filter()


def remove_cluster(tick: Callable[[str], None]) -> list[str]:
    """
    Remove everything of the cluster except the cache. Returns a description of what was removed.

    Raises:
        TestbedError: something could not be removed, or another program is connected to the cluster's addresses.
    """
    removed = stop_parts(STOP_ORDER, tick)
    removed += stop_containers(tick)
    removed += stop_parts(CONTROL_PLANE, tick)
    removed += stop_containers(tick)
    removed += unmount_all()
    removed += remove_leftovers()
    if is_of_this_boot():
        removed += firewall.remove_all()
        removed += network.restore_sysctls()
    removed += remove_state()
    _wait_until_quiet(tick)
    removed += network.remove_links()
    return removed


def stop_parts(order: tuple[tuple[str, float], ...], tick: Callable[[str], None]) -> list[str]:
    """
    Stop the named parts one after another. Each has a grace period in seconds.
    """
    live = parts.live_parts()
    stopped: list[str] = []
    for name, grace_s in order:
        identity = live.get(name)
        if identity is None:
            continue
        if stuck := processes.stop_all([identity], grace_s=grace_s, tick=tick):
            raise TestbedError(f"{name} (pid {stuck[0].pid}) survived SIGKILL; find out why, then try again")
        processes.pid_file(name).unlink(missing_ok=True)
        stopped.append(f"process {name} (pid {identity.pid})")
    return stopped


def stop_containers(tick: Callable[[str], None]) -> list[str]:
    """
    Kill the processes of all containers, then their shims.

    There is no graceful stop, because the cluster's state is deleted anyway.
    """
    sockets = _sockets_of(_shims())
    containers = _kill_rounds(_container_processes, tick)
    shims = _kill_rounds(_shims, tick)
    for socket in sockets:
        socket.unlink(missing_ok=True)
    counts = ((containers, "container processes"), (shims, "containerd shims"))
    return [f"{count} {what}" for count, what in counts if count]


def unmount_all() -> list[str]:
    """
    Unmount everything below our folders. Returns a description of what was unmounted.
    """
    return unmount_below(paths.STATE, paths.RUN, paths.BUILDAH, paths.IMAGES)


def unmount_below(*folders: pathlib.Path) -> list[str]:
    """
    Unmount everything below these folders, innermost first. Returns a description of what was unmounted.

    Raises:
        TestbedError: something could not be unmounted.
    """
    ours = _mount_points(folders)
    for point in reversed(ours):
        # A lazy unmount, because a container that ends late may still hold the mount.
        run(["umount", "--lazy", point])
    if left := _mount_points(folders):
        raise TestbedError(f"could not unmount {left[0]} and {len(left) - 1} more; see `findmnt`, then try again")
    return [f"{len(ours)} mounts"] if ours else []


def remove_leftovers() -> list[str]:
    """
    Remove what kubelet, containerd and the CNI plugins leave in folders that cannot be configured.
    """
    removed: list[str] = []
    cgroups = sum(_remove_cgroup(root / POD_CGROUP) for root in machine.cgroup_roots()) if is_of_this_boot() else 0
    if cgroups:
        removed.append(f"{cgroups} cgroups of pods")
    for link in _entries(CONTAINER_LOG_LINKS):
        if link.is_symlink() and str(link.readlink()).startswith(str(paths.POD_LOGS)):
            link.unlink()
    for result in _entries(CNI_RESULTS):
        # Each result contains the path of its network namespace, and ours are below our run folder.
        if str(paths.RUN) in result.read_text(encoding="utf-8", errors="replace"):
            result.unlink()
    if is_of_this_boot() or not _is_open(DEVICE_PLUGINS / "kubelet.sock"):
        (DEVICE_PLUGINS / "kubelet.sock").unlink(missing_ok=True)
    for note in paths.CONTAINERD_STATE.glob("io.containerd.runtime.v2.task/*/*/bootstrap.json"):
        with contextlib.suppress(OSError, IndexError):
            socket = note.read_text(encoding="utf-8").split("unix://")[1].split('"')[0]
            if pathlib.Path(socket).parent == SHIM_SOCKETS:
                pathlib.Path(socket).unlink(missing_ok=True)
    shared = (CNI_RESULTS, SHIM_SOCKETS, DEVICE_PLUGINS)
    folders = [CONTAINER_LOG_LINKS, *shared, *(folder.parent for folder in shared)]
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if empty: others may use it too
    return removed


def remove_state() -> list[str]:
    """
    Delete the cluster's state: etcd, certificates, containers, volumes, logs.
    """
    removed: list[str] = []
    for folder in (paths.STATE, paths.RUN):
        if folder.exists():
            _remove_tree(folder)
            removed.append(f"folder {folder}")
    if paths.KUBECONFIG.exists():
        paths.KUBECONFIG.unlink()
        removed.append(f"file {paths.KUBECONFIG}")
    return removed


def _wait_until_quiet(tick: Callable[[str], None]) -> None:
    """
    Wait until no process is connected to the cluster, because without the bridge its packets would leave the machine.
    """
    deadline = time.monotonic() + QUIET_TIMEOUT_S
    while network.link_exists(layout.NODE_BRIDGE) and (talkers := network.talkers()):
        if time.monotonic() > deadline:
            raise TestbedError(
                f"everything is removed except bridge {layout.NODE_BRIDGE}. Without it, these processes would send "
                f"packets out of the machine: {'; '.join(talkers)}. End them and run `down` again"
            )
        tick(talkers[0])
        time.sleep(0.2)


def _kill_rounds(find: Callable[[], list[Identity]], tick: Callable[[str], None]) -> int:
    killed: set[Identity] = set()
    deadline = time.monotonic() + 20.0
    # Repeat, because a process may start another one between the search and the signal.
    while found := find():
        if time.monotonic() > deadline:
            names = ", ".join(f"pid {item.pid} ({item.exe})" for item in found[:5])
            raise TestbedError(f"these processes survived SIGKILL: {names}; find out why, then try again")
        killed |= set(found)
        processes.signal_all(found, signal.SIGKILL)
        tick(f"{len(found)} processes left")
        time.sleep(0.05)
    return len(killed)


def _container_processes() -> list[Identity]:
    if not is_of_this_boot():
        return []
    found: list[Identity] = []
    for pid in processes.all_pids():
        try:
            groups = (processes.PROC / str(pid) / "cgroup").read_text(encoding="utf-8")
        except OSError:
            continue
        if any(line.split(":", 2)[2].startswith(f"/{POD_CGROUP}/") for line in groups.splitlines()):
            found.append(processes.identify(pid) or Identity(pid, 0, "", ""))
    return [identity for identity in found if identity.exe]


def _shims() -> list[Identity]:
    store = str(paths.BIN)
    found = [processes.identify(pid) for pid in processes.all_pids() if _is_our_shim(processes.argv_of(pid))]
    return [identity for identity in found if identity is not None and identity.exe.startswith(store)]


def _sockets_of(shims: list[Identity]) -> set[pathlib.Path]:
    """
    The socket files of shims. A killed shim leaves its socket in a folder that all shims share.
    """
    inodes = set().union(*(network.socket_inodes(shim.pid) for shim in shims))
    lines = (processes.PROC / "net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    rows = [line.split() for line in lines]
    named = {pathlib.Path(row[7]) for row in rows if len(row) > 7 and row[6] in inodes}
    return {path for path in named if path.parent == SHIM_SOCKETS}


def _is_our_shim(argv: list[str]) -> bool:
    return any(argument.startswith(str(paths.CONTAINERD_SOCKET)) for argument in argv) and (
        argv[0].endswith("containerd-shim-runc-v2")
    )


def _is_open(socket: pathlib.Path) -> bool:
    """Whether a process of this machine listens at the socket."""
    lines = (processes.PROC / "net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.split()[-1] == str(socket) for line in lines)


def _mount_points(folders: Iterable[pathlib.Path]) -> list[str]:
    lines = (processes.PROC / "self/mounts").read_bytes().splitlines()
    # The kernel writes spaces in a path as octal escapes, and other bytes as they are.
    escape = re.compile(rb"\\([0-7]{3})")
    points = [os.fsdecode(escape.sub(lambda found: bytes([int(found[1], 8)]), line.split()[1])) for line in lines]
    below = tuple(f"{folder}/" for folder in folders)
    return [point for point in points if point.startswith(below)]


def _remove_cgroup(folder: pathlib.Path) -> int:
    if not folder.exists():
        return 0
    count = 0
    for root, _, _ in os.walk(folder, topdown=False):
        for attempt in range(20):
            try:
                pathlib.Path(root).rmdir()
                count += 1
                break
            except FileNotFoundError:
                break
            except OSError:
                # A cgroup stays busy for a moment after its last process disappeared from /proc.
                if attempt == 19:
                    raise
                time.sleep(0.05)
    return count


def _remove_tree(folder: pathlib.Path) -> None:
    failures: list[str] = []

    def note(_function: object, path: str, error: object) -> None:
        failures.append(f"{path}: {error}")

    shutil.rmtree(folder, onerror=note)
    if folder.exists():
        raise TestbedError(f"could not remove {folder}: {failures[0] if failures else 'unknown reason'}")


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    return list(folder.iterdir()) if folder.exists() else []


def _has_filter() -> bool:
    return pathlib.Path("/usr/sbin/iptables").exists() and firewall.has_filter()
