"""
Programs inside containers, as the machine that runs them sees them: to be killed or frozen as no API can.

On a cluster of other machines there are none to be found.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """A program in one container. `container` is the runtime's id of it, `arguments` begin what follows argv[0]."""

    container: str
    arguments: tuple[str, ...]

    def find(self) -> list[int]:
        """The pids on this machine, none if it does not run here."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid in pids if self._is(pid)]

    def signal(self, number: signal.Signals) -> int:
        """
        Send it; to how many processes.

        By a handle on each process, so that a number given anew meanwhile is not mistaken for it.
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
        """A process that has just ended is not."""
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            groups = Path(f"/proc/{pid}/cgroup").read_text("utf-8")
        except OSError:
            return False
        return tuple(argv[1 : 1 + len(self.arguments)]) == self.arguments and self.container in groups
