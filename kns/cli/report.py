"""Print problems and warnings in the format of compilers: `FILE:LINE:COLUMN: KEY PATH: message`."""

from collections.abc import Iterable

import typer

from kns.cli.positions import Positions
from kns.model.appdef.appdef import Command
from kns.model.reading.problem import Problem


class Report:
    """
    The report on one file. `text` is None if the file could not be read.

    Problems and warnings go to stderr, because stdout is for the result.
    """

    def __init__(self, name: str, text: str | None) -> None:
        self._name = name
        self._positions = None if text is None else Positions(text, spellings=Command.OLD_SPELLINGS)

    def problems(self, problems: Iterable[Problem]) -> None:
        self._print(problems, "", key=False)

    def warnings(self, problems: Iterable[Problem]) -> None:
        self._print(problems, "warning: ", key=True)

    def _print(self, problems: Iterable[Problem], label: str, *, key: bool) -> None:
        lines = sorted((self._place(problem, key=key), _describe(problem)) for problem in dict.fromkeys(problems))
        for place, what in lines:
            where = f"{self._name}:{place[0]}:{place[1]}" if any(place) else self._name
            typer.echo(escape(f"{where}: {label}{what}"), err=True)

    def _place(self, problem: Problem, *, key: bool) -> tuple[int, int]:
        """Line and column of a problem; (0, 0) if it has no position in the text."""
        if problem.position is not None:
            return problem.position
        if self._positions is None:
            return 0, 0
        return self._positions.of(problem.location, key=key)


def _describe(problem: Problem) -> str:
    return str(Problem(problem.location, problem.message))


def escape(text: str) -> str:
    """
    `text` on one line with unprintable characters escaped, because keys may contain terminal control sequences.

    >>> escape("a\\nb\\x1b[1mé")
    'a\\\\nb\\\\x1b[1mé'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
