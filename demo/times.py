"""The duration of each stage, by a local clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class StageTimes:
    """
    Durations of consecutive stages. The begin of a stage ends the stage before it.

    >>> now = iter([0.0, 2.0, 5.0])
    >>> times = StageTimes(clock=lambda: next(now))
    >>> times.begin("a"); times.begin("b"); times.stop()
    >>> times.rows()
    [('a', 2.0), ('b', 3.0)]
    """

    clock: Callable[[], float] = time.monotonic
    _done: list[tuple[str, float]] = field(default_factory=list)
    _name: str | None = None
    _since: float = 0.0

    def begin(self, name: str) -> None:
        """
        End the current stage and begin another.
        """
        now = self.clock()
        self._finish(now)
        self._name, self._since = name, now

    def stop(self) -> None:
        """
        End the current stage.
        """
        if self._name is not None:
            self._finish(self.clock())

    @property
    def current_s(self) -> float:
        """
        Seconds since the begin of the current stage.
        """
        return self.clock() - self._since

    def rows(self) -> list[tuple[str, float]]:
        """
        The ended stages in order, with their seconds.
        """
        return list(self._done)

    def _finish(self, now: float) -> None:
        if self._name is not None:
            self._done.append((self._name, now - self._since))
        self._name = None
