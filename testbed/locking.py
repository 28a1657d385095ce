"""
Lets only one command at a time change the machine.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import IO

from testbed import paths
from testbed.errors import TestbedError
from testbed.progress import say

_LOOK_EVERY_S = 0.1


@contextlib.contextmanager
def exclusive(*, patience_s: float = 0.0) -> Iterator[None]:
    """
    Hold the lock of the cache folder. The kernel releases it when the process ends. `patience_s`: how long another
    command may take to end, which was perhaps interrupted a moment ago.

    Raises:
        TestbedError: another command holds the lock; the message has its pid.
    """
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    with paths.LOCK.open("a+", encoding="ascii") as lock:
        if not _try_lock(lock):
            lock.seek(0)
            running = f"another testbed command is running (pid {lock.read().strip() or 'unknown'})"
            if patience_s:
                say(f"  {running}; waiting {patience_s:.0f} s for its end")
            while not _try_lock(lock):
                if time.monotonic() >= deadline:
                    raise TestbedError(f"{running}; wait for its end, then try again")
                time.sleep(_LOOK_EVERY_S)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _try_lock(lock: IO[str]) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
