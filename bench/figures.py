"""What a series of answer times comes to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds. A percentile is a time that was measured: at least so many per cent took no longer."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> "Figures":
        """
        Of at least one time.

        >>> Figures.of([float(n) for n in range(1, 101)])
        Figures(median_ms=50.0, p90_ms=90.0, p99_ms=99.0, max_ms=100.0)
        >>> Figures.of([7.0])
        Figures(median_ms=7.0, p90_ms=7.0, p99_ms=7.0, max_ms=7.0)
        """
        ordered = sorted(times_ms)
        return cls(*(ordered[math.ceil(percent * len(ordered) / 100) - 1] for percent in (50, 90, 99, 100)))
