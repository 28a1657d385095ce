"""The tables and plots of `bench.scale`, and their section of docs/performance.md."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figures
from bench.page import Section, format_table
from bench.scale_audit import READS, WRITES
from bench.scale_result import Phase, Result

SECTION = Section("scale")
SPANS = ("create-ack", "accepted", "ready", "gone")
_MOST_KINDS = 50
_PLOTS = {"cost": "performance-scale-cost.png", "spans": "performance-scale-spans.png"}
_Rows = Sequence[tuple[str, ...]]  # of a table; the first is the head


def build_tables(result: Result) -> list[str]:
    """The tables that have figures, in Markdown."""
    phases = [*result.phases.values()]
    tables = [
        _tabulate_spans(result),
        _tabulate_levels(result),
        _tabulate_lives([phase for phase in phases if phase.lives]),
        _tabulate_requests(result),
        _tabulate_engine(result),
    ]
    return [format_table(rows) for rows in tables if len(rows) > 1]


def _tabulate_spans(result: Result) -> _Rows:
    rows: list[tuple[str, ...]] = [("span", "when", "p50", "p90", "p99", "n")]
    for span in SPANS:
        for name, spans_ms in _list_spans(result):
            times_ms = spans_ms.get(span)
            if times_ms:
                found = Figures.of(times_ms)
                shown = (format_span(value) for value in (found.median_ms, found.p90_ms, found.p99_ms))
                rows.append((span, name, *shown, str(len(times_ms))))
    return rows


def _list_spans(result: Result) -> list[tuple[str, Mapping[str, Sequence[float]]]]:
    found: list[tuple[str, Mapping[str, Sequence[float]]]] = []
    found += [(f"arrivals, {level.live} live", level.poisson.spans_ms) for level in result.levels]
    found += [(phase.name, phase.spans_ms) for phase in result.phases.values()]
    if result.yardstick is not None:
        found.append((f"{result.yardstick.jobs} batch/v1 Jobs at once", result.yardstick.spans_ms))
    return found


def format_span(value_ms: float) -> str:
    """
    >>> format_span(12.34), format_span(2345.6)
    ('12 ms', '2.3 s')
    """
    return f"{value_ms:.0f} ms" if value_ms < 1000 else f"{value_ms / 1000:.1f} s"


def _tabulate_levels(result: Result) -> _Rows:
    """One column per level."""
    levels = result.levels
    if not levels:
        return []

    def of_idle(phase: Phase, verbs: Sequence[str]) -> str:
        count = sum(number for (verb, _), number in phase.requests.by_kind.items() if verb in verbs)
        minutes = phase.seconds / 60
        return f"{count / phase.live / minutes:.3f}" if phase.live and minutes else "-"

    rows = [("", *(f"{level.live} live, {level.ended} ended" for level in levels))]
    rows.append(("reads of an idle job in a minute", *(of_idle(level.idle, READS) for level in levels)))
    rows.append(("writes of an idle job in a minute", *(of_idle(level.idle, WRITES) for level in levels)))
    rows.append(
        (
            "processor time of kns for an idle job in a minute",
            *(f"{_per_idle(level.idle) * 1000:.1f} ms" if level.idle.seconds else "-" for level in levels),
        )
    )
    rows.append(("memory of kns", *(f"{level.memory_mib:.0f} MiB" for level in levels)))
    growth = ((level.memory_mib - result.empty_mib) * 1024 / level.live for level in levels)
    rows.append(("of that for each live job", *(f"{kib:.0f} KiB" for kib in growth)))
    rows.append(("memory after a restart", *(f"{level.memory_after_restart_mib:.0f} MiB" for level in levels)))
    rows.append(("start until it leads", *(f"{level.restart_s:.1f} s" for level in levels)))
    rows.append(("from there until caught up", *(f"{level.caught_up_s:.1f} s" for level in levels)))
    for what in ("reads", "writes"):
        rows.append((f"{what} for a whole life", *(_per_life(level.poisson, what) for level in levels)))
    rows.append(("processor time of kns for a whole life", *(_cpu_per_life(level.poisson, "kns") for level in levels)))
    return rows


def _per_idle(phase: Phase) -> float:
    return phase.cpu_s["kns"] / phase.live / (phase.seconds / 60)


def _per_life(phase: Phase, what: str) -> str:
    return f"{getattr(phase.requests, what) / phase.lives:.1f}" if phase.lives else "-"


def _cpu_per_life(phase: Phase, program: str) -> str:
    return f"{phase.cpu_s[program] / phase.lives * 1000:.0f} ms" if phase.lives else "-"


def _tabulate_lives(phases: Sequence[Phase]) -> _Rows:
    """What each program spends on one job, by phase."""
    programs = sorted({program for phase in phases for program in phase.cpu_s})
    rows = [
        ("phase", "jobs", "a second", "reads", "writes", "reconciles", *(f"processor time of {p}" for p in programs))
    ]
    for phase in phases:
        spent = (f"{phase.cpu_s[program] / phase.lives * 1000:.0f} ms" for program in programs)
        counts = (phase.requests.reads, phase.requests.writes, phase.reconciles)
        each = (f"{count / phase.lives:.1f}" for count in counts)
        rows.append((phase.name, str(phase.lives), f"{phase.lives / phase.seconds:.2f}", *each, *spent))
    return rows


def _tabulate_requests(result: Result) -> _Rows:
    """Requests for a whole life by verb and resource, of kns and of the yardstick's controllers."""
    lives = result.phases.get("drain") or (result.levels[-1].poisson if result.levels else None)
    rows: list[tuple[str, ...]] = [("request for a whole life", "kns", "controllers, for a batch/v1 Job")]
    own: dict[tuple[str, str], float] = {}
    if lives is not None and lives.lives:
        own = {kind: count / lives.lives for kind, count in lives.requests.by_kind.items()}
    theirs: dict[tuple[str, str], float] = {}
    if result.yardstick is not None:
        jobs, requests = result.yardstick.jobs, result.yardstick.requests
        theirs = {kind: count / jobs for kind, count in requests.by_kind.items()}
    if not own and not theirs:
        return []
    for name, verbs in (("all reads", READS), ("all writes", WRITES)):
        sums = [sum(value for (verb, _), value in part.items() if verb in verbs) for part in (own, theirs)]
        rows.append((name, *(f"{value:.1f}" for value in sums)))
    kinds = sorted(
        own | theirs, key=lambda kind: (kind[0] in WRITES, -own.get(kind, 0.0), -theirs.get(kind, 0.0), kind)
    )
    for kind in [kind for kind in kinds if max(own.get(kind, 0.0), theirs.get(kind, 0.0)) >= 0.05][:_MOST_KINDS]:
        rows.append((" ".join(kind), f"{own.get(kind, 0.0):.2f}", f"{theirs.get(kind, 0.0):.2f}"))
    return rows


