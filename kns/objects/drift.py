"""
Drift: whether an object on the host still is as kns applied it.

Everything that kns applied must be present. Additions of others may stay, such as the API server's defaults or the
path of a certificate manager's challenge. A value that kns no longer wants would look like such an addition, so each
object carries a digest of the object as applied.
"""

import json
from hashlib import sha256
from typing import Any

from kns.model import names

_PARTS = ("metadata", "spec")  # objects from the API server's lists have neither kind nor apiVersion


def stamp(obj: dict[str, Any]) -> dict[str, Any]:
    """The object with its digest in an annotation."""
    meta = obj["metadata"]
    annotations = {**meta.get("annotations", {}), names.APPLIED_ANNOTATION: _digest(obj)}
    return {**obj, "metadata": {**meta, "annotations": annotations}}


def is_as_applied(found: dict[str, Any] | None, stamped: dict[str, Any]) -> bool:
    return found is not None and all(_covers(found.get(part), stamped[part]) for part in _PARTS)


def digest_found(found: dict[str, Any]) -> str:
    """A digest of the parts that `is_as_applied` compares. It does not change with the status."""
    meta = {key: found["metadata"].get(key) or {} for key in ("labels", "annotations")}
    return _digest([meta, found.get("spec")])


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _covers(found: Any, wanted: Any) -> bool:
    """
    Whether `found` contains `wanted`; mappings may have more keys and lists more elements. The API server leaves out a
    value that is false.
    """
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_covers(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and all(any(_covers(one, value) for one in found) for value in wanted)
    return bool(found == wanted) or (found is None and wanted is False)
