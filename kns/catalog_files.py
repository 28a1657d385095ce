"""
The files of a catalogue directory: which ones there are, and the JSON in them.

The scheduler and `kns catalog check` read by this and nothing else, so that they agree on every file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kns.model.catalog.catalog import CatalogProblem
from kns.model.reading.problem import Problem
from kns.model.reading.strict_json import NotJsonError, decode_json, decode_text


@dataclass(frozen=True, slots=True)
class CatalogFiles:
    """By name relative to the directory (`apps/hello.json`). What is in `texts` and not in `files` is no JSON."""

    files: dict[str, Any]
    texts: dict[str, str]
    problems: list[CatalogProblem]


def list_files(directory: Path) -> list[Path]:
    return sorted([*directory.glob("*.json"), *directory.glob("apps/*.json")])


def file_name(directory: Path, file: Path) -> str:
    """
    >>> file_name(Path("/etc/kns/catalog"), Path("/etc/kns/catalog/apps/hello.json"))
    'apps/hello.json'
    """
    return file.relative_to(directory).as_posix()


def read_files(directory: Path) -> CatalogFiles:
    """Every file; one that cannot be read or decoded is among the problems."""
    found = CatalogFiles({}, {}, [])
    for file in list_files(directory):
        name = file_name(directory, file)
        try:
            found.texts[name] = decode_text(file.read_bytes())
            decoded = decode_json(found.texts[name])
        except OSError as error:
            found.problems.append(CatalogProblem(name, Problem((), f"cannot be read: {error.strerror}")))
        except NotJsonError as error:
            found.problems.append(CatalogProblem(name, error.problem))
        else:
            found.files[name] = decoded.data
            found.problems.extend(CatalogProblem(name, problem) for problem in decoded.problems)
    return found
