"""Output for a terminal or a log file: plain lines, each with the time since the start."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Screen:
    """Prints headings, and steps with the seconds since the start."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """
        Seconds since the start of the command.
        """
        return time.monotonic() - self._started

    def heading(self, text: str) -> None:
        """
        Print the heading of a new part.
        """
        self._console.print(Text(f"\n== {text}", style="bold cyan"))

    def step(self, text: str, *, style: str = "") -> None:
        """
        Print one step.
        """
        self._console.print(Text(f"{self.elapsed_s:6.1f}s  ", style="dim").append(Text(text, style=style)))

    def text(self, text: str, *, style: str = "") -> None:
        """
        Print a text unchanged.
        """
        self._console.print(Text(text.rstrip("\n"), style=style))

    def quote(self, text: str) -> None:
        """
        Print the output of another program.
        """
        for line in text.rstrip("\n").splitlines():
            self._console.print(Text(f"         | {line}", style="green"))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """
        Print a table. All columns except the first are right-aligned.
        """
        table = Table(title=title, title_justify="left", title_style="bold")
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)
