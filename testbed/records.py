"""
Notes in the cache that record what a result was made from, so that it is not made twice.
"""

import json
import pathlib


def read(path: pathlib.Path) -> dict[str, str]:
    """
    Read a note. It is empty if it is absent or unreadable; the work is then done again.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write(path: pathlib.Path, content: dict[str, str]) -> None:
    """
    Write a note atomically.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(path)
