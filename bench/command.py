"""What the measurements' command lines have in common."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any


def between(kind: type[int] | type[float], low: float, high: float) -> Any:
    """A type for argparse: a number within bounds, so that a slip of the finger is no attack."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")

    return parse


def write_json(file: str, content: Any) -> None:
    """To a file, or to stdout for `-`."""
    text = json.dumps(content, indent=2) + "\n"
    if file == "-":
        sys.stdout.write(text)
    else:
        Path(file).write_text(text, "utf-8")
