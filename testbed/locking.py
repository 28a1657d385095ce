"""
Lets only one command at a time change the machine.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from testbed import paths
from testbed.errors import TestbedError


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """
    Hold the lock of the cache folder. The kernel releases it when the process ends.

    Raises:
        TestbedError: another command holds the lock; the message has its pid.
    """
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with paths.LOCK.open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise TestbedError(
                f"another testbed command is running (pid {holder}); wait for its end, then try again"
            ) from err
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield
