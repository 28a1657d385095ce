"""
What is wrong with a file: as lines in the format of compilers, `FILE:LINE:COLUMN: KEY PATH: message`, or as data.
"""

from collections.abc import Iterable
from typing import Any

import typer

from kns.cli.positions import Positions
from kns.model.appdef.appdef import Command
from kns.model.reading.problem import Problem, key_path


class Report:
    """
    The report on one file. `text` is None if the file could not be read.

    Problems and warnings go to stderr, because stdout is for the result. With `quiet` they are only collected: `found`
    has them as data.
    """

    def __init__(self, name: str, text: str | None, *, quiet: bool = False) -> None:
        self._name = name
        self._positions = None if text is None else Positions(text, spellings=Command.OLD_SPELLINGS)
        self._quiet = quiet
        self.found: list[dict[str, Any]] = []

    def problems(self, problems: Iterable[Problem]) -> None:
        self._print(problems, "problem", key=False)

    def warnings(self, problems: Iterable[Problem]) -> None:
        self._print(problems, "warning", key=True)

    def _print(self, problems: Iterable[Problem], severity: str, *, key: bool) -> None:
        label = "warning: " if severity == "warning" else ""
        lines = sorted(
            (self._place(problem, key=key), _describe(problem), key_path(problem.location), problem.message)
            for problem in dict.fromkeys(problems)
        )
        for (line, column), what, path, message in lines:
            self.found.append(
                {
                    "severity": severity,
                    "file": self._name,
                    "line": line or None,
                    "column": column or None,
                    "path": path,
                    "message": message,
                }
            )
            where = f"{self._name}:{line}:{column}" if line or column else self._name
            if not self._quiet:
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
