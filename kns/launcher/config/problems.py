"""What is wrong in a configuration file, and where."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from kns.model.errors import KnsError


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One problem of the configuration.

    `line` counts from 1; 0 means the whole file, or that the value did not come from a file. `key` may be empty.

    >>> str(Problem("launcher.conf", 3, "fetch-limit", "must be a whole number"))
    'launcher.conf:3: fetch-limit: must be a whole number'
    """

    file: str
    line: int
    key: str
    said: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.key, self.said) if part)


class ConfigError(KnsError):
    """The configuration is not usable. `problems` holds every problem, in the order of the files."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def suggest(name: str, known: Iterable[str]) -> str:
    """
    What to write instead of an unknown name.

    >>> suggest("api-ur", ["api-url", "fetch-limit"])
    'did you mean api-url?'
    >>> suggest("x", ["b", "a"])
    'known are a, b'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
