"""
Builds the programs of the cluster from Go modules, once, into the cache.

All programs of one batch are built by one `go build`, so that both cores work while a program is linked. A program is
stored under the hash of everything that decides its content: go.mod, go.sum, the stubs and the table of programs. The
final rename makes a program either whole or absent. After an interruption Go's build cache still has every package that
was compiled.
"""

import hashlib
import pathlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed import layout, modules, paths
from testbed.commands import run_long

KUBE_VERSION = (
    "-X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 "
    "-X k8s.io/component-base/version.gitMinor=36 -X k8s.io/component-base/version.gitTreeState=clean "
    "-X k8s.io/client-go/pkg/version.gitVersion=v1.36.3"
)

# The same for all programs, because Go's build cache shares a package only between builds with the same flags. The tags
# select the same files with and without cgo; kine is the only program that has cgo. Debug information would be compiled
# and then dropped by the linker (-s -w).
FLAGS = (
    "-trimpath",
    "-buildvcs=false",
    "-tags=netgo,osusergo,sqlite_omit_load_extension",
    "-gcflags=all=-dwarf=false",
)

# All programs, nothing in the caches, on two cores; README.md has the table.
BUILD_MINUTES = 15


@dataclass(frozen=True, slots=True)
class Binary:
    """
    One program: its main package, and what differs from the usual flags.

    batch: programs of the same batch are built by one `go build`.
    """

    name: str
    package: str
    ldflags: str = ""
    cgo: bool = False
    batch: str = "cluster"


def _kubernetes(name: str) -> Binary:
    return Binary(name, f"k8s.io/kubernetes/cmd/{name}", ldflags=KUBE_VERSION)


BINARIES: tuple[Binary, ...] = (
    # Its SQLite needs cgo; a static program runs in any image. It is built first, while the other modules are
    # downloaded.
    Binary(
        "kine",
        "github.com/k3s-io/kine",
        ldflags="-linkmode external -extldflags -static",
        cgo=True,
        batch="kine",
    ),
    Binary("etcd", "go.etcd.io/etcd/server/v3"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    _kubernetes("kubectl"),
    Binary("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
    Binary("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
    Binary("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    Binary("coredns", "github.com/coredns/coredns"),
    Binary("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    Binary("traefik", "github.com/traefik/traefik/v3/cmd/traefik"),
    Binary(
        "vcluster",
        "github.com/loft-sh/vcluster/cmd/vcluster",
        ldflags=f"-X main.version={layout.VCLUSTER_VERSION}",
    ),
    Binary("helm", "helm.sh/helm/v3/cmd/helm"),
    Binary("gotty", "github.com/sorenisanerd/gotty", ldflags="-X main.Version=v1.5.0"),
    # It imports logrus under an old spelling, and Go refuses both spellings in one build.
    Binary("local-path-provisioner", "github.com/rancher/local-path-provisioner", batch="local-path"),
)


def missing() -> list[Binary]:
    """
    The programs that must be built.
    """
    return [binary for binary in BINARIES if not stored(binary).exists()]


def batches(wanted: Sequence[Binary]) -> list[list[Binary]]:
    """
    Group programs by batch, in the order of the table.

    >>> [[binary.name for binary in batch] for batch in batches(BINARIES[:3])]
    [['kine'], ['etcd', 'kube-apiserver']]
    """
    found: dict[str, list[Binary]] = {}
    for binary in wanted:
        found.setdefault(binary.batch, []).append(binary)
    return list(found.values())


def stored(binary: Binary) -> pathlib.Path:
    """
    The path of a program in the cache, in a folder that is named after the hash of what decides its content.

    All programs share the folder: containerd looks for its shim beside itself when it finds containers of an earlier
    run.
    """
    table = "\0".join((*FLAGS, *(repr(known) for known in BINARIES)))
    digest = hashlib.sha256(f"{modules.digest()}\0{table}".encode()).hexdigest()
    return paths.BIN / "store" / digest[:16] / binary.name


def link(binary: Binary) -> None:
    """
    Point bin/NAME at the stored program, in one step.
    """
    target, shortcut = stored(binary), paths.binary(binary.name)
    if shortcut.is_symlink() and shortcut.resolve() == target.resolve():
        return
    draft = shortcut.with_name(f".{binary.name}.tmp")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(shortcut)


def download(go: pathlib.Path, batch: Sequence[Binary], tick: Callable[[str], None]) -> int:
    """
    Download the modules that a batch is compiled from. Returns the number of packages.

    Raises:
        TestbedError: a module could not be downloaded, or its hash is not the one in go.sum.
    """
    log = paths.BUILD_LOGS / f"packages-{batch[0].batch}.log"
    argv = [str(go), "list", "-deps", FLAGS[2], *(binary.package for binary in batch)]
    run_long(argv, log=log, tick=tick, env=_environment(batch), cwd=modules.ensure(go))
    return sum(not line.startswith("go: ") for line in log.read_text(encoding="utf-8").splitlines())


def build(go: pathlib.Path, batch: Sequence[Binary], packages: int, tick: Callable[[str], None]) -> None:
    """
    Build the programs of a batch.

    Args:
        packages: how many packages there are, for the progress.

    Raises:
        TestbedError: the compiler failed; the message ends with its output.
    """
    drafts = paths.BIN / f".{batch[0].batch}.tmp"
    shutil.rmtree(drafts, ignore_errors=True)
    drafts.mkdir(parents=True)
    log = paths.BUILD_LOGS / f"{batch[0].batch}.log"
    # -v names each package when its compilation starts; packages in Go's build cache are not named.
    argv = [str(go), "build", "-v", "-o", f"{drafts}/", *FLAGS, *_ldflags_by_package(batch)]
    argv += [binary.package for binary in batch]

    def progress(newest: str) -> None:
        tick(f"package {len(log.read_bytes().splitlines())} of at most {packages}: {newest}")

    run_long(argv, log=log, tick=progress, env=_environment(batch), cwd=modules.ensure(go))
    for binary in batch:
        target = stored(binary)
        target.parent.mkdir(parents=True, exist_ok=True)
        (drafts / _output(binary)).replace(target)
    drafts.rmdir()


def _environment(batch: Sequence[Binary]) -> dict[str, str]:
    return {**modules.environment(), "CGO_ENABLED": "1" if batch[0].cgo else "0"}


def _ldflags(binary: Binary) -> str:
    return f"-s -w {binary.ldflags}".strip()


def _ldflags_by_package(batch: Sequence[Binary]) -> list[str]:
    return [f"-ldflags={binary.package}={_ldflags(binary)}" for binary in batch]


def _output(binary: Binary) -> str:
    """
    The file name that `go build` gives a program: the last element of its package that is not a version.

    >>> _output(BINARIES[1]), _output(BINARIES[2])
    ('server', 'kube-apiserver')
    """
    path = pathlib.PurePosixPath(binary.package)
    return path.parent.name if path.name.startswith("v") and path.name[1:].isdigit() else path.name
