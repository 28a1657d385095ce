"""
A job's output: kns's own lines before and after, and between them what the init job printed.

The three parts are kept apart so that re-reading the init job's log after a restart replaces exactly that part.
"""

from dataclasses import dataclass

MAX_LINES = 10_000


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
        """All lines, at most the last `MAX_LINES`; a cut is noted in the first line."""
        all_lines = [line for part in (self.head, self.log, self.end) for line in part.splitlines()]
        if len(all_lines) <= MAX_LINES:
            return all_lines
        kept = all_lines[-(MAX_LINES - 1) :]
        return [f"[{len(all_lines) - len(kept)} earlier lines were cut]", *kept]

    def render(self, last: int = 0) -> str:
        """
        The last `last` lines (0: all), each ended by a newline.

        >>> JobOutput(head="a", log="b\\nc", end="d").render(2)
        'c\\nd\\n'
        """
        lines = self.lines()
        return "".join(f"{line}\n" for line in (lines[-last:] if last else lines))
