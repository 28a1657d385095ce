"""
One command at a time may change the machine.
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
    Hold the lock of this cache folder. The kernel drops it when we end, however we end.

    Raises:
        TestbedError: another `up`, `down` or `build` holds it; the message names its pid.
    """
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with paths.LOCK.open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise TestbedError(
                f"another testbed command is at work (pid {holder}); wait for it or end it, then try again"
            ) from err
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield
