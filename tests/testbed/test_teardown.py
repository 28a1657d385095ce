"""What `down` takes away, and what it leaves because it belongs to somebody else."""

import pathlib
import shutil
import signal
from collections.abc import Iterable

import pytest

from testbed import base_image, cluster, firewall, locking, machine, network, paths, processes, teardown
from testbed.errors import TestbedError
from testbed.processes import Identity

_POD_PID = 4711
_STAT = f"{_POD_PID} (app) S " + " ".join(["1"] * 18) + " 4242"


class _Machine:
    """A machine with one pod and the settings of a node, below a folder. It writes down what was done to it."""

    def __init__(self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.kubepods = folder / "cgroup" / teardown.POD_CGROUP
        self._proc = folder / "proc"
        for name, text in (
            ("sys/kernel/random/boot_id", "this-boot\n"),
            ("self/mounts", ""),
            ("net/unix", "Num\n"),
            (f"{_POD_PID}/cgroup", f"0::/{teardown.POD_CGROUP}/pod1\n"),
            (f"{_POD_PID}/stat", _STAT),
            (f"{_POD_PID}/cmdline", "app\0"),
        ):
            (self._proc / name).parent.mkdir(parents=True, exist_ok=True)
            (self._proc / name).write_text(text)
        (self._proc / str(_POD_PID) / "exe").symlink_to("/app")
        self.kubepods.mkdir(parents=True)
        (folder / "device-plugins").mkdir()
        self.kubelet_socket = folder / "device-plugins" / "kubelet.sock"
        self.kubelet_socket.touch()
        for name in ("STATE", "RUN", "BIN"):
            monkeypatch.setattr(paths, name, folder / name.lower())
        paths.STATE.mkdir()
        monkeypatch.setattr(paths, "BOOT_ID", paths.STATE / "boot-id")
        monkeypatch.setattr(paths, "PIDS", paths.STATE / "pids")
        monkeypatch.setattr(paths, "KUBECONFIG", folder / "kubeconfig")
        monkeypatch.setattr(paths, "CONTAINERD_STATE", paths.RUN / "containerd")
        monkeypatch.setattr(processes, "PROC", self._proc)
        monkeypatch.setattr(processes, "signal_all", self._signal)
        monkeypatch.setattr(teardown, "DEVICE_PLUGINS", folder / "device-plugins")
        for name in ("CONTAINER_LOG_LINKS", "CNI_RESULTS", "SHIM_SOCKETS"):
            monkeypatch.setattr(teardown, name, folder / name.lower())
        monkeypatch.setattr(teardown, "_has_filter", lambda: False)
        monkeypatch.setattr(machine, "cgroup_roots", lambda: [folder / "cgroup"])
        monkeypatch.setattr(network, "link_exists", lambda _: False)
        monkeypatch.setattr(network, "remove_links", list)
        monkeypatch.setattr(network, "restore_sysctls", lambda: self._note("kernel settings"))
        monkeypatch.setattr(firewall, "remove_all", lambda: self._note("firewall chains"))

    def listen(self, path: pathlib.Path) -> None:
        (self._proc / "net/unix").write_text(f"Num RefCount\n0: 2 0 10000 1 1 77 {path}\n")

    def _note(self, what: str) -> list[str]:
        self.done.append(what)
        return [what]

    def _signal(self, identities: Iterable[Identity], number: signal.Signals) -> None:
        for identity in identities:
            self.done.append(f"{number.name} to pid {identity.pid}")
            shutil.rmtree(self._proc / str(identity.pid))


@pytest.fixture
def node(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> _Machine:
    return _Machine(tmp_path, monkeypatch)


def test_the_pods_of_a_cluster_of_this_boot_end(node: _Machine) -> None:
    """Also without containerd, bridge and chain: the remains of a cluster whose start broke off."""
    paths.BOOT_ID.write_text("this-boot")
    teardown.remove_cluster(lambda _: None)
    assert node.done == [f"SIGKILL to pid {_POD_PID}", "firewall chains", "kernel settings"]
    assert not node.kubepods.exists()
    assert not node.kubelet_socket.exists()
    assert not paths.STATE.exists()


def test_after_a_reboot_the_pods_of_another_cluster_are_left_alone(node: _Machine) -> None:
    """The machine has become a node of another Kubernetes, and only the files are still the testbed's."""
    paths.BOOT_ID.write_text("the-boot-before")
    node.listen(node.kubelet_socket)
    assert teardown.remove_cluster(lambda _: None) == [f"folder {paths.STATE}"]
    assert node.done == []
    assert node.kubepods.exists()
    assert node.kubelet_socket.exists()
    assert not paths.STATE.exists()


def test_after_a_reboot_the_socket_of_the_dead_kubelet_goes(node: _Machine) -> None:
    paths.BOOT_ID.write_text("the-boot-before")
    teardown.remove_cluster(lambda _: None)
    assert not node.kubelet_socket.parent.exists()


@pytest.mark.parametrize(
    ("written", "folder"),
    [
        pytest.param("/home/jörg/cache/state/volume", "/home/jörg/cache", id="letters that are not ASCII"),
        pytest.param(r"/home/my\040cache/state/volume", "/home/my cache", id="a space"),
        pytest.param(r"/home/a\134x41/state/volume", r"/home/a\x41", id="a backslash"),
    ],
)
def test_mounts_are_found_in_folders_of_any_name(
    written: str, folder: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not unmounted would be deleted with the folder: the content of a volume, through its mount."""
    (tmp_path / "self").mkdir()
    table = f"tmpfs /tmp tmpfs rw 0 0\ntmpfs {written} tmpfs rw 0 0\n"
    (tmp_path / "self" / "mounts").write_text(table, encoding="utf-8")
    monkeypatch.setattr(processes, "PROC", tmp_path)
    unmounted: list[str] = []

    def umount(argv: list[str]) -> None:
        unmounted.append(argv[-1])
        (tmp_path / "self" / "mounts").write_text("tmpfs /tmp tmpfs rw 0 0\n")

    monkeypatch.setattr(teardown, "run", umount)
    monkeypatch.setattr(paths, "STATE", pathlib.Path(folder) / "state")
    assert teardown.unmount_all() == ["1 mounts"]
    assert unmounted == [f"{folder}/state/volume"]


def test_the_next_base_image_is_made_over_the_mounts_of_a_debootstrap_that_was_killed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder cannot be deleted before, so every later `up` would fail at it."""
    done: list[str] = []
    rootfs = tmp_path / "debian-rootfs"
    mounts = tmp_path / "proc" / "self" / "mounts"
    mounts.parent.mkdir(parents=True)
    mounts.write_text(f"proc /proc proc rw 0 0\nproc {rootfs}/proc proc rw 0 0\n")
    (rootfs / "proc").mkdir(parents=True)

    def umount(argv: list[str]) -> None:
        done.append(f"umount {argv[-1]}")
        mounts.write_text("proc /proc proc rw 0 0\n")

    def debootstrap(*_: object, **__: object) -> None:
        done.append(f"debootstrap into {len(list(rootfs.iterdir()))} files")
        raise TestbedError("that is enough")

    monkeypatch.setattr(paths, "IMAGES", tmp_path)
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setattr(teardown, "run", umount)
    monkeypatch.setattr(base_image, "run_long", debootstrap)
    with pytest.raises(TestbedError, match="that is enough"):
        base_image.write_layer(tmp_path / "layer.tar", lambda _: None)
    assert done == [f"umount {rootfs}/proc", "debootstrap into 0 files"]


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The cache folder of a testbed without a cluster, as several commands have filled it."""
    folder = tmp_path / "cache"
    for name in ("bin", "images", "demo", "demo-0123abcd", "venvs", "axe-4.14.1", "conformance"):
        (folder / name).mkdir(parents=True)
    (folder / "keycloak-up.log").touch()
    monkeypatch.setattr(paths, "CACHE", folder)
    monkeypatch.setattr(paths, "LOCK", folder / "lock")
    monkeypatch.setattr(machine, "require_root", lambda: None)
    monkeypatch.setattr(teardown, "is_ours", lambda: False)
    monkeypatch.setattr(teardown, "unmount_all", list)
    return folder


def test_a_purge_removes_the_cache(cache: pathlib.Path) -> None:
    cluster.down(purge=True)
    assert not cache.exists()


def test_every_folder_of_the_testbed_is_one_that_a_purge_may_remove() -> None:
    places = [value for value in vars(paths).values() if isinstance(value, pathlib.Path)]
    names = {place.relative_to(paths.CACHE).parts[0] for place in places if paths.CACHE in place.parents}
    assert {name for name in names if not paths.OURS.fullmatch(name)} == set()


def test_a_purge_never_removes_files_of_others(cache: pathlib.Path) -> None:
    """KNS_TESTBED_HOME may be any folder, also one in which somebody keeps other things."""
    (cache / "thesis.tex").touch()
    with pytest.raises(TestbedError, match=r"KNS_TESTBED_HOME.*thesis\.tex"):
        cluster.down(purge=True)
    assert (cache / "thesis.tex").exists()
    assert (cache / "images").exists()


def test_a_purge_waits_for_no_other_command_and_disturbs_none(
    cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between the removal of the cluster and that of the cache, nothing else may change them."""
    held: list[str] = []
    remove = shutil.rmtree

    def remove_and_look(folder: pathlib.Path) -> None:
        with pytest.raises(TestbedError, match="another testbed command is running"), locking.exclusive():
            pass
        remove(folder)
        held.append(folder.name)

    monkeypatch.setattr(shutil, "rmtree", remove_and_look)
    cluster.down(purge=True)
    assert sorted(held[:-1]) == ["axe-4.14.1", "bin", "conformance", "demo", "demo-0123abcd", "images", "venvs"]
    assert held[-1] == "cache"
