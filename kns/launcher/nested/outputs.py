"""
The outputs of nested jobs that have ended, because their clusters are removed soon after: one file per job.

The content is what the API server sent, a time before each line, so that it is read like any other log.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from kns.model.errors import KnsError

_FOLDER = "nested-output"
MOST_BYTES = 16 * 1024 * 1024  # a node starts a new log file at 10 MiB, and keeps the newest only for readers
_CHUNK_BYTES = 64 * 1024
CUT = b"\n[the rest was cut: kns keeps 16 MiB of the output of a nested job]\n"


class OutputFiles:
    """Files in `<scratch>/nested-output`, named by the job's id, for the owner alone."""

    def __init__(self, scratch: Path) -> None:
        self._folder = scratch / _FOLDER

    def has(self, job_id: str) -> bool:
        return (self._folder / job_id).exists()

    def store(self, job_id: str, parts: Iterable[bytes]) -> None:
        """
        Store a whole output, or nothing.

        Raises:
            KnsError: the folder is not writable, or `parts` raised it.
        """
        path, fresh = self._folder / job_id, self._folder / f".{job_id}.{os.getpid()}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                left = MOST_BYTES
                for part in parts:
                    file.write(part[:left])
                    left -= len(part)
                    if left <= 0:
                        file.write(CUT)
                        break
            fresh.replace(path)
        except OSError as error:
            raise KnsError(f"cannot keep the output of job {job_id} in {path}: {error}; check scratch-path") from error
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()

    def open(self, job_id: str) -> "StoredLog | None":
        return StoredLog(self._folder / job_id) if self.has(job_id) else None

    def discard(self, job_id: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / job_id).unlink()


class StoredLog:
    """Implements `kns.plain.ports.LogStream` for a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            while not self._is_closed and (part := file.read(_CHUNK_BYTES)):
                yield part

    def close(self) -> None:
        self._is_closed = True
