"""
The inputs (stdin) of jobs whose container does not run yet: one file per job, for the owner alone.

The Role of the Posit plugin has no right on Secrets, and everybody who may describe a pod can read its annotations. The
file is written before the job is created and removed once its content was sent, so a restart of this process loses
nothing.
"""

import contextlib
import os
from pathlib import Path

from kns.model.errors import KnsError

_FOLDER = "stdin"


class InputFiles:
    """Files in `<scratch>/stdin`, named by the job's id."""

    def __init__(self, scratch: Path) -> None:
        self._folder = scratch / _FOLDER

    def store(self, job_id: str, text: str) -> None:
        """
        Raises:
            KnsError: the folder is not writable.
        """
        path = self._folder / job_id
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text.encode("utf-8", "replace"))
        except OSError as error:
            raise KnsError(f"cannot keep the stdin of job {job_id} in {path}: {error}; check scratch-path") from error

    def read(self, job_id: str) -> bytes | None:
        """The input; None if there is none, or if it was sent."""
        try:
            return (self._folder / job_id).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KnsError(f"cannot read the stdin of job {job_id} in {self._folder}: {error}") from error

    def discard(self, job_id: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / job_id).unlink()

    def remove_left(self, job_ids: frozenset[str], *, before: float) -> None:
        """
        Remove the inputs of other jobs that were written before a time (seconds since 1970): a process left them that
        was killed while it created a job.
        """
        with contextlib.suppress(OSError):
            for path in list(self._folder.iterdir()):
                if path.name not in job_ids and path.stat().st_mtime < before:
                    path.unlink()
