"""
Builds the programs of the cluster from Go modules, once, into the cache.

A build is stored under the hash of what decides its content: go.mod, go.sum, package and flags. The final
rename makes a build either whole or absent, so an interrupted one is simply done again; Go's own build
cache keeps what was compiled until then.
"""

import hashlib
import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

from testbed import layout, machine, paths
from testbed.commands import run, run_long

_KUBE_VERSION = (
    "-X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 "
    "-X k8s.io/component-base/version.gitMinor=36 -X k8s.io/component-base/version.gitTreeState=clean "
    "-X k8s.io/client-go/pkg/version.gitVersion=v1.36.3"
)


@dataclass(frozen=True, slots=True)
class Binary:
    """
    One program: the module folder it is built in, its main package, and what differs from the usual flags.

    cold_s: seconds that a build with an empty Go cache took on two cores, for the announcement only.
    """

    name: str
    family: str
    package: str
    cold_s: int
    ldflags: str = ""
    cgo: bool = False
    tags: str = ""


def _kubernetes(name: str, cold_s: int) -> Binary:
    return Binary(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", cold_s, ldflags=_KUBE_VERSION)


# In the order in which a cluster needs them. Kubernetes and vcluster share one module: it halves the time.
BINARIES: tuple[Binary, ...] = (
    Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3", 45),
    _kubernetes("kube-apiserver", 384),
    _kubernetes("kube-controller-manager", 66),
    _kubernetes("kube-scheduler", 20),
    _kubernetes("kubelet", 87),
    _kubernetes("kube-proxy", 33),
    _kubernetes("kubectl", 49),
    Binary("containerd", "containerd", "github.com/containerd/containerd/v2/cmd/containerd", 100),
    Binary(
        "containerd-shim-runc-v2",
        "containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        9,
    ),
    Binary("ctr", "containerd", "github.com/containerd/containerd/v2/cmd/ctr", 8),
    Binary("coredns", "coredns", "github.com/coredns/coredns", 185),
    Binary("local-path-provisioner", "local-path", "github.com/rancher/local-path-provisioner", 56),
    Binary("metrics-server", "metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", 106),
    Binary("traefik", "traefik", "github.com/traefik/traefik/v3/cmd/traefik", 400),
    Binary(
        "vcluster",
        "kubernetes",
        "github.com/loft-sh/vcluster/cmd/vcluster",
        241,
        ldflags=f"-X main.version={layout.VCLUSTER_VERSION}",
    ),
    # Its sqlite needs cgo; a static program runs in any image.
    Binary(
        "kine",
        "kine",
        "github.com/k3s-io/kine",
        114,
        ldflags="-linkmode external -extldflags -static",
        cgo=True,
        tags="netgo,osusergo,sqlite_omit_load_extension",
    ),
    Binary("helm", "helm", "helm.sh/helm/v3/cmd/helm", 60),
    Binary("gotty", "gotty", "github.com/sorenisanerd/gotty", 6, ldflags="-X main.Version=v1.5.0"),
)


def missing() -> list[Binary]:
    """
    What must be built.
    """
    return [binary for binary in BINARIES if not stored(binary).exists()]


def stored(binary: Binary) -> pathlib.Path:
    """
    Where a program is kept, under the hash of what decides its content.
    """
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((paths.GO_MODULES / binary.family / name).read_bytes())
    digest.update("\0".join(_flags(binary)).encode())
    return paths.BIN / "store" / f"{binary.family}-{digest.hexdigest()[:16]}" / binary.name


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


def build(binary: Binary, go: pathlib.Path, tick: Callable[[str], None]) -> None:
    """
    Build one program.

    Raises:
        TestbedError: the compiler failed; the message ends with its output.
    """
    target = stored(binary)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{binary.name}.tmp")
    argv = [str(go), "build", *_flags(binary)]
    argv[-1:-1] = ["-o", str(draft)]
    environment = {
        **os.environ,
        "CGO_ENABLED": "1" if binary.cgo else "0",
        # Never fetch another toolchain, never change go.mod, never mind a go.work of a parent folder.
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
    }
    log = paths.BUILD_LOGS / f"{binary.name}.log"
    run_long(argv, log=log, tick=tick, env=environment, cwd=paths.GO_MODULES / binary.family)
    draft.replace(target)


def module_folder(go: pathlib.Path, family: str, module: str) -> pathlib.Path:
    """
    The unpacked source of a module that a family pins, fetched if need be.
    """
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    folder = paths.GO_MODULES / family
    run([go, "-C", folder, "mod", "download", module], env=environment, timeout_s=300)
    answer = run([go, "-C", folder, "list", "-m", "-f", "{{.Dir}}", module], env=environment)
    return pathlib.Path(answer.stdout.strip())


def toolchain(tick: Callable[[str], None]) -> pathlib.Path:
    """
    The Go command, installed into the cache if the machine has none that is new enough.
    """
    return machine.ensure_go(tick)


def _flags(binary: Binary) -> list[str]:
    tags = ["-tags", binary.tags] if binary.tags else []
    ldflags = f"-s -w {binary.ldflags}".strip()
    return ["-trimpath", "-buildvcs=false", *tags, "-ldflags", ldflags, binary.package]
