"""
What a command reads to send it to kns: a file, or standard input. It is never longer than a request may be, because a
device may have no end.
"""

import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 4 * 1024 * 1024  # kns takes no longer request


def read_input(path: str | Path) -> bytes:
    """
    The content of a file.

    Raises:
        OSError: it cannot be read, or is longer than any request.
    """
    with Path(path).open("rb") as file:
        return _read(file, str(path))


def read_standard_input() -> bytes:
    """
    All of standard input.

    Raises:
        OSError: it is closed, or longer than any request.
    """
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard input")
    return _read(sys.stdin.buffer, "standard input")


def _read(file: BinaryIO, name: str) -> bytes:
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MOST_BYTES} bytes", name)
    return content
