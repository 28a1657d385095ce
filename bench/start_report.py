"""The tables and plots of `bench.start`, `bench.claims` and `bench.wake`, and their sections of docs/performance.md."""

import argparse
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench.chains import Start
from bench.command import report
from bench.idle import Idle
from bench.page import Section, format_table
from demo.kubectl import Kubectl
from demo.target import ROOT

_PLOT = "performance-{section}-{key}.png"


COLD, WARM = Section("start"), Section("warm")
_STARTS = {COLD: "cold start", WARM: "start from a pool"}


@dataclass(slots=True)
class Measured:
    """The figures of one chain."""

    starts: list[Start] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    makespans_s: list[float] = field(default_factory=list)
    idle: Idle | None = None


Chains = Mapping[str, Measured]


@dataclass(frozen=True, slots=True)
class Row:
    """The values of one figure, by chain. Several values are shown as their median with the range."""

    name: str
    values: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with one column per chain, and one for the ratio of the second chain to the first."""

    key: str
    title: str
    unit: str
    chains: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def is_empty(self) -> bool:
        return not any(values for row in self.rows for values in row.values.values())

    def text(self) -> str:
        """The table in Markdown."""
        head = [self.title, *self.chains, *(["ratio"] if len(self.chains) == 2 else [])]
        rows = [head]
        for row in self.rows:
            cells = [format_values(row.values.get(chain, ()), self.unit) for chain in self.chains]
            rows.append([row.name, *cells, *self._ratio(row)])
        return format_table(rows)

    def _ratio(self, row: Row) -> list[str]:
        if len(self.chains) != 2:
            return []
        first, second = (row.values.get(chain) for chain in self.chains)
        return [f"{median(second) / median(first):.2f}" if first and second and median(first) else "-"]


def format_values(values: Sequence[float], unit: str) -> str:
    """
    >>> format_values([3.0, 1.0, 2.0], "s"), format_values([1.25], "s"), format_values([], "s")
    ('2.0 s (1.0 to 3.0)', '1.2 s', '-')
    """
    if not values:
        return "-"
    middle = f"{median(values):.1f} {unit}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.1f} to {max(values):.1f})"


def build_tables(chains: Chains, section: Section = COLD) -> list[Table]:
    """The tables that have figures."""
    names, starts = tuple(chains), _STARTS[section]

    def each(read: Callable[[Measured], Sequence[float]]) -> dict[str, Sequence[float]]:
        return {name: read(measured) for name, measured in chains.items()}

    idle = {name: measured.idle for name, measured in chains.items() if measured.idle is not None}
    parts = sorted({part for figures in idle.values() for part in figures.containers})
    memory = [
        Row(part, {name: [idle[name].containers[part]] for name in idle if part in idle[name].containers})
        for part in parts
    ]
    tables = [
        Table("page", starts, "s", names, (Row("to the page", each(lambda m: [s.total_s for s in m.starts])),)),
        Table("timeline", "after the request", "s", names, _mark_rows(chains)),
        Table(
            "at-once",
            f"{starts}, all at once",
            "s",
            names,
            (Row("to all pages", each(lambda m: m.makespans_s)),),
        ),
        Table("end", "end", "s", names, (Row("to the namespace gone", each(lambda m: m.ends_s)),)),
        Table(
            "memory",
            "memory when idle",
            "MiB",
            names,
            (Row("sum", {name: [figures.memory_mib] for name, figures in idle.items()}), *memory),
        ),
        Table(
            "processor",
            "processor when idle",
            "millicores",
            names,
            (Row("sum", {name: [figures.millicores] for name, figures in idle.items()}),),
        ),
    ]
    return [table for table in tables if not table.is_empty]


def _mark_rows(chains: Chains) -> tuple[Row, ...]:
    """What happened during the starts, in the order of time."""
    values = {
        mark: {
            name: [start.marks[mark] for start in measured.starts if mark in start.marks]
            for name, measured in chains.items()
        }
        for mark in {mark for measured in chains.values() for start in measured.starts for mark in start.marks}
    }
    rows = [Row(mark, by_chain) for mark, by_chain in values.items()]
    return tuple(sorted(rows, key=lambda row: max(median(each) for each in row.values.values() if each)))


def write_section(docs: Path, section: Section, tables: Sequence[Table], kubectl: Kubectl) -> None:
    """
    Replace the figures in docs/performance.md, and the plots beside it.

    Raises:
        ValueError: the page has no section for them.
    """
    parts = [describe_machine(kubectl)]
    for table in tables:
        file = _PLOT.format(section=section.name, key=table.key)
        _plot(table, docs / file)
        parts += [table.text(), f"![{table.title}]({file})"]
    section.write(docs, parts)


def report_tables(
    result: Any,
    tables: Sequence[Table],
    section: Section,
    *,
    options: argparse.Namespace,
    kubectl: Kubectl,
    console: Console,
) -> int:
    """
    Show the tables of `result`, a dataclass with `is_whole`, and write them where `--write` and `--json` say. Returns
    the exit status.
    """
    if options.write:
        write_section(ROOT / "docs", section, tables, kubectl)
    return report(
        result,
        show=lambda _: console.print("\n\n".join(table.text() for table in tables), markup=False, soft_wrap=True),
        to_json=asdict,
        file=options.json,
        is_whole=result.is_whole,
    )


def describe_machine(kubectl: Kubectl) -> str:
    """The date, the machine, and the versions of what was measured."""
    node = kubectl.get("nodes")["items"][0]["status"]
    cores, memory = node["capacity"]["cpu"], int(node["capacity"]["memory"].removesuffix("Ki")) / 2**20
    info = node["nodeInfo"]
    load, kernel = os.getloadavg()[2], platform.release().partition("-")[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, one node with {cores} cores and {memory:.0f} GiB, Linux {kernel}, "
        f"Kubernetes {info['kubeletVersion']}, {info['containerRuntimeVersion']}. "
        f"Load of the machine in the last 15 minutes: {load:.1f}."
    )


def _plot(table: Table, file: Path) -> None:
    """Bars of the medians, with the range."""
    from matplotlib.figure import Figure

    height = 0.8 / len(table.chains)
    figure = Figure(figsize=(8, 1 + 0.3 * len(table.rows) * len(table.chains)), layout="constrained")
    axes = figure.subplots()
    for offset, chain in enumerate(table.chains):
        rows = [(index, row.values.get(chain) or ()) for index, row in enumerate(table.rows)]
        shown = [(index, values) for index, values in rows if values]
        middles = [median(values) for _, values in shown]
        errors = [
            [middle - min(values) for middle, (_, values) in zip(middles, shown, strict=True)],
            [max(values) - middle for middle, (_, values) in zip(middles, shown, strict=True)],
        ]
        axes.barh([index + offset * height for index, _ in shown], middles, height, xerr=errors, label=chain)
    axes.set_yticks([index + 0.4 - height / 2 for index in range(len(table.rows))], [row.name for row in table.rows])
    axes.invert_yaxis()
    axes.set_xlabel(table.unit)
    axes.set_title(table.title)
    axes.legend()
    figure.savefig(file, dpi=100, metadata={"Software": None})
