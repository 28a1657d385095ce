"""
SIGTERM: kubelet wants the pod to end.

The handler only notes it, passes it on to the running child and wakes a pause. It raises nothing, so no code
has to expect an exception between any two lines; the run asks with `check` where it can stop.
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
    """Whether the end was asked for, and pauses that end with it."""

    def __init__(self) -> None:
        self.requested = False
        self._group: int | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def install(self) -> None:
        """Take over SIGTERM; main thread only."""
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def check(self) -> None:
        """
        Go on only if nobody asked for the end.

        Raises:
            Terminated: it was asked for.
        """
        if self.requested:
            raise Terminated("the init pod was told to end before all items were done")

    def pause(self, seconds: float) -> None:
        """
        Sleep, at most until SIGTERM.

        Raises:
            Terminated: SIGTERM came, before or during the pause.
        """
        select.select([self._wake_read], [], [], seconds)
        self.check()

    @contextlib.contextmanager
    def forwarding(self, group: int) -> Iterator[None]:
        """Pass SIGTERM on to this process group while the block runs; also one that came just before."""
        self._group = group
        try:
            if self.requested:
                self._forward()
            yield
        finally:
            self._group = None

    def _on_sigterm(self, _signum: int, _frame: FrameType | None) -> None:
        if not self.requested:
            os.write(self._wake_write, b".")
        self.requested = True
        self._forward()

    def _forward(self) -> None:
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError):  # ended in the meantime: nothing left to tell
                os.killpg(self._group, signal.SIGTERM)
