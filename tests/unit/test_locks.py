"""
The lock files agree with pyproject.toml and with each other, and pin every package by hash.

`make lock` writes them. The tests read the files as pip does; nothing is downloaded.
"""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
GROUPS = PROJECT["dependency-groups"]
COMMAND_LINE: list[str] = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
RUNTIME = [*COMMAND_LINE, *EXTRAS["server"]]  # of the scheduler's image
ANYWHERE = [*RUNTIME, *EXTRAS["posit"]]
DEV = [entry for entry in GROUPS["dev"] if isinstance(entry, str)]

RUNTIME_LOCK = "requirements.lock"
BUILD_LOCK = "requirements-build.lock"
DEV_LOCK = "requirements-dev.lock"
LOCKS = [RUNTIME_LOCK, BUILD_LOCK, DEV_LOCK]

# Packages of this repository.
OWN = {"kns", "demo", "testbed", "bench", "conformance", "tests", "runner", "conftest"}


def read_entries(name: str) -> list[str]:
    """Entries of a lock file, each with its hashes on one line."""
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read_pins(name: str) -> dict[str, Version]:
    """Canonical package name to pinned version."""
    pins: dict[str, Version] = {}
    for entry in read_entries(name):
        requirement = Requirement(entry.partition(" --hash")[0])
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", entry
        pins[canonicalize_name(requirement.name)] = Version(specifier.version)
    return pins


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_has_a_hash_and_nothing_else(name: str) -> None:
    """An index URL would be that of the machine that wrote the file."""
    assert read_entries(name)
    for entry in read_entries(name):
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.]+( ; [^-]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", entry), entry


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        (RUNTIME_LOCK, RUNTIME),
        (BUILD_LOCK, PROJECT["build-system"]["requires"]),
        (DEV_LOCK, [*ANYWHERE, *GROUPS["build"], *DEV]),
    ],
)
def test_every_requirement_is_pinned_within_its_range(name: str, requirements: list[str]) -> None:
    pins = read_pins(name)
    for requirement in map(Requirement, requirements):
        assert canonicalize_name(requirement.name) in pins, f"{requirement} is not in {name}: run `make lock`"
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, {version}: run `make lock`"


@pytest.mark.parametrize("name", [RUNTIME_LOCK, BUILD_LOCK])
def test_what_is_developed_with_is_what_is_shipped(name: str) -> None:
    development = read_pins(DEV_LOCK)
    assert read_pins(name).items() <= development.items()


def test_the_build_group_is_the_build_system() -> None:
    """The image and `venv.sh` install the group and build without isolation."""
    assert GROUPS["build"] == PROJECT["build-system"]["requires"]


@pytest.mark.parametrize("path", ["Dockerfile", "demo/venv.sh"])
def test_pip_downloads_only_what_is_pinned_by_hash(path: str) -> None:
    text = (ROOT / path).read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(r"pip\"?(?: --[\w-]+)* (?:install|wheel) [^&\n]*", text)
    assert commands
    for command in commands:
        assert "--no-index --no-deps" in command or "--require-hashes --only-binary :all:" in command, command


def test_no_index_is_written_to_the_lock_files() -> None:
    """Neither the option nor a URL: the index is that of whoever installs."""
    for name in LOCKS:
        assert "://" not in (ROOT / name).read_text("utf-8")


# --- imports


def list_imports(*folders: str) -> set[str]:
    """Names of the top-level modules of other projects that the code below these folders imports."""
    found = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - OWN


@pytest.mark.parametrize(
    ("folders", "requirements"),
    [
        (["kns/cli", "kns/client", "kns/model"], COMMAND_LINE),
        (["kns"], ANYWHERE),
        (["demo", "testbed", "bench", "conformance", "tests"], [*ANYWHERE, *DEV]),
    ],
)
def test_every_import_is_declared(folders: list[str], requirements: list[str]) -> None:
    """What only another package brings along can vanish with the next version of that package."""
    declared = {canonicalize_name(Requirement(requirement).name) for requirement in requirements}
    distributions = packages_distributions()
    undeclared = {
        module
        for module in list_imports(*folders)
        if not declared & {canonicalize_name(name) for name in distributions.get(module, ())}
    }
    assert undeclared == set()
