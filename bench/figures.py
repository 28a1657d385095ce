"""Statistics of response times, and how times are printed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """Response times in ms. A percentile is a measured time: at least that share of the requests took no longer."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> "Figures":
        """
        The statistics of at least one time.

        >>> Figures.of([float(n) for n in range(1, 101)])
        Figures(median_ms=50.0, p90_ms=90.0, p99_ms=99.0, max_ms=100.0)
        >>> Figures.of([7.0])
        Figures(median_ms=7.0, p90_ms=7.0, p99_ms=7.0, max_ms=7.0)
        """
        ordered = sorted(times_ms)
        return cls(*(ordered[math.ceil(percent * len(ordered) / 100) - 1] for percent in (50, 90, 99, 100)))


def format_ms(value_ms: float | None) -> str:
    """
    >>> format_ms(12.34), format_ms(None)
    ('12.3 ms', '-')
    """
    return "-" if value_ms is None else f"{value_ms:.1f} ms"


def format_s(value_s: float | None, *, digits: int = 1, missing: str = "-") -> str:
    """
    >>> format_s(12.34), format_s(None, missing="not all sent")
    ('12.3 s', 'not all sent')
    """
    return missing if value_s is None else f"{value_s:.{digits}f} s"
