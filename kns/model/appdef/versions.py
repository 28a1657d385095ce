"""
Kubernetes versions of virtual clusters: which versions are supported, and which commands of an AppDef need others.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kns.model.errors import InvalidInputError
from kns.model.reading.problem import Problem

# The newest tag of the `loft-sh/kubernetes` image per minor version. The first is the default.
DEFAULT_VERSIONS = "v1.36.0,v1.35.0,v1.34.0,v1.33.4"
NESTED_KEYS = ("nested_kubernetes", "nestedkubernetes")  # the key and its old spelling

_VERSION = re.compile(r"v?(1\.[0-9]{1,2})(\.[0-9]{1,3})?")


def read_minor(text: str) -> str | None:
    """
    The minor version in a requested version; kns chooses the patch version. None if `text` is not a version.

    >>> read_minor("v1.36"), read_minor("1.28.11"), read_minor("latest")
    ('v1.36', 'v1.28', None)
    """
    match = _VERSION.fullmatch(text)
    return f"v{match[1]}" if match else None


def parse_versions(text: str) -> dict[str, str]:
    """
    The full version of each minor version, the default last.

    >>> parse_versions("v1.36.0, v1.35.2")
    {'v1.35': 'v1.35.2', 'v1.36': 'v1.36.0'}

    Raises:
        InvalidInputError: `text` is not a list of full versions, or has a minor version twice.
    """
    versions = [part.strip() for part in text.split(",") if part.strip()]
    if not versions or not all(_is_full(version) for version in versions):
        raise InvalidInputError("", "must be a comma-separated list of full versions like v1.36.0, the default first")
    by_minor = {version.rpartition(".")[0]: version for version in reversed(versions)}
    if len(by_minor) != len(versions):
        raise InvalidInputError("", "has a minor version twice; give one full version per minor version")
    return by_minor


def _is_full(version: str) -> bool:
    match = _VERSION.fullmatch(version)
    return match is not None and match[2] is not None and version.startswith("v")


def find_unsupported(appdef: Any, supported: Iterable[str]) -> list[Problem]:
    """
    The commands of a decoded AppDef that need a version outside `supported` (minor versions like `v1.36`).

    The AppDef need not be valid. A text that is not a version is ignored, because the check of the AppDef reports it.
    """
    minors = tuple(supported)
    commands = appdef.get("commands") if isinstance(appdef, Mapping) else None
    problems = []
    for key, command in commands.items() if isinstance(commands, Mapping) else ():
        requested = _read_requested(command)
        if requested and requested not in minors:
            location = ("commands", key, "nested_kubernetes", "kubernetes_version")
            problems.append(Problem(location, f"{requested} is not supported here; supported: {', '.join(minors)}"))
    return problems


def _read_requested(command: Any) -> str | None:
    for key in NESTED_KEYS:
        nested = command.get(key) if isinstance(command, Mapping) else None
        version = nested.get("kubernetes_version") if isinstance(nested, Mapping) else None
        if isinstance(version, str) and (minor := read_minor(version)):
            return minor
    return None
