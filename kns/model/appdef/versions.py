"""Kubernetes versions of virtual clusters: which ones there are, and what in an AppDef asks for another."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kns.model.errors import InvalidInputError
from kns.model.reading.problem import Problem

# The newest tag of the maker's `kubernetes` image per minor; the first is the default.
DEFAULT_VERSIONS = "v1.36.0,v1.35.0,v1.34.0,v1.33.4"

_FULL_VERSION = re.compile(r"v1\.[0-9]{1,2}\.[0-9]{1,3}")
_ASKED_VERSION = re.compile(r"v?(1\.[0-9]{1,2})(\.[0-9]{1,3})?")


def parse_versions(text: str) -> dict[str, str]:
    """
    Full version by minor, the default last.

    >>> parse_versions("v1.36.0, v1.35.2")
    {'v1.35': 'v1.35.2', 'v1.36': 'v1.36.0'}

    Raises:
        InvalidInputError: not a list of full versions, or one minor twice.
    """
    versions = [part.strip() for part in text.split(",") if part.strip()]
    if not versions or not all(_FULL_VERSION.fullmatch(version) for version in versions):
        raise InvalidInputError("", "must be a comma list of full versions like v1.36.0, the default first")
    by_minor = {version.rpartition(".")[0]: version for version in reversed(versions)}
    if len(by_minor) != len(versions):
        raise InvalidInputError("", "names a minor version twice; give one full version per minor")
    return by_minor


def find_unsupported(appdef: Any, supported: Iterable[str]) -> list[Problem]:
    """
    Commands of an AppDef as written, checked or not, that want a version beside `supported` (minors like `v1.36`).

    A text that is no version at all is left to the check of the AppDef.
    """
    minors = tuple(supported)
    commands = appdef.get("commands") if isinstance(appdef, Mapping) else None
    problems = []
    for key, command in commands.items() if isinstance(commands, Mapping) else ():
        asked = _read_asked(command)
        if asked and asked not in minors:
            location = ("commands", key, "nested_kubernetes", "kubernetes_version")
            problems.append(Problem(location, f"{asked} is not supported here; supported: {', '.join(minors)}"))
    return problems


def _read_asked(command: Any) -> str | None:
    for key in ("nested_kubernetes", "nestedkubernetes"):
        nested = command.get(key) if isinstance(command, Mapping) else None
        version = nested.get("kubernetes_version") if isinstance(nested, Mapping) else None
        match = _ASKED_VERSION.fullmatch(version) if isinstance(version, str) else None
        if match:
            return f"v{match[1]}"
    return None
