"""
Brings the cluster up and removes it. Every step is idempotent, so that the next `up` completes an interrupted one.
"""

import functools
import pathlib
import shutil
from collections.abc import Callable

from testbed import (
    addons,
    api,
    background,
    binaries,
    config,
    images,
    layout,
    locking,
    machine,
    modules,
    network,
    parts,
    paths,
    pki,
    processes,
    teardown,
)
from testbed.errors import TestbedError
from testbed.progress import Progress, Step, say

_LOCK_PATIENCE_S = 15.0  # an interrupted command still ends what it started

# A step returns a description of what it did; None stands for "ready".
Work = Callable[[Step], str | None]


def build() -> None:
    """
    Build the missing programs, and nothing else.
    """
    machine.require_root()
    with locking.exclusive(), background.Tasks() as tasks:
        steps: list[tuple[str, Work]] = [("Debian packages", _packages), *_binary_steps(tasks)]
        _run_steps(steps)


def up(*, taint: bool = False) -> pathlib.Path:
    """
    Bring the cluster up. Returns the path of the administrator's kubeconfig.

    Args:
        taint: set the node's taint, which keeps pods without its toleration off; otherwise remove it.

    Raises:
        TestbedError: a part failed; the message says which, and has the end of its log.
    """
    machine.require_root()
    with locking.exclusive(), background.Tasks() as tasks:
        progress = _run_steps(_up_steps(tasks, taint=taint))
    say(f"The cluster is up after {progress.elapsed_s:.0f}s.")
    say(f"  export KUBECONFIG={paths.KUBECONFIG}")
    say(f"  export PATH={paths.BIN}:$PATH   # kubectl, helm")
    return paths.KUBECONFIG


def down(*, purge: bool = False) -> None:
    """
    Remove the cluster. Programs and images stay in the cache unless purge is set.

    Raises:
        TestbedError: something could not be removed, or the cache folder has files of somebody else.
    """
    machine.require_root()
    with locking.exclusive(patience_s=_LOCK_PATIENCE_S):
        removed: list[str] = []
        if teardown.is_ours():
            progress = Progress(1)
            with progress.step("remove the cluster") as step:
                removed = teardown.remove_cluster(step.tick)
                step.outcome = "done"
        for line in removed:
            say(f"  removed {line}")
        if not removed:
            say("There is no cluster to remove.")
        if purge:
            _purge()


def stop_part(name: str) -> None:
    """
    Stop one part and leave the others running, to observe what they do without it.

    Raises:
        TestbedError: the part survived SIGKILL.
    """
    machine.require_root()
    with locking.exclusive(), Progress(1).step(f"stop {name}") as step:
        stopped = teardown.stop_parts(((name, teardown.GRACES_S[name]),), step.tick)
        step.outcome = "done" if stopped else "not running"


def start_part(name: str) -> None:
    """
    Start one part of a cluster that is up, and wait until it serves.

    Raises:
        TestbedError: there is no cluster, or the part did not become ready.
    """
    machine.require_root()
    with locking.exclusive():
        api.require_bridge()
        if not parts.live_parts():
            raise TestbedError(f"cannot start {name}, because there is no cluster; run `python3 -m testbed up` first")
        config.write_all()  # a flag may name a file that the checkout which brought the cluster up did not have
        with Progress(1).step(f"start {name}") as step:
            step.outcome = parts.ensure_running(parts.BY_NAME[name], step.tick)


def status() -> list[tuple[str, str, str, str]]:
    """
    Each part with its pid, its address, and its health or what it lacks.
    """
    live = parts.live_parts()
    rows: list[tuple[str, str, str, str]] = []
    on_request = tuple(part for part in parts.ON_REQUEST if part.name in live)
    for part in (*parts.PARTS, *on_request):
        identity = live.get(part.name)
        if identity is None:
            rows.append((part.name, "-", part.address, "not running"))
            continue
        missing = part.missing()
        rows.append((part.name, str(identity.pid), part.address, "healthy" if missing is None else missing))
    return rows


