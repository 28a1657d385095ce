"""
The plan that kns wrote for this job, checked and frozen.

All problems that can be found without the virtual cluster are reported in one message before anything runs. A missing
file is not such a problem: kubectl reports it, and the item has retries.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runner.outcome import MAX_ITEM_BYTES, PlanRefused, printable

SUPPORTED_VERSION = 2


@dataclass(frozen=True, slots=True)
class Apply:
    """`kubectl apply` with these arguments."""

    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ApplyInline:
    """`kubectl apply -f -` with a manifest from the plan."""

    manifest: bytes


@dataclass(frozen=True, slots=True)
class Script:
    """A script from the plan."""

    content: bytes


Action = Apply | ApplyInline | Script


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the plan."""

    name: str
    """On one line and clipped, because it is only shown."""
    action: Action
    retries: int
    """Attempts after the first one."""
    retry_sleep_s: int
    fingerprint: str
    """SHA-256 of the entry's canonical JSON. It identifies a finished step."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """What kns writes into the virtual cluster when the steps may run."""

    annotation: str
    """On Secret `kns-job` in namespace `default`."""
    value: str
    limit_s: int
    """Longest wait, in seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole plan, in execution order."""

    templates_dir: Path
    awaited: Awaited
    steps: tuple[Step, ...]


class _EntryError(Exception):
    """An entry of the plan is invalid. The message is `key: problem`."""


def read_plan(path: Path) -> Plan:
    """
    Read and check the plan file.

    Raises:
        PlanRefused: the plan is not readable, has another version, or has invalid content.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as err:
        raise PlanRefused(f"cannot read plan {path}: {err.strerror}") from err
    except (ValueError, RecursionError) as err:
        raise PlanRefused(f"plan {path} is not JSON: {err}") from err
    return parse_plan(document)


def parse_plan(document: object) -> Plan:
    """
    Check a plan document. Keys that version 2 does not know are ignored.

    Raises:
        PlanRefused: with every problem.
    """
    if not isinstance(document, dict):
        raise PlanRefused(f"plan must be a JSON object, found {type(document).__name__}")
    version = document.get("version")
    if type(version) is not int or version != SUPPORTED_VERSION:
        raise PlanRefused(
            f"plan has version {version!r}, this init image supports version {SUPPORTED_VERSION}; "
            "use the init image of the kns that wrote the plan"
        )
    problems: list[str] = []
    entries = document.get("steps")
    if not isinstance(entries, list):
        problems.append("steps: must be a list")
        entries = []
    templates_dir = document.get("templatesDir")
    if not isinstance(templates_dir, str) or not PurePosixPath(templates_dir).is_absolute():
        problems.append("templatesDir: must be an absolute path")
    awaited = None
    try:
        awaited = _parse_awaited(document.get("awaits"))
    except _EntryError as err:
        problems.append(f"awaits.{err}")
    steps: list[Step] = []
    for index, entry in enumerate(entries):
        try:
            steps.append(_parse_step(entry))
        except _EntryError as err:
            problems.append(f"steps[{index}].{err}")
    if problems or awaited is None:
        raise PlanRefused("plan refused: " + "; ".join(problems))
    return Plan(templates_dir=Path(str(templates_dir)), awaited=awaited, steps=tuple(steps))


def _parse_awaited(entry: object) -> Awaited:
    if not isinstance(entry, dict):
        raise _EntryError("annotation: awaits must be an object")
    return Awaited(
        annotation=_text(entry, "annotation"), value=_text(entry, "value"), limit_s=_count(entry, "limitSeconds")
    )


def _parse_step(entry: object) -> Step:
    if not isinstance(entry, dict):
        raise _EntryError("type: entry must be an object")
    kind, form = _text(entry, "type"), _text(entry, "format", default="")
    if (kind, form) not in _ACTIONS:
        raise _EntryError(f"type: no such item: type {kind!r} with format {form!r}")
    return Step(
        name=printable(_text(entry, "name"), limit_bytes=MAX_ITEM_BYTES),
        action=_ACTIONS[kind, form](entry),
        retries=_count(entry, "retries"),
        retry_sleep_s=_count(entry, "retrySleepSeconds"),
        fingerprint=_fingerprint(entry),
    )


def _fingerprint(entry: Mapping[str, object]) -> str:
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _text(entry: Mapping[str, object], key: str, default: str | None = None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str):
        raise _EntryError(f"{key}: must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as err:
        raise _EntryError(f"{key}: is not valid Unicode") from err
    return value


def _count(entry: Mapping[str, object], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int or value < 0:
        raise _EntryError(f"{key}: must be a whole number, 0 or more, found {value!r}")
    return value


def _inside(entry: Mapping[str, object]) -> str:
    """
    The path, which must stay in the templates folder.

    The check finds invalid plans. It is not a security boundary, because scripts may read any file.
    """
    path = _text(entry, "path")
    if not path or "\0" in path:
        raise _EntryError("path: must name a file or folder")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise _EntryError(f"path: {path!r} leaves the templates folder; give it relative, without '..'")
    return path


def _url(entry: Mapping[str, object]) -> str:
    url = _text(entry, "path")
    if not url.startswith(("http://", "https://")) or "\0" in url:
        raise _EntryError(f"path: {url!r} is not an http(s) URL")
    return url


def _decoded(entry: Mapping[str, object], key: str) -> bytes:
    """Decode base64. Line breaks, as the base64 tool prints them, are allowed."""
    try:
        return base64.b64decode("".join(_text(entry, key).split()), validate=True)
    except ValueError as err:  # binascii.Error, or a character outside ASCII
        raise _EntryError(f"{key}: is not base64: {err}") from err


_ACTIONS: Mapping[tuple[str, str], Callable[[Mapping[str, object]], Action]] = {
    ("kubectl", ""): lambda entry: Apply(("-f", _inside(entry))),
    ("kubectl", "url"): lambda entry: Apply(("-f", _url(entry))),
    ("kubectl", "base64"): lambda entry: ApplyInline(_decoded(entry, "path")),
    ("kustomize", ""): lambda entry: Apply(("-k", _inside(entry))),
    ("custom", ""): lambda entry: Script(_decoded(entry, "cmd")),
}
"""The action of an entry, by its `type` and `format`."""
