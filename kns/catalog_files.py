"""
Read the JSON files of a catalogue directory.

The scheduler and `kns catalog check` both use this module, so they see the same files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kns.model.catalog.catalog import CatalogProblem
from kns.model.reading.problem import Problem
from kns.model.reading.strict_json import NotJsonError, decode_json, decode_text


@dataclass(frozen=True, slots=True)
class CatalogFiles:
    """
    The files by name relative to the directory (`apps/hello.json`). A file in `texts` but not in `files` is not JSON.
    """

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
    """Read every file. A file that cannot be read or decoded causes a problem."""
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