def _up_steps(tasks: background.Tasks, *, taint: bool) -> list[tuple[str, Work]]:
    base_layer: list[background.Task[None]] = []

    def start_base_layer(_: Step) -> str:
        base_layer.append(tasks.start(f"file system of {images.BASE_IMAGE}", images.prepare_base_layer))
        return "started"

    def base_image(step: Step) -> str:
        background.wait(base_layer[0], step.tick)
        return images.ensure_base_image(step.tick)

    steps: list[tuple[str, Work]] = [
        ("Debian packages", _packages),
        ("remains of a dead cluster", _clear_remains),
        ("address ranges and ports are free", _check_machine),
        (f"background: file system of {images.BASE_IMAGE}", start_base_layer),
        *_binary_steps(tasks),
        (f"bridge {layout.NODE_BRIDGE}, routes, packet filter", _network),
        ("certificates and configuration", _configure),
        _part_step("registry"),
        ("programs of the testbed itself", lambda _: images.ensure_own_programs()),
        ("vcluster chart", lambda step: images.ensure_chart(lambda: machine.ensure_go(step.tick))),
        *((f"image {image.name}", functools.partial(_image, image)) for image in images.IMAGES),
        (f"image {images.BASE_IMAGE}", base_image),
        *(_part_step(part.name) for part in parts.PARTS if part.name != "registry"),
        ("node", lambda step: addons.wait_for_node(step.tick, taint=taint)),
        ("Gateway API", lambda step: addons.ensure_gateway_api(lambda: machine.ensure_go(step.tick))),
        ("addon manifests", _apply_addons),
        *((f"addon {name}", functools.partial(_addon, name)) for name in addons.ADDONS),
    ]
    return steps


def _run_steps(steps: list[tuple[str, Work]]) -> Progress:
    progress = Progress(len(steps))
    for label, work in steps:
        with progress.step(label) as step:
            step.outcome = work(step) or "ready"
    return progress


def _binary_steps(tasks: background.Tasks) -> list[tuple[str, Work]]:
    needed = binaries.missing()
    if not needed:
        return [("programs", _link_binaries)]
    batches = binaries.batches(needed)
    downloads: dict[str, background.Task[int]] = {}

    def start_downloads(step: Step) -> str:
        go = machine.ensure_go(step.tick)
        modules.ensure(go)
        for batch in batches:
            label = f"Go modules of {batch[0].batch}"
            downloads[batch[0].batch] = tasks.start(label, functools.partial(binaries.download, go, batch))
        return "started"

    def build(batch: list[binaries.Binary], step: Step) -> str:
        packages = background.wait(downloads[batch[0].batch], lambda _: step.tick("downloading Go modules"))
        binaries.build(machine.ensure_go(step.tick), batch, packages, step.tick)
        return "built"

    return [
        ("background: downloads of Go modules", start_downloads),
        *((f"build {_names(batch)}", functools.partial(build, batch)) for batch in batches),
        ("programs", _link_binaries),
    ]


def _names(batch: list[binaries.Binary]) -> str:
    return ", ".join(binary.name for binary in batch) if len(batch) < 4 else f"{len(batch)} programs"


def _link_binaries(_: Step) -> str:
    for binary in binaries.BINARIES:
        binaries.link(binary)
    return f"{len(binaries.BINARIES)} present"


def _packages(step: Step) -> str:
    return machine.ensure_packages(step.tick)


def _clear_remains(step: Step) -> str:
    """
    Remove a cluster of an earlier boot, or one of which no part runs: its state does not match the machine any more.
    """
    if not teardown.is_ours():
        return "none"
    if teardown.is_of_this_boot() and parts.live_parts():
        return "none, it is alive"
    teardown.remove_cluster(step.tick)
    return "removed"


def _check_machine(_: Step) -> None:
    network.check_free()
    machine.check_ports({identity.pid for identity in parts.live_parts().values()})


def _network(_: Step) -> None:
    paths.STATE.mkdir(parents=True, exist_ok=True)
    paths.BOOT_ID.write_text(processes.boot_id(), encoding="ascii")
    network.ensure_sysctls()
    network.ensure_network()


def _configure(_: Step) -> None:
    folders = (paths.RUN, paths.CONFIG, paths.LOGS, paths.PIDS, paths.VOLUMES, paths.POD_LOGS, paths.AUDIT_LOG.parent)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    pki.ensure_pki()
    config.write_all()


def _part_step(name: str) -> tuple[str, Work]:
    return name, lambda step: parts.ensure_running(parts.BY_NAME[name], step.tick)


def _image(image: images.Image, _: Step) -> str:
    return images.ensure_image(image)


def _apply_addons(_: Step) -> str:
    for name in addons.ADDONS:
        addons.apply(name)
    return "applied"


def _addon(name: str, step: Step) -> None:
    addons.wait_for_addon(name, step.tick)


def _purge() -> None:
    foreign = sorted(entry.name for entry in paths.CACHE.iterdir() if not paths.OURS.fullmatch(entry.name))
    if foreign:
        raise TestbedError(
            f"{paths.CACHE} (KNS_TESTBED_HOME) has files that are not the testbed's: {', '.join(foreign[:5])}; move "
            "them away, or remove the testbed's own files by hand"
        )
    teardown.unmount_all()  # what a build that was killed left
    size = machine.folder_size_bytes(paths.CACHE)
    for entry in paths.CACHE.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != paths.LOCK:
            entry.unlink()
    shutil.rmtree(paths.CACHE)  # the lock last: whoever made a new one would work in folders that are being deleted
    say(f"  removed folder {paths.CACHE} ({size / 2**30:.1f} GiB)")
