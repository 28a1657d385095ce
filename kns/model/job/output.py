"""
A job's output: kns's own lines before and after, and between them what the init job printed.

The three parts are kept apart so that re-reading the init job's log after a restart replaces exactly that part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINES = 10_000
CUT = "[earlier lines were cut]"


def split_lines(text: str) -> list[str]:
    """
    The lines of a text; nothing but a newline ends one. A progress bar's carriage returns are part of its line.

    >>> split_lines("10%\\r20%\\n\\nend\\n"), split_lines("")
    (['10%\\r20%', '', 'end'], [])
    """
    return text.removesuffix("\n").split("\n") if text else []


def keep_last(lines: Sequence[str], most: int) -> list[str]:
    """
    The last lines, at most `most` with the note of the cut, which is the first.

    >>> keep_last(["a", "b", "c"], 2), keep_last(["a", "b"], 2)
    (['[earlier lines were cut]', 'c'], ['a', 'b'])
    """
    return list(lines) if len(lines) <= most else [CUT, *lines[len(lines) - most + 1 :]]


@dataclass(frozen=True, slots=True)
class JobOutput:
    """
    `head` and `end` are kns's own lines (warnings; the reason of the end), `log` is the init job's text.

    `help` is no output but the app's own help page (HTML), kept beside it because it lives as long.
    """

    head: str = ""
    log: str = ""
    end: str = ""
    help: str = ""

    def lines(self) -> list[str]:
        """All lines, at most the last `MAX_LINES`; a cut, also one made when the log was stored, is in the first."""
        log = split_lines(self.log)
        noted = log[:1] == [CUT]
        rest = [*split_lines(self.head), *log[noted:], *split_lines(self.end)]
        return keep_last([CUT, *rest] if noted else rest, MAX_LINES)

    def render(self, last: int = 0) -> str:
        """
        The last `last` lines (0: all), each ended by a newline.

        >>> JobOutput(head="a", log="b\\nc", end="d").render(2)
        'c\\nd\\n'
        """
        lines = self.lines()
        return "".join(f"{line}\n" for line in (lines[-last:] if last else lines))