def _tabulate_engine(result: Result) -> _Rows:
    engine = result.engine
    if engine is None:
        return []
    return [
        ("the engine alone", ""),
        ("lives a second", f"{engine.lives_per_s:.0f}"),
        ("processor time for a life", f"{engine.seconds / engine.lives * 1000:.1f} ms"),
        ("reconciles for a life", f"{engine.reconciles / engine.lives:.1f}"),
        ("calls to the outside for a life", f"{engine.calls / engine.lives:.1f}"),
    ]


def write_section(docs: Path, tables: Sequence[str], result: Result) -> None:
    """
    Replace the figures in docs/performance.md, and the plots beside it.

    Raises:
        ValueError: the page has no section for them.
    """
    parts = [_describe_run(), *tables]
    if result.levels:
        _plot_cost(result, docs / _PLOTS["cost"])
        parts.append(f"![cost of a job by the number of live jobs]({_PLOTS['cost']})")
    if _list_spans(result):
        _plot_spans(result, docs / _PLOTS["spans"])
        parts.append(f"![spans of a life]({_PLOTS['spans']})")
    SECTION.write(docs, parts)


def _describe_run() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().partition("-")[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores and {memory:.0f} GiB, Linux {kernel}, "
        f"Python {platform.python_version()}. Load of the machine in the last 15 minutes: {os.getloadavg()[2]:.1f}."
    )


def _plot_cost(result: Result, file: Path) -> None:
    """Processor time and memory for each job over the number of live jobs: flat lines are the goal."""
    from matplotlib.figure import Figure

    levels = [level for level in result.levels if level.poisson.lives and level.idle.seconds]
    live = [level.live for level in levels]
    values = {
        "ms of kns for a life": [level.poisson.cpu_s["kns"] / level.poisson.lives * 1000 for level in levels],
        "ms of kns for an idle job in a minute": [_per_idle(level.idle) * 1000 for level in levels],
        "KiB of kns for a live job": [(level.memory_mib - result.empty_mib) * 1024 / level.live for level in levels],
    }
    figure = Figure(figsize=(12, 3), layout="constrained")
    axes = figure.subplots(1, len(values))
    for axis, (name, points) in zip(axes, values.items(), strict=True):
        axis.plot(live, points, marker="o")
        axis.set_ylim(bottom=0)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("live jobs")
    figure.savefig(file, dpi=100, metadata={"Software": None})


def _plot_spans(result: Result, file: Path) -> None:
    """Median to p99 of each span."""
    from matplotlib.figure import Figure

    rows = [
        (f"{name}: {span}", Figures.of(spans_ms[span]))
        for name, spans_ms in _list_spans(result)
        for span in SPANS
        if spans_ms.get(span)
    ]
    figure = Figure(figsize=(8, 1 + 0.22 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for index, (_, found) in enumerate(rows):
        axes.plot([found.median_ms / 1000, found.p99_ms / 1000], [index, index], color="tab:blue")
        axes.plot([found.median_ms / 1000], [index], marker="o", color="tab:blue")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("s, median to p99")
    figure.savefig(file, dpi=100, metadata={"Software": None})
