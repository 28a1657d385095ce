"""
Programs inside containers, seen from the machine that runs them, so that a test can kill or freeze them.

On a cluster of other machines none is found.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """A program in one container. `container` is the runtime's id; `arguments` are the first ones after argv[0]."""

    container: str
    arguments: tuple[str, ...]

    def find(self) -> list[int]:
        """The pids on this machine; none if it does not run here."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid in pids if self._is(pid)]

    def signal(self, number: signal.Signals) -> int:
        """
        Send the signal. Returns the number of processes that got it.

        Each process is held by a handle (pidfd), so that a pid that is reused meanwhile is not mistaken for it.
        """
        sent = 0
        for pid in self.find():
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:  # it ended by itself
                continue
            try:
                if self._is(pid):
                    signal.pidfd_send_signal(handle, number)
                    sent += 1
            finally:
                os.close(handle)
        return sent

    def _is(self, pid: int) -> bool:
        """Whether the pid is this program. False if it has just ended."""
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            groups = Path(f"/proc/{pid}/cgroup").read_text("utf-8")
        except OSError:
            return False
        return tuple(argv[1 : 1 + len(self.arguments)]) == self.arguments and self.container in groups
