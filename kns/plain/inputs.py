"""
The inputs (stdin) of jobs whose container does not run yet: one file per job, for the owner alone.

The Role of the Posit plugin has no right on Secrets, and everybody who may describe a pod can read its annotations. The
file is written before the job is created and removed once its content was sent, so a restart of this process loses
nothing.

Several processes may share the folder. Each renames a file before it sends the content, so that one of them does: two
at a time would mix up the input. The name then has the time, because the process may be killed before it sends.
"""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kns.model.errors import KnsError

_FOLDER = "stdin"
_BETWEEN = "~"  # the parts of a file's name; no id has it
# Jobs that fit no node keep their inputs. A message of the Launcher has 5 MiB at most.
MOST_BYTES, MOST_BYTES_OF_USER = 1024 * 1024 * 1024, 128 * 1024 * 1024
_LEAST_BYTES = 16 * 1024  # that each input counts, so that the number of files is bounded, too
CLAIM_S = 300.0  # far longer than an input is sent, and than the clocks of two machines differ


@dataclass(frozen=True, slots=True)
class Claim:
    """The input of a job, which nobody else sends for `CLAIM_S`."""

    path: Path
    data: bytes


class InputFiles:
    """
    Files in `<scratch>/stdin`, named by the job's id, a digest of its user, and the time of a claim (seconds since
    1970). Safe for use in many threads.
    """

    def __init__(self, scratch: Path, *, now: Callable[[], float] = time.time) -> None:
        """`now` is this machine's clock, which dates files: in seconds since 1970."""
        self._folder = scratch / _FOLDER
        self._now = now
        self._lock = threading.Lock()

    def store(self, job_id: str, text: str, *, user: str) -> None:
        """
        Raises:
            KnsError: the inputs of this user, or of all, are too large together, or the folder is not writable.
        """
        data, owner = text.encode("utf-8", "replace"), hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()[:16]
        path = self._folder / f"{job_id}{_BETWEEN}{owner}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock:
                self._check_room(len(data), owner)
                _write_new(path, data)
        except OSError as error:
            raise KnsError(f"cannot keep the stdin of job {job_id} in {path}: {error}; check scratch-path") from error

    def _check_room(self, size: int, owner: str) -> None:
        of_all = of_user = max(size, _LEAST_BYTES)
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was sent
                counted = max(path.stat().st_size, _LEAST_BYTES)
                of_all += counted
                of_user += counted if path.name.split(_BETWEEN)[1:2] == [owner] else 0
        for found, most, whose in ((of_user, MOST_BYTES_OF_USER, "this user"), (of_all, MOST_BYTES, "all users")):
            if found > most:
                raise KnsError(
                    f"stdin: the inputs of {whose} that wait for their jobs to start would have {found} bytes, and "
                    f"{most} are possible; wait for jobs to start, cancel some, or let the job read a file"
                )

    def claim(self, job_id: str) -> Claim | None:
        """
        The input, for the caller alone; None if there is none, if it was sent, or if another process has it.

        Raises:
            KnsError: the folder is not readable or not writable.
        """
        now = self._now()
        try:
            for path in self._find(job_id):
                if now - _claim_time(path) < CLAIM_S:
                    continue
                taken = self._folder / f"{_waiting_name(path)}{_BETWEEN}{int(now)}"
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    path.rename(taken)
                    return Claim(taken, taken.read_bytes())
        except OSError as error:
            raise KnsError(f"cannot read the stdin of job {job_id} in {self._folder}: {error}") from error
        return None

    def release(self, claim: Claim) -> None:
        """Let any process claim the input again: nothing of it was sent."""
        with contextlib.suppress(OSError):
            claim.path.rename(self._folder / _waiting_name(claim.path))

    def discard(self, job_id: str) -> None:
        with contextlib.suppress(OSError):
            for path in self._find(job_id):
                path.unlink()

    def _find(self, job_id: str) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [path for path in self._folder.iterdir() if _job_id(path) == job_id]

    def remove_left(self, job_ids: frozenset[str], *, older_s: float) -> None:
        """
        Remove the inputs of other jobs that are older: a process was killed while it created a job, or somebody deleted
        the job. A younger one may be of a job that this process does not see yet.
        """
        before = self._now() - older_s
        with contextlib.suppress(OSError):
            for path in list(self._folder.iterdir()):
                if _job_id(path) not in job_ids and path.stat().st_mtime < before:
                    path.unlink()


def _write_new(path: Path, data: bytes) -> None:
    """Write a whole file, or none. Raises OSError if it exists, or if the disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        path.unlink()
        raise


def _job_id(path: Path) -> str:
    return path.name.partition(_BETWEEN)[0]


def _waiting_name(path: Path) -> str:
    """Without the time of a claim. A file of an earlier release has no user."""
    job_id, _, rest = path.name.partition(_BETWEEN)
    return f"{job_id}{_BETWEEN}{rest.partition(_BETWEEN)[0]}"


def _claim_time(path: Path) -> float:
    """In seconds since 1970; 0 if nobody has claimed the input."""
    claimed = path.name.split(_BETWEEN)[2:]
    return float(claimed[0]) if claimed and claimed[0].isdecimal() else 0.0
