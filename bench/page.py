"""The tables of docs/performance.md, and its sections, each of which one measurement replaces."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE = "performance.md"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page between two comments."""

    name: str

    @property
    def begin(self) -> str:
        return f"<!-- bench-{self.name}: begin -->"

    @property
    def end(self) -> str:
        return f"<!-- bench-{self.name}: end -->"

    def write(self, docs: Path, parts: Sequence[str]) -> None:
        """
        Replace the section on the page in `docs` by `parts`, which are blocks of Markdown.

        Raises:
            ValueError: the page does not have the section.
        """
        page = docs / _PAGE
        before, rest = page.read_text("utf-8").split(self.begin)
        _, after = rest.split(self.end)
        page.write_text(before + "\n\n".join([self.begin, *parts, self.end]) + after, "utf-8")


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """
    A table in Markdown. The first row is the head.

    >>> print(format_table([("span", "p50"), ("ready", "1 s")]))
    | span | p50 |
    | --- | --- |
    | ready | 1 s |
    """
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest))
