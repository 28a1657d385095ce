"""
Small notes to ourselves in the cache: what something was made from, so that it is not made twice.
"""

import json
import pathlib


def read(path: pathlib.Path) -> dict[str, str]:
    """
    A note; empty if absent or unreadable, which only means that work is done again.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write(path: pathlib.Path, content: dict[str, str]) -> None:
    """
    Write a note in one step.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(path)
