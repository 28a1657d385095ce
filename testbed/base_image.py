"""
Makes the base image of our Dockerfiles: Debian's minimal system, slimmed like the common `-slim` images.
"""

import pathlib
import shutil
from collections.abc import Callable

from testbed import layers, machine, paths, teardown
from testbed.commands import run_long

CODENAME = "bookworm"
# Change it together with the recipe below, so that the image is made again.
RECIPE = "debian-slim-1"

_DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
_EMPTIED = ("var/cache/apt", "var/cache/debconf", "var/lib/apt/lists", "var/log", "tmp", "run", "dev")

# dpkg must not restore dropped files, and apt must not keep downloads.
FILES = {
    "etc/dpkg/dpkg.cfg.d/slim": "".join(f"path-exclude /{name}/*\n" for name in _DROPPED)
    + "path-include /usr/share/doc/*/copyright\n",
    "etc/apt/apt.conf.d/slim": 'Acquire::Languages "none";\nAcquire::GzipIndexes "true";\n'
    'APT::Install-Recommends "false";\nAPT::AutoRemove::SuggestsImportant "false";\n'
    'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
    'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb || true"; };\n',
    # Services must not start while an image is built.
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
}


def write_layer(target: pathlib.Path, tick: Callable[[str], None]) -> None:
    """
    Create the root file system and write it as a layer.

    Raises:
        TestbedError: debootstrap failed; the message ends with its output.
    """
    rootfs = paths.IMAGES / "debian-rootfs"
    teardown.unmount_below(rootfs)  # a debootstrap that was killed leaves /proc there
    shutil.rmtree(rootfs, ignore_errors=True)
    rootfs.mkdir(parents=True)
    argv = ["debootstrap", "--variant=minbase", CODENAME, str(rootfs)]
    if mirror := machine.host_mirror(CODENAME):
        argv.append(mirror)
    run_long(argv, log=paths.BUILD_LOGS / "debootstrap.log", tick=tick)
    _slim(rootfs)
    layers.write_rootfs_layer(target, rootfs, leave_out=("proc/*", "sys/*", "dev/*"))
    shutil.rmtree(rootfs)


def _slim(rootfs: pathlib.Path) -> None:
    for name in _DROPPED:
        for path in (rootfs / name).rglob("*"):
            if (path.is_file() or path.is_symlink()) and path.name != "copyright":
                path.unlink()
    for name in _EMPTIED:
        for path in (rootfs / name).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
        (rootfs / name).mkdir(parents=True)
    for name, text in FILES.items():
        path = rootfs / name
        path.write_text(text, encoding="ascii")
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    # debootstrap copies the machine's host name and resolver, which do not belong in an image.
    for name in ("etc/hostname", "etc/resolv.conf"):
        (rootfs / name).unlink(missing_ok=True)
