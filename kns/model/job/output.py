"""
A job's output: the lines of the init job, with kns's own lines before and after them.

The three parts are stored separately, so that reading the init job's log again replaces exactly that part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINES = 10_000
CUT = "[earlier lines were cut]"


def split_lines(text: str) -> list[str]:
    """
    The lines of a text. Only a newline ends a line; the carriage returns of a progress bar are part of its line.

    >>> split_lines("10%\\r20%\\n\\nend\\n"), split_lines("")
    (['10%\\r20%', '', 'end'], [])
    """
    return text.removesuffix("\n").split("\n") if text else []


def keep_last(lines: Sequence[str], most: int) -> list[str]:
    """
    The last lines, at most `most`. If lines were cut, the first line says so.

    >>> keep_last(["a", "b", "c"], 2), keep_last(["a", "b"], 2)
    (['[earlier lines were cut]', 'c'], ['a', 'b'])
    """
    return list(lines) if len(lines) <= most else [CUT, *lines[len(lines) - most + 1 :]]


@dataclass(frozen=True, slots=True)
class JobOutput:
    """
    `head` has kns's warnings, `end` the reason of the job's end, `log` the text of the init job.

    `help` is the app's help page (HTML). It is not output, but is stored with it because it is kept as long.
    """

    head: str = ""
    log: str = ""
    end: str = ""
    help: str = ""

    def lines(self) -> list[str]:
        """
        All lines, at most the last `MAX_LINES`. If any were cut, now or when the log was stored, the first says so.
        """
        log = split_lines(self.log)
        noted = log[:1] == [CUT]
        rest = [*split_lines(self.head), *log[noted:], *split_lines(self.end)]
        return keep_last([CUT, *rest] if noted else rest, MAX_LINES)

    def render(self, last: int = 0) -> str:
        """
        The last `last` lines (0: all), each with a newline.

        >>> JobOutput(head="a", log="b\\nc", end="d").render(2)
        'c\\nd\\n'
        """
        lines = self.lines()
        return "".join(f"{line}\n" for line in (lines[-last:] if last else lines))
