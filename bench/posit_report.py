"""The figures of `bench.posit`, and their section of docs/performance.md."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figures
from bench.page import Section
from bench.posit_finished import Finished

SECTION = Section("posit")
MOST_P99_MS = 1000.0
MOST_CHANGE_MS = 300.0
MOST_MEMORY_MIB = 120.0


@dataclass(frozen=True, slots=True)
class Result:
    """`requests` are by kind. `change_calm` and `change_busy` are from a change in the cluster to its frame."""

    jobs: int
    variables: int
    at_once: int
    requests: Mapping[str, Figures]
    answer_bytes: Mapping[str, int]
    change_calm: Figures
    change_busy: Figures
    memory_idle_mib: float
    memory_mib: float
    watches: Mapping[str, int]
    connections: int
    server: str
    finished: Finished | None


@dataclass(frozen=True, slots=True)
class Goals:
    """Each goal in words, with what was measured and whether it holds."""

    rows: tuple[tuple[str, str, bool], ...]

    @classmethod
    def of(cls, result: Result) -> "Goals":
        kind, slowest = max(result.requests.items(), key=lambda each: each[1].p99_ms)
        change = max(result.change_calm.p99_ms, result.change_busy.p99_ms)
        watches = ", ".join(f"{count} of {name}" for name, count in sorted(result.watches.items()))
        return cls(
            (
                ("no request above 1 s at p99", f"{slowest.p99_ms:.0f} ms ({kind})", slowest.p99_ms <= MOST_P99_MS),
                ("status change to frame under 0.3 s", f"p99 {change:.0f} ms", change < MOST_CHANGE_MS),
                ("memory under 120 MB", f"{result.memory_mib:.0f} MiB at most", result.memory_mib < MOST_MEMORY_MIB),
                (
                    "one watch per kind",
                    f"{watches}; {result.connections} connections",
                    bool(result.watches) and set(result.watches.values()) == {1},
                ),
            )
        )

    @property
    def are_met(self) -> bool:
        return all(met for *_, met in self.rows)


def show(result: Result) -> None:
    print("\n\n".join(write_tables(result)))


def write_tables(result: Result) -> list[str]:
    """The figures in Markdown."""
    requests = [f"| {result.at_once} at once | p50 | p90 | p99 | max | answer |", "|---|---|---|---|---|---|"]
    for kind, each in result.requests.items():
        requests.append(f"| {kind} | {_cells(each)} | {_format_bytes(result.answer_bytes[kind])} |")
    changes = ["| status change to frame | p50 | p90 | p99 | max |", "|---|---|---|---|---|"]
    changes += [
        f"| without requests | {_cells(result.change_calm)} |",
        f"| beside {result.at_once} concurrent requests | {_cells(result.change_busy)} |",
    ]
    goals = ["| goal | measured | met |", "|---|---|---|"]
    goals += [f"| {goal} | {measured} | {'yes' if met else 'no'} |" for goal, measured, met in Goals.of(result).rows]
    parts = ["\n".join(goals), "\n".join(requests), "\n".join(changes)]
    if (finished := result.finished) is not None:
        cost_kb = 1024 * (finished.with_mib - finished.without_mib) / finished.jobs
        parts.append(
            f"{finished.jobs} finished jobs of {result.variables} variables: {finished.without_mib:.0f} MiB without "
            f"them, {finished.with_mib:.0f} MiB with them, {finished.peak_mib:.0f} at most, {cost_kb:.1f} KiB each. "
            f"A list of all takes {finished.first_list_ms:.0f} ms the first time and {finished.next_list_ms:.0f} ms "
            f"after that, and has {_format_bytes(finished.list_bytes)}."
        )
    return parts


def write_section(docs: Path, result: Result) -> None:
    """
    Replace the figures in docs/performance.md.

    Raises:
        ValueError: the page has no section for them.
    """
    SECTION.write(docs, [_describe(result), *write_tables(result)])


def _describe(result: Result) -> str:
    load, kernel = os.getloadavg()[2], platform.release().partition("-")[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Linux {kernel}, Kubernetes {result.server}, "
        f"{result.jobs} running jobs with {result.variables} variables each; {result.memory_idle_mib:.0f} MiB before "
        f"the requests. Load of the machine in the last 15 minutes: {load:.1f}."
    )


def _cells(figures: Figures) -> str:
    values = (figures.median_ms, figures.p90_ms, figures.p99_ms, figures.max_ms)
    return " | ".join(f"{value:.0f} ms" for value in values)


def _format_bytes(count: int) -> str:
    """
    >>> _format_bytes(900), _format_bytes(900_000), _format_bytes(5_000_000)
    ('900 B', '900 kB', '5.0 MB')
    """
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
