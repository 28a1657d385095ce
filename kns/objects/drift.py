"""
Whether an object on the host is still as kns applied it.

What kns wants must be there; what others add is theirs and stays (the API server's defaults, a certificate manager's
path for its challenge). A value that kns wants no longer would look like such an addition: therefore each object
carries a digest of all that was applied.
"""

import json
from hashlib import sha256
from typing import Any

from kns.model import names

_PARTS = ("metadata", "spec")  # a list of the API server's gives neither kind nor apiVersion


def stamp(obj: dict[str, Any]) -> dict[str, Any]:
    """The object with its digest as an annotation."""
    digest = sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()[:16]
    meta = obj["metadata"]
    annotations = {**meta.get("annotations", {}), names.APPLIED_ANNOTATION: digest}
    return {**obj, "metadata": {**meta, "annotations": annotations}}


def is_as_applied(found: dict[str, Any] | None, stamped: dict[str, Any]) -> bool:
    return found is not None and all(_covers(found.get(part), stamped[part]) for part in _PARTS)


def _covers(found: Any, wanted: Any) -> bool:
    """Mappings may have more keys, lists more elements than wanted."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_covers(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and all(any(_covers(one, value) for one in found) for value in wanted)
    return bool(found == wanted)
