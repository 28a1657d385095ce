"""
Builds the programs of a run from Go modules: the tests, ginkgo, and the programs in the images that the tests start.

They are built like those of the testbed, in its module, so that a package is compiled once for both. The module needs
more modules than the testbed's; `go/` has them, with their hashes.
"""

import hashlib
import pathlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from testbed import binaries, machine, modules, paths
from testbed.commands import run_long

_HERE = pathlib.Path(__file__).resolve().parent / "go"
HOME = paths.CACHE / "conformance"
KUBERNETES = "k8s.io/kubernetes"
TESTS = "e2e.test"


@dataclass(frozen=True, slots=True)
class Program:
    """One program. `is_test`: its package has tests only, so `go test -c` builds it."""

    name: str
    package: str
    is_test: bool = False


PROGRAMS: tuple[Program, ...] = (
    Program("ginkgo", "github.com/onsi/ginkgo/v2/ginkgo"),
    Program("agnhost", f"{KUBERNETES}/test/images/agnhost"),
    Program("nonewprivs", f"{KUBERNETES}/test/images/nonewprivs"),
    Program("sample-apiserver", "k8s.io/sample-apiserver"),
    Program(TESTS, f"{KUBERNETES}/test/e2e", is_test=True),
)


def ensure(tick: Callable[[str], None]) -> dict[str, pathlib.Path]:
    """
    Build the missing programs. Returns the path of each.

    Raises:
        TestbedError: the compiler failed; the message ends with its output.
    """
    wanted = {program.name: stored(program) for program in PROGRAMS}
    missing = [program for program in PROGRAMS if not wanted[program.name].exists()]
    if missing:
        go = machine.ensure_go(tick)
        module, modfile = modules.ensure(go), _ensure_modfile(modules.ensure(go))
        for program in missing:
            _build(go, module, modfile, program, tick)
    return wanted


def kubernetes_source(tick: Callable[[str], None]) -> pathlib.Path:
    """The source of Kubernetes, in the testbed's version."""
    return modules.source(machine.ensure_go(tick), KUBERNETES)


def stored(program: Program) -> pathlib.Path:
    """The path of a program in the cache, in a folder that is named after the hash of what decides its content."""
    digest = hashlib.sha256(f"{modules.digest()}\0{binaries.FLAGS}\0{PROGRAMS}".encode())
    for file in sorted(_HERE.iterdir()):
        digest.update(file.read_bytes())
    return HOME / "bin" / digest.hexdigest()[:16] / program.name


def _ensure_modfile(module: pathlib.Path) -> pathlib.Path:
    """The testbed's go.mod and go.sum with what the tests need in addition. Paths in it are relative to the module."""
    target = HOME / "go" / f"{module.name}.mod"
    target.parent.mkdir(parents=True, exist_ok=True)
    for kind, suffix in (("mod", ".mod"), ("sum", ".sum")):
        text = (module / f"go.{kind}").read_text("utf-8") + (_HERE / f"more.{kind}").read_text("utf-8")
        target.with_suffix(suffix).write_text(text, "utf-8")
    return target


def _build(
    go: pathlib.Path, module: pathlib.Path, modfile: pathlib.Path, program: Program, tick: Callable[[str], None]
) -> None:
    target = stored(program)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{program.name}.tmp")
    argv = [str(go), *(("test", "-c", "-vet=off") if program.is_test else ("build",)), "-v", f"-modfile={modfile}"]
    argv += ["-o", str(draft), *binaries.FLAGS, f"-ldflags=-s -w {binaries.KUBE_VERSION}", program.package]
    log = paths.BUILD_LOGS / f"conformance-{program.name}.log"
    environment = {**modules.environment(), "CGO_ENABLED": "0"}
    run_long(argv, log=log, tick=lambda newest: tick(f"{program.name}: {newest}"), env=environment, cwd=module)
    draft.replace(target)


def forget_old() -> None:
    """Remove the programs of other revisions, which are large."""
    current = stored(PROGRAMS[0]).parent
    for folder in current.parent.iterdir():
        if folder != current:
            shutil.rmtree(folder, ignore_errors=True)
