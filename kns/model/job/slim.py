"""
What a record keeps of a submission: the documented keys (contract B.5) with small values, in at most 4 KiB of JSON.

A record is kept for weeks and cached in every replica, so its size must not depend on what a client sends. A value that
is too large, or that has another shape than the contract's, is left out whole: a part of it would be wrong.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from kns.model.reading.scalars import is_int64

RECORD_BYTES = 4096  # of submission and parameters together, as `measure` counts
VALUE_BYTES = 1024  # of one value. The longest documented text, a label of 255 characters, fits with any escapes
MAX_ITEMS = 64  # of a list or an object; clients send a few

_Path = tuple[str, ...]
# The documented keys. A name has a small value; a tuple names the keys of an object.
_DOCUMENTED: dict[str, tuple[str, ...] | None] = {
    "app": None,
    "application": ("command", "walltime", "geometry", "ipaddr", "nosubmit"),
    "machine": ("type", "nodes"),
    "vault": ("name", "readonly", "force", "objects", "bucket", "domain", "confirm"),
    "user": ("username",),
    "job_label": None,
    "job_project": None,
    "job_priority": None,
    "identity": ("username", "group", "uid", "gid"),
    **dict.fromkeys(("licenses", "queue", "hpc", "jobsub", "publicIP", "gen_sshkey", "nopasssubt", "staging")),
    **dict.fromkeys(("checkedout", "test_comment")),
}
# Their types, where the contract states one. Generated clients refuse the whole answer for one value of another type,
# and a member's job is in the answer to the lead of the team.
_TYPES: dict[_Path, type] = {
    **dict.fromkeys((("app",), ("job_label",), ("job_project",), ("job_priority",), ("licenses",), ("queue",)), str),
    **dict.fromkeys((("application", key) for key in ("command", "walltime", "geometry", "ipaddr")), str),
    **dict.fromkeys((("machine", "type"), ("vault", "name"), ("user", "username")), str),
    **dict.fromkeys((("application", "nosubmit"), ("vault", "readonly"), ("vault", "force")), bool),
    **dict.fromkeys((("staging",), ("checkedout",)), bool),
    ("vault", "objects"): list,
    ("hpc",): dict,
}
_SECRET_KEYS = frozenset({"apikey", "password", "bearer"})  # in an object whose keys are the client's own


def measure(value: Any) -> int:
    """The bytes of a value as compact JSON in UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def is_scalar(value: Any) -> bool:
    """Whether it is null, a text, a truth value, or a number that JSON and Kubernetes can store."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return is_int64(value)
    return value is None or isinstance(value, str)


def is_small(value: Any) -> bool:
    """Whether it is a scalar of at most `VALUE_BYTES`. A longer text is not encoded to find that out."""
    if isinstance(value, str) and len(value) > VALUE_BYTES:
        return False
    return is_scalar(value) and measure(value) <= VALUE_BYTES


def slim_submission(body: Mapping[str, Any]) -> dict[str, Any]:
    """
    The documented keys of a submission without its secrets and its parameters, in the order of the contract.

    If they need more than `RECORD_BYTES` together, the largest values are left out.

    >>> slim_submission({"app": "a", "machine": {"type": "m", "x": 1}, "junk": [], "user": {"apikey": "k"}})
    {'app': 'a', 'machine': {'type': 'm'}}
    """
    leaves = dict(_read_leaves(body))
    kept: set[_Path] = set()
    used = 2  # the braces
    for path, value in sorted(leaves.items(), key=lambda item: measure(item[1])):
        needs = measure(value) + sum(len(key) + 6 for key in path)  # quotes, colon, comma, and the object's braces
        if used + needs <= RECORD_BYTES:
            kept.add(path)
            used += needs
    slim: dict[str, Any] = {}
    for path, value in leaves.items():
        if path in kept:
            part = slim if len(path) == 1 else slim.setdefault(path[0], {})
            part[path[-1]] = value
    return slim


def _read_leaves(body: Mapping[str, Any]) -> Iterator[tuple[_Path, Any]]:
    for key, inner in _DOCUMENTED.items():
        value = body.get(key)
        if inner is not None and isinstance(value, Mapping):
            for name in inner:
                if name in value:
                    yield from _read_leaf((key, name), value[name])
        elif key in body and (inner is None or value is None):
            yield from _read_leaf((key,), value)


def _read_leaf(path: _Path, value: Any) -> Iterator[tuple[_Path, Any]]:
    """A scalar, or a short list or a small object of scalars. Null stands for a value of any type."""
    if value is not None and not isinstance(value, _TYPES.get(path, object)):
        return
    if is_small(value):
        yield path, value
    elif isinstance(value, list) and len(value) <= MAX_ITEMS and all(map(is_small, value)):
        yield from _yield_small(path, list(value))
    elif isinstance(value, Mapping) and len(value) <= MAX_ITEMS:
        flat = {key: each for key, each in value.items() if key not in _SECRET_KEYS and is_small(key)}
        if all(map(is_small, flat.values())):
            yield from _yield_small(path, flat)


def _yield_small(path: _Path, value: Any) -> Iterator[tuple[_Path, Any]]:
    if measure(value) <= VALUE_BYTES:
        yield path, value
