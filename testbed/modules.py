"""
Prepares the Go module in which all programs of the cluster are built.

One go.mod selects one version of every library, so that a library shared by several programs is compiled once. Packages
that the testbed never runs, such as SDKs of clouds, are replaced by the stubs in `stubs/`. Go accepts no `-overlay` for
files of its module cache; therefore each module that has a stub is copied into the testbed's cache and used through a
`replace` line.
"""

import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Collection, Iterable, Mapping

from testbed import paths
from testbed.commands import run
from testbed.errors import TestbedError

# A stub of this name takes the place of all files of its package; one that begins with `extra_` is added to them; any
# other replaces the file of its name.
WHOLE_PACKAGE = "whole_package.go"
ADDED = "extra_"

# Never needed to compile a program, and large.
_NOT_COPIED = shutil.ignore_patterns("*_test.go", "docs", "integration", "conformance", "e2e")


def digest() -> str:
    """
    SHA-256, in hex, of everything that decides the source code of the programs.
    """
    found = hashlib.sha256()
    files = [paths.GO_MODULE / "go.mod", paths.GO_MODULE / "go.sum", *_stub_files()]
    for file in files:
        found.update(f"{file.relative_to(paths.SOURCE)}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def environment() -> dict[str, str]:
    """
    The environment of every Go command.

    Go fetches no other toolchain, changes no go.mod and ignores a go.work of a parent folder. The compiler collects
    garbage less often, which saves a fifth of its CPU time and needs up to 0.6 GiB per compilation.
    """
    fixed = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOGC": "400"}
    return {**os.environ, **fixed}


def ensure(go: pathlib.Path) -> pathlib.Path:
    """
    Write the module into the cache, unless it is there. Returns its folder.

    Raises:
        TestbedError: a module could not be downloaded, or a stub belongs to no module of go.mod.
    """
    target = paths.GO_SOURCE / digest()[:16]
    if target.exists():
        return target
    go_mod = (paths.GO_MODULE / "go.mod").read_text(encoding="utf-8")
    stubs = by_module([file.relative_to(paths.STUBS) for file in _stub_files()], requirements(go_mod))
    go_in_module: list[str | pathlib.Path] = [go, "-C", paths.GO_MODULE]
    run([*go_in_module, "mod", "download", *stubs], env=environment(), timeout_s=600)
    listing = run([*go_in_module, "list", "-m", "-f", "{{.Path}} {{.Dir}}", *stubs], env=environment())
    sources = {module: folder for module, _, folder in (line.partition(" ") for line in listing.stdout.splitlines())}
    # Copies of other revisions of go.mod and of the stubs.
    shutil.rmtree(paths.GO_SOURCE, ignore_errors=True)
    draft = target.with_suffix(".tmp")
    for module, files in stubs.items():
        shutil.copytree(sources[module], draft / module, ignore=_NOT_COPIED, copy_function=shutil.copyfile)
        for file in files:
            lay(paths.STUBS / file, draft / file)
    (draft / "go.mod").write_text(with_copies(go_mod, stubs), encoding="utf-8")
    shutil.copyfile(paths.GO_MODULE / "go.sum", draft / "go.sum")
    draft.rename(target)
    return target


def source(go: pathlib.Path, module: str) -> pathlib.Path:
    """
    The folder of a module's source as downloaded, without stubs, in the version of go.mod.

    Raises:
        TestbedError: it could not be downloaded, or go.mod does not require it.
    """
    in_module: list[str | pathlib.Path] = [go, "-C", paths.GO_MODULE]
    run([*in_module, "mod", "download", module], env=environment(), timeout_s=600)
    return pathlib.Path(run([*in_module, "list", "-m", "-f", "{{.Dir}}", module], env=environment()).stdout.strip())


def requirements(go_mod: str) -> set[str]:
    r"""
    The paths of the modules that a go.mod requires.

    >>> sorted(requirements("require (\n\ta.io/b v1.0.0\n\ta.io/c/v2 v2.1.0 // indirect\n)\n"))
    ['a.io/b', 'a.io/c/v2']
    """
    return set(re.findall(r"^\t(\S+) v\S+(?: // indirect)?$", go_mod, re.MULTILINE))


def with_copies(go_mod: str, modules: Iterable[str]) -> str:
    r"""
    A go.mod that uses the copies of these modules, each in the folder of its path.

    >>> with_copies("module m\n\nreplace (\n\ta.io/b => a.io/b v1.2.0\n)\n", ["a.io/b"])
    'module m\n\nreplace (\n)\nreplace a.io/b => ./a.io/b\n'
    """
    for module in modules:
        go_mod = re.sub(rf"^\t{re.escape(module)} => .*\n", "", go_mod, flags=re.MULTILINE)
        go_mod += f"replace {module} => ./{module}\n"
    return go_mod


def by_module(stubs: Collection[pathlib.PurePath], required: Collection[str]) -> Mapping[str, list[pathlib.PurePath]]:
    """
    Group the paths of stubs by the module that they belong to, which is the longest that their path begins with.

    Raises:
        TestbedError: a stub belongs to no required module.
    """
    found: dict[str, list[pathlib.PurePath]] = {}
    for stub in stubs:
        module = next((str(parent) for parent in stub.parents if str(parent) in required), None)
        if module is None:
            raise TestbedError(f"stub {stub} belongs to no module that testbed/go/go.mod requires; remove or move it")
        found.setdefault(module, []).append(stub)
    return found


def lay(stub: pathlib.Path, target: pathlib.Path) -> None:
    """
    Put a stub in its place in the copy of a module.

    Raises:
        TestbedError: the module has no such package or file; it was probably updated.
    """
    package = list(target.parent.glob("*.go"))
    added = stub.name.startswith(ADDED)
    if not package or (not added and stub.name != WHOLE_PACKAGE and target not in package):
        raise TestbedError(f"stub {stub} has no counterpart in its module; adapt it to the module's version")
    if stub.name == WHOLE_PACKAGE:
        for file in package:
            file.unlink()
    shutil.copyfile(stub, target)


def _stub_files() -> list[pathlib.Path]:
    return sorted(paths.STUBS.rglob("*.go"))
