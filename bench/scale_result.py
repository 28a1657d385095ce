"""The sizes and the figures of `bench.scale`."""

from dataclasses import dataclass, field

from bench.scale_audit import Requests
from bench.scale_engine import Engine
from bench.scale_yardstick import Yardstick


@dataclass(frozen=True, slots=True)
class Load:
    """
    The sizes. At each of `levels` live jobs, `poisson_s` seconds of arrivals at `rate` a second. `burst` jobs are
    released together on the first level, `drain` is the number of whole lives at the end, `window` that of jobs at a
    time which are not ready. `ended` records are there from 1000 live jobs on, or at the last level.
    """

    levels: tuple[int, ...]
    burst: int
    rate: float
    poisson_s: float
    idle_s: float
    ended: int
    drain: int
    window: int
    yardstick: int
    engine: int
    workers: int
    seed: int
    patience_s: float


@dataclass(slots=True)
class Phase:
    """
    What was measured during a part of the run, with `live` jobs beside. `cpu_s` is the processor time of each process,
    `spans_ms` the moments of the lives by the span's name.
    """

    name: str
    live: int
    seconds: float = 0.0
    lives: int = 0
    cpu_s: dict[str, float] = field(default_factory=dict)
    requests: Requests = field(default_factory=Requests)
    spans_ms: dict[str, list[float]] = field(default_factory=dict)
    reconciles: int = 0


@dataclass(slots=True)
class Level:
    """The figures at one number of live jobs. Times are seconds, memory is the resident set in MiB."""

    live: int
    ended: int
    idle: Phase
    poisson: Phase
    memory_mib: float
    restart_s: float
    caught_up_s: float
    memory_after_restart_mib: float


@dataclass(slots=True)
class Result:
    """Everything that was measured."""

    load: Load
    empty_mib: float = 0.0
    phases: dict[str, Phase] = field(default_factory=dict)
    levels: list[Level] = field(default_factory=list)
    yardstick: Yardstick | None = None
    engine: Engine | None = None
    node_failures: int = 0
    is_whole: bool = False
