"""
Writes image layers: tar files of a few programs. The same content gives the same bytes.
"""

import io
import pathlib
import tarfile
from collections.abc import Iterable, Mapping, Sequence

from testbed.commands import run

BUSYBOX = pathlib.Path("/usr/bin/busybox")


def write_layer(target: pathlib.Path, files: Mapping[str, pathlib.Path], *, with_shell: bool = False) -> None:
    """
    Write a layer with the files at the given absolute paths: executable, owned by root, without times.

    Args:
        with_shell: add busybox with all its commands, /tmp and the usual files of /etc.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as tar:
        folders: set[str] = set()
        if with_shell:
            _add_shell(tar, folders)
        for name, source in sorted(files.items()):
            _add_folders(tar, folders, name)
            item = _item(name, 0o755)
            item.size = source.stat().st_size
            with source.open("rb") as stream:
                tar.addfile(item, stream)


def write_rootfs_layer(target: pathlib.Path, rootfs: pathlib.Path, *, leave_out: Sequence[str]) -> None:
    """
    Write a layer of a whole root file system. It has no device files, because the container runtime creates them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    excludes = [f"--exclude=./{name}" for name in leave_out]
    argv: list[str | pathlib.Path] = [
        "tar",
        "--create",
        "--file",
        target,
        "--directory",
        rootfs,
        "--numeric-owner",
        "--sort=name",
    ]
    run([*argv, *excludes, "."], timeout_s=300)


def busybox_commands() -> list[str]:
    """
    The commands of the machine's busybox.
    """
    return run([BUSYBOX, "--list"]).stdout.split()


def _add_shell(tar: tarfile.TarFile, folders: set[str]) -> None:
    _add_folders(tar, folders, "/bin/busybox")
    item = _item("/bin/busybox", 0o755)
    item.size = BUSYBOX.stat().st_size
    with BUSYBOX.open("rb") as stream:
        tar.addfile(item, stream)
    for command in busybox_commands():
        if command == "busybox":
            continue
        shortcut = _item(f"/bin/{command}", 0o777)
        shortcut.type, shortcut.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(shortcut)
    for name, text in _SHELL_FILES.items():
        _add_folders(tar, folders, name)
        item = _item(name, 0o644)
        item.size = len(text)
        tar.addfile(item, io.BytesIO(text.encode("ascii")))
    for name, mode in (("/tmp", 0o1777), ("/root", 0o700), ("/var", 0o755), ("/home", 0o755)):
        _add_folder(tar, folders, name, mode)


_SHELL_FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "hosts: files dns\n",
}


def _add_folders(tar: tarfile.TarFile, folders: set[str], name: str) -> None:
    for parent in _parents(name):
        _add_folder(tar, folders, parent, 0o755)


def _add_folder(tar: tarfile.TarFile, folders: set[str], name: str, mode: int) -> None:
    if name in folders:
        return
    folders.add(name)
    item = _item(name, mode)
    item.type = tarfile.DIRTYPE
    tar.addfile(item)


def _parents(name: str) -> Iterable[str]:
    parts = pathlib.PurePosixPath(name).parents
    return [str(part) for part in reversed(parts) if str(part) != "/"]


def _item(name: str, mode: int) -> tarfile.TarInfo:
    item = tarfile.TarInfo(name.lstrip("/"))
    item.mode = mode
    return item
