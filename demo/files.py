"""Files in the demo's state folder: private to the user, and never partly written."""

import os
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """
    Write a file with mode 0600 atomically.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f"{file.name}.tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    draft.replace(file)
