"""
The declared set of tests: those that Kubernetes lists as conformance tests of a version, less those that `choice.yaml`
excludes.

The list is `test/conformance/testdata/conformance.yaml` in the source of Kubernetes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conformance.errors import ConformanceError

FILE = Path(__file__).resolve().parent / "choice.yaml"
SERIAL = "serial"
# What a test does to nodes or to the whole cluster, so that none may run beside it.
_SERIAL_MARKS = ("[Serial]", "[Disruptive]")


@dataclass(frozen=True, slots=True)
class Known:
    """Some tests, and the reason why they are not run, or why they fail."""

    reason: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """
    What `choice.yaml` says. Tests have their full names.

    excluded: not run, and not part of the declared set. failing: run, and known to fail.
    """

    order: tuple[str, ...]
    excluded: tuple[Known, ...]
    failing: tuple[Known, ...]


@dataclass(frozen=True, slots=True)
class Portion:
    """Tests that run together: those of one special interest group, or the serial ones of all groups."""

    name: str
    tests: tuple[str, ...]


def read_choice(file: Path = FILE) -> Choice:
    """
    Raises:
        ConformanceError: the file is not as it should be.
    """
    data = yaml.safe_load(file.read_text("utf-8"))
    try:
        return Choice(tuple(data["order"]), _read_known(data["excluded"]), _read_known(data["failing"]))
    except (KeyError, TypeError) as error:
        raise ConformanceError(f"{file}: {error!r}; it needs `order`, `excluded` and `failing`") from error


def _read_known(entries: Iterable[Mapping[str, Any]] | None) -> tuple[Known, ...]:
    return tuple(Known(" ".join(entry["reason"].split()), tuple(entry["tests"])) for entry in entries or ())


def parse_list(text: str) -> list[str]:
    """
    The full names in Kubernetes' list of conformance tests.

    >>> parse_list("- codename: '[sig-auth] A works [Conformance]'")
    ['[sig-auth] A works [Conformance]']
    """
    return [str(entry["codename"]) for entry in yaml.safe_load(text)]


def declare(listed: Iterable[str], choice: Choice) -> list[Portion]:
    """
    The declared set in portions, in the order of `choice`.

    Raises:
        ConformanceError: `choice` names a test that is not in the list, or names one twice, or lacks a portion.
    """
    every = list(listed)
    named = [test for known in (*choice.excluded, *choice.failing) for test in known.tests]
    if unknown := sorted(set(named) - set(every)):
        raise ConformanceError(f"{FILE.name} names tests that this version of Kubernetes does not have: {unknown}")
    if twice := sorted({test for test in named if named.count(test) > 1}):
        raise ConformanceError(f"{FILE.name} names tests twice: {twice}")
    excluded = {test for known in choice.excluded for test in known.tests}
    found: dict[str, list[str]] = {name: [] for name in choice.order}
    for test in every:
        if test not in excluded:
            found.setdefault(portion_of(test), []).append(test)
    if missing := sorted(set(found) - set(choice.order)):
        raise ConformanceError(f"{FILE.name}: `order` lacks {missing}")
    return [Portion(name, tuple(sorted(tests))) for name, tests in found.items() if tests]


def portion_of(test: str) -> str:
    """
    >>> portion_of("[sig-auth] A works [Conformance]"), portion_of("[sig-apps] B [Serial] works [Conformance]")
    ('sig-auth', 'serial')
    """
    if any(mark in test for mark in _SERIAL_MARKS):
        return SERIAL
    return group_of(test)


def group_of(test: str) -> str:
    """
    The special interest group of a test.

    >>> group_of("[sig-apps] B [Serial] works [Conformance]")
    'sig-apps'
    """
    return test.partition("]")[0].lstrip("[")
