"""
SIGTERM, with which kubelet ends the pod.

The handler only records the signal, forwards it to the running child and ends a pause. It raises nothing, so that no
exception can occur between two arbitrary lines. The run calls `check` where it can stop.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType

from runner.outcome import Terminated


class Shutdown:
    """Whether SIGTERM was received, and pauses that end with it."""

    def __init__(self) -> None:
        self.requested = False
        self._group: int | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def install(self) -> None:
        """
        Install the handler for SIGTERM. Call it in the main thread.

        Python calls a handler only between two of its instructions. A signal just before a pause begins would not end
        it, so Python writes into the pipe at once.
        """
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def check(self) -> None:
        """
        Check whether the run may continue.

        Raises:
            Terminated: SIGTERM was received.
        """
        if self.requested:
            raise Terminated("the init pod was ended before all items were done")

    def pause(self, seconds: float) -> None:
        """
        Sleep until the time is over or SIGTERM is received.

        Raises:
            Terminated: SIGTERM was received before or during the pause.
        """
        select.select([self._wake_read], [], [], seconds)
        self.check()

    @contextlib.contextmanager
    def forwarding(self, group: int) -> Iterator[None]:
        """Forward SIGTERM to this process group during the block, also one that was received just before."""
        self._group = group
        try:
            if self.requested:
                self._forward()
            yield
        finally:
            self._group = None

    def _on_sigterm(self, _signum: int, _frame: FrameType | None) -> None:
        self.requested = True
        self._forward()

    def _forward(self) -> None:
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError):  # the group has ended meanwhile
                os.killpg(self._group, signal.SIGTERM)
