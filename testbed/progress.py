"""
Prints progress: one line per step with its duration, and a line every ten seconds while a step runs.
"""

import contextlib
import sys
import time
from collections.abc import Iterator

REPEAT_S = 10.0


class Step:
    """
    One numbered step. `tick` may be called often; it prints only every REPEAT_S seconds.
    """

    def __init__(self, prefix: str, label: str) -> None:
        self._prefix = prefix
        self._label = label
        self._started = time.monotonic()
        self._spoke = self._started
        self.outcome = "ready"

    @property
    def elapsed_s(self) -> float:
        """
        Seconds since the step began.
        """
        return time.monotonic() - self._started

    def tick(self, detail: str = "") -> None:
        """
        Print that the step still runs, if nothing was printed for REPEAT_S seconds.
        """
        now = time.monotonic()
        if now - self._spoke < REPEAT_S:
            return
        self._spoke = now
        say(f"{self._prefix} {self._label} ... {self.elapsed_s:.0f}s {detail}".rstrip())

    def finish(self, outcome: str) -> None:
        """
        Print the closing line.
        """
        say(f"{self._prefix} {self._label} ... {outcome} {self.elapsed_s:.1f}s")


class Progress:
    """
    The numbered steps of one command.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._current = 0
        self._started = time.monotonic()

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[Step]:
        """
        Number, time and report one step. An error is marked on its line and raised again.
        """
        self._current += 1
        step = Step(f"[{self._current:>2}/{self._total}]", label)
        try:
            yield step
        except BaseException as err:
            step.finish("interrupted" if isinstance(err, KeyboardInterrupt) else "FAILED")
            raise
        step.finish(step.outcome)

    @property
    def elapsed_s(self) -> float:
        """
        Seconds since the command began.
        """
        return time.monotonic() - self._started


def say(text: str) -> None:
    """
    Print a line without delay, also into a pipe.
    """
    print(text, flush=True)


def warn(text: str) -> None:
    """
    Print a line to stderr.
    """
    print(text, file=sys.stderr, flush=True)
