"""
What a command prints: results on stdout as a table, JSON or YAML; notes for people on stderr.

In a pipe there are no colours, no notes, and columns are never cut. Text of a server is escaped, because it may contain
control sequences of a terminal.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Any

import yaml
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from kns.cli.report import escape

_NEVER_CUT = 100_000  # columns of a pipe
_GAP = 2  # blanks between two columns
_LEAST_CUT = 5  # characters of a column that is cut
_STYLES = {
    "SUBMITTED": "yellow",
    "PROCESSING STARTING": "green",
    "COMPLETED": "dim",
    "COMPLETED WITH ERROR": "red",
    "TERMINATED": "dim",
    "CANCELED": "dim",
    "active": "yellow",
    "done": "green",
    "failed": "red",
}


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Screen:
    """`color` is None to decide by the terminal. `quiet` prints no notes."""

    def __init__(self, output: Format = Format.TABLE, *, color: bool | None = None, quiet: bool = False) -> None:
        self.output = output
        self._color = color
        self._quiet = quiet
        self.out = _build_console(color, error=False)
        self._error = _build_console(color, error=True)

    def with_output(self, output: Format) -> "Screen":
        return Screen(output, color=self._color, quiet=self._quiet)

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees stdout."""
        return self.out.is_terminal

    def note(self, text: str) -> None:
        """A line for people; nobody needs it to use the result."""
        if not self._quiet and sys.stderr.isatty():
            self._error.print(Text(escape(text), style="dim"))

    def busy(self, text: str) -> AbstractContextManager[object]:
        """Show that a command works, on a terminal. A pipe gets nothing."""
        if self._quiet or not sys.stderr.isatty():
            return nullcontext()
        return self._error.status(Text(escape(text)))

    def warn(self, text: str) -> None:
        """A line that also a log should have."""
        self._error.print(Text(f"warning: {escape(text)}"), soft_wrap=True)

    def show(self, data: Any, table: RenderableType) -> None:
        """A result: `data` as JSON or YAML, or the table."""
        if self.output is Format.TABLE:
            self.draw(table)
        else:
            self.dump(data)

    def record(self, data: Any) -> None:
        """What a command did, as JSON or YAML. People see that it did not fail."""
        if self.output is not Format.TABLE:
            self.dump(data)

    def stream(self, data: Any) -> None:
        """One of many results that come one after another: a line of JSON, or a document of YAML."""
        if self.output is Format.YAML:
            self._write("---")
            self.dump(data)
            sys.stdout.flush()
        else:
            self._write(write_json(data))

    def dump(self, data: Any) -> None:
        text = write_json(data, indent=2)
        if self.output is Format.YAML:
            is_plain = text == json.dumps(data, indent=2, ensure_ascii=False)
            text = yaml.safe_dump(data, sort_keys=False, allow_unicode=is_plain).removesuffix("\n")
        sys.stdout.write(f"{text}\n")

    def draw(self, renderable: RenderableType) -> None:
        """Text may have several lines."""
        if isinstance(renderable, str):
            renderable = Text("\n".join(escape_line(line) for line in renderable.split("\n")))
        if self.is_terminal:
            self.out.print(renderable)
            return
        with self.out.capture() as captured:
            self.out.print(renderable)
        lines = (line.rstrip() for line in captured.get().splitlines())
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    def line(self, text: str) -> None:
        """One line of a result."""
        self._write(escape_line(text))

    def log(self, text: str) -> None:
        """One line of a log or an event. A pipe gets it as it is."""
        self._write(escape_line(text) if self.is_terminal else text.encode("utf-8", "backslashreplace").decode())

    def _write(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _build_console(color: bool | None, *, error: bool) -> Console:
    stream = sys.stderr if error else sys.stdout
    is_terminal = stream.isatty()
    return Console(
        stderr=error,
        no_color=True if color is False else None,
        force_terminal=is_terminal,
        width=None if is_terminal else _NEVER_CUT,
        highlight=False,
        markup=False,
        emoji=False,
    )


def build_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, wraps: str | None = None) -> Table:
    """
    A table without lines. A status has its colour. None is an empty cell. In a narrow terminal column `wraps` gets more
    lines; without it, all columns are cut.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column != wraps, overflow="fold" if column == wraps else "ellipsis")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def build_fitted_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, width: int, less: Sequence[str], cut: str
) -> Table:
    """
    A table in that width. rich would shorten all columns alike, numbers too. Instead the columns in `less` are left
    out, the first ones first, until the others fit; if that is not enough, column `cut` is cut.
    """
    widths = {
        name: max(_cell(value).cell_len for value in (name, *cells)) + _GAP
        for name, *cells in zip(columns, *rows, strict=True)
    }
    for name in less:
        if sum(widths.values()) > width:
            del widths[name]
    shown = [columns.index(name) for name in widths]
    table = build_table(list(widths), [[row[index] for index in shown] for row in rows])
    excess = sum(widths.values()) - width
    if excess > 0:
        place = list(widths).index(cut)
        table.columns[place].max_width = max(_LEAST_CUT, widths[cut] - _GAP - excess)
    return table


def build_pairs(pairs: Mapping[str, object]) -> Table:
    """Names and values, one a line; pairs without a value are left out."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, ""):
            table.add_row(name, _cell(value))
    return table


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    text = "" if value is None else escape(str(value))
    return Text(text, style=_STYLES.get(text, ""))


def write_json(data: Any, *, indent: int | None = None) -> str:
    """
    JSON in which only printable characters are written as they are: others may control a terminal, or hide what a line
    says.

    >>> write_json({"label": "\\x9b1m \\u202eé"})
    '{"label": "\\\\u009b1m \\\\u202eé"}'
    """
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def escape_line(text: str) -> str:
    """
    A line of a log with its control characters escaped, except tabs.

    >>> escape_line("a\\tb\\x1b]0;title\\x07")
    'a\\tb\\\\x1b]0;title\\\\x07'
    """
    return "\t".join(escape(part) for part in text.split("\t"))
