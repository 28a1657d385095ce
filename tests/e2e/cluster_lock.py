"""
The lock through which the workers of one run (pytest-xdist) share the cluster.

Most tests share it: each works on jobs of its own. A test marked `alone` changes kns's settings, or kills a part of kns
or of the cluster, so no other test may run meanwhile.
"""

import fcntl
import os
from pathlib import Path


class ClusterLock:
    """
    A readers-writer lock on a file.

    Waiting has no deadline here: every test of the other workers has one. The kernel releases the lock of a worker that
    dies.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)

    def acquire(self, *, alone: bool) -> None:
        """Share the cluster, or take it exclusively. Does nothing if this worker already holds it that way."""
        fcntl.flock(self._handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)

    def release(self) -> None:
        """Let a test that needs the cluster alone have it."""
        fcntl.flock(self._handle, fcntl.LOCK_UN)

    def close(self) -> None:
        """Remove the file as well. All workers have it open by now: none starts before all have collected."""
        os.close(self._handle)
        self._file.unlink(missing_ok=True)
