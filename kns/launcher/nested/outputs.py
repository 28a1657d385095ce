"""
The outputs of nested jobs that have ended, because their clusters are removed soon after: one file per job.

The content is what the API server sent, a time before each line, so that it is read like any other log.
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from kns.logs import get_logger
from kns.model.errors import KnsError

log = get_logger(__name__)

_FOLDER = "nested-output"
MOST_BYTES = 16 * 1024 * 1024  # a node starts a new log file at 10 MiB, and keeps the newest only for readers
# Of all outputs; 256 of the largest. A user with many short jobs would fill the disk before the first of them expires.
MOST_TOTAL_BYTES = 4 * 1024 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
CUT = b"\n[the rest was cut: kns keeps 16 MiB of the output of a nested job]\n"


class OutputFiles:
    """Files in `<scratch>/nested-output`, named by the job's id, for the owner alone."""

    def __init__(self, scratch: Path, *, now: Callable[[], float] = time.time) -> None:
        """`now` is this machine's clock, which dates files: in seconds since 1970."""
        self._folder = scratch / _FOLDER
        self._now = now

    def has(self, job_id: str) -> bool:
        return (self._folder / job_id).exists()

    def store(self, job_id: str, parts: Iterable[bytes]) -> None:
        """
        Store a whole output, or nothing. If all outputs together become too large, the oldest are removed.

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
            self._remove_oldest()
        except OSError as error:
            raise KnsError(f"cannot keep the output of job {job_id} in {path}: {error}; check scratch-path") from error
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()

    def _remove_oldest(self) -> None:
        found = sorted((status.st_mtime, status.st_size, path) for path, status in self._list())
        total = sum(size for _, size, _ in found)
        for _, size, path in found:
            if total <= MOST_TOTAL_BYTES:
                return
            log.warning("nested_output_removed", job=path.name, most_bytes=MOST_TOTAL_BYTES)
            self.discard(path.name)
            total -= size

    def remove_left(self, job_ids: Collection[str], *, older_s: float) -> None:
        """
        Remove the outputs of other jobs that are older: another process has deleted the jobs' records.

        Raises:
            KnsError: the folder is not readable.
        """
        try:
            found = self._list()
        except OSError as error:
            raise KnsError(f"cannot list the outputs in {self._folder}: {error}; check scratch-path") from error
        before = self._now() - older_s
        for path, status in found:
            if path.name not in job_ids and status.st_mtime < before:
                self.discard(path.name)

    def _list(self) -> list[tuple[Path, os.stat_result]]:
        """The outputs, with those that are being written."""
        found = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            with contextlib.suppress(OSError):  # another process has removed it
                found.append((path, path.stat()))
        return found

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
