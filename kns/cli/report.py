"""How faults and warnings look on a terminal: `FILE:LINE:COLUMN: KEY PATH: what is wrong`, as compilers write them."""

from collections.abc import Iterable

import typer

from kns.cli.positions import Positions
from kns.cli.unknown import OLD_SPELLINGS
from kns.model.reading.problem import Problem


class Report:
    """
    Of one file. `text` is None for a file that could not be read.

    Faults go to stderr like warnings: stdout is for the result.
    """

    def __init__(self, name: str, text: str | None) -> None:
        self._name = name
        self._positions = None if text is None else Positions(text, spellings=OLD_SPELLINGS)

    def faults(self, problems: Iterable[Problem]) -> None:
        self._tell(problems, "", key=False)

    def warnings(self, problems: Iterable[Problem]) -> None:
        self._tell(problems, "warning: ", key=True)

    def _tell(self, problems: Iterable[Problem], label: str, *, key: bool) -> None:
        lines = sorted((self._place(problem, key=key), _describe(problem)) for problem in dict.fromkeys(problems))
        for place, what in lines:
            where = f"{self._name}:{place[0]}:{place[1]}" if any(place) else self._name
            typer.echo(escape(f"{where}: {label}{what}"), err=True)

    def _place(self, problem: Problem, *, key: bool) -> tuple[int, int]:
        """(0, 0) for what has no place in the text."""
        if problem.position is not None:
            return problem.position
        if self._positions is None:
            return 0, 0
        return self._positions.of(problem.location, key=key)


def _describe(problem: Problem) -> str:
    return str(Problem(problem.location, problem.message))


def escape(text: str) -> str:
    """
    `text` on one line that any terminal can show: keys are somebody else's text.

    >>> escape("a\\nb\\x1b[1mé")
    'a\\\\nb\\\\x1b[1mé'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
