"""`job-json-overrides`: JSON values that replace parts of a Kubernetes Job, by JSON pointer (RFC 6901)."""

import copy
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kns.launcher.config.problems import Problem
from kns.model.errors import InvalidInputError

MAX_OVERRIDES = 200  # of one user; each is a file
MAX_POINTER_DEPTH = 64  # keys of one pointer; a Kubernetes Job has about 15 levels
MAX_VALUE_BYTES = 1 << 20  # a Kubernetes object has at most 1.5 MiB

_PAIR = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')

# What the plugin reads back from a Job after a restart, or what the pod cannot run without.
PROTECTED = (
    "/apiVersion",
    "/kind",
    "/metadata",
    "/metadata/generateName",
    "/metadata/labels",
    "/metadata/annotations",
    "/spec",
    "/spec/template",
    "/spec/template/metadata",
    "/spec/template/metadata/annotations",
    "/spec/template/metadata/annotations/name",
    "/spec/template/metadata/annotations/user",
    "/spec/template/metadata/annotations/service_ports",
    "/spec/template/spec",
    "/spec/template/spec/containers",
    "/spec/template/spec/containers/0",
    "/spec/template/spec/containers/0/name",
    "/spec/template/spec/restartPolicy",
)


def split_overrides(text: str) -> list[tuple[str, str]]:
    """
    Pairs of pointer and file from `"POINTER":"FILE","POINTER":"FILE"`.

    >>> split_overrides('"/spec/a":"/etc/a.json", "/spec/b/-":"/etc/b.json"')
    [('/spec/a', '/etc/a.json'), ('/spec/b/-', '/etc/b.json')]

    Raises:
        ValueError: the text has another form, or a pointer does not begin with a slash.
    """
    pairs: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None or len(pairs) == MAX_OVERRIDES:
            raise ValueError(f'must be at most {MAX_OVERRIDES} pairs "/json/pointer":"/path/to/file", comma-separated')
        pairs.append((json.loads(f'"{match[1]}"'), json.loads(f'"{match[2]}"')))
        position = match.end()
    for pointer, _ in pairs:
        parse_pointer(pointer)
    return pairs


def parse_pointer(pointer: str) -> list[str]:
    """
    The keys of a pointer.

    >>> parse_pointer("/metadata/annotations/my.org~1team")
    ['metadata', 'annotations', 'my.org/team']

    Raises:
        ValueError: not a pointer below the root: the whole Job cannot be replaced.
    """
    if not pointer.startswith("/") or re.search(r"~(?![01])", pointer):
        raise ValueError(f"{pointer[:80]!r} is not a JSON pointer such as /spec/template/spec/hostAliases")
    keys = [key.replace("~1", "/").replace("~0", "~") for key in pointer[1:].split("/")]
    if len(keys) > MAX_POINTER_DEPTH:
        raise ValueError(f"{pointer[:80]!r} has more than {MAX_POINTER_DEPTH} keys")
    return keys


def read_overrides(text: str, file: str, line: int, problems: list[Problem]) -> tuple[tuple[str, Any], ...]:
    """Pointers with the JSON of their files. Whatever cannot be read becomes a problem of this line."""
    key = "job-json-overrides"
    try:
        pairs = split_overrides(text)
    except ValueError as error:
        problems.append(Problem(file, line, key, str(error)))
        return ()
    found = []
    for pointer, path in pairs:
        try:
            found.append((pointer, _read_json(Path(path))))
        except OSError as error:
            problems.append(Problem(file, line, key, f"{path} of {pointer} cannot be read: {error.strerror or error}"))
        except (ValueError, RecursionError) as error:
            problems.append(Problem(file, line, key, f"{path} of {pointer} is not JSON: {error}"))
    return tuple(found)


def _read_json(path: Path) -> Any:
    with path.open("rb") as file:
        content = file.read(MAX_VALUE_BYTES + 1)
    if len(content) > MAX_VALUE_BYTES:
        raise ValueError(f"it is larger than {MAX_VALUE_BYTES} bytes")
    return json.loads(content.decode("utf-8"))


def find_protected(overrides: Sequence[tuple[str, Any]]) -> list[str]:
    """The pointers that replace something that the plugin needs. The job runs, but may not be found after a restart."""
    return [pointer for pointer, _ in overrides if pointer in PROTECTED]


def apply_overrides(job: dict[str, Any], overrides: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """
    A copy of the Job with every value in its place. Missing objects on the way are created.

    The key `-` appends to a list, and a number replaces an item of a list.

    Raises:
        InvalidInputError: a pointer leads through a text or number, or to an item that the list does not have.
    """
    changed = copy.deepcopy(job)
    for pointer, value in overrides:
        keys = parse_pointer(pointer)
        place: Any = changed
        for key, following in itertools.pairwise(keys):
            place = _descend(place, key, following, pointer)
        _put(place, keys[-1], copy.deepcopy(value), pointer)
    return changed


def _descend(place: Any, key: str, following: str, pointer: str) -> Any:
    if isinstance(place, dict):
        if place.get(key) is None:
            place[key] = [] if following == "-" else {}
        return place[key]
    if isinstance(place, list):
        if key == "-":
            place.append({})
            return place[-1]
        return place[_index(place, key, pointer)]
    raise InvalidInputError("job-json-overrides", f"{pointer}: {key!r} is below a value that is no object and no list")


def _put(place: Any, key: str, value: Any, pointer: str) -> None:
    if isinstance(place, dict):
        place[key] = value
    elif isinstance(place, list) and key == "-":
        place.append(value)
    elif isinstance(place, list):
        place[_index(place, key, pointer)] = value
    else:
        raise InvalidInputError("job-json-overrides", f"{pointer}: {key!r} is below a value that is no object or list")


def _index(place: list[Any], key: str, pointer: str) -> int:
    if not re.fullmatch(r"0|[1-9]\d{0,5}", key, re.ASCII) or int(key) >= len(place):
        raise InvalidInputError("job-json-overrides", f"{pointer}: the list has no item {key!r}, it has {len(place)}")
    return int(key)
