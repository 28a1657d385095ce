"""A problem in a document: its key path and a message. The message never contains a value, which may be secret."""

from dataclasses import dataclass

Location = tuple[int | str, ...]  # keys and list indices from the top of the document


def key_path(location: Location) -> str:
    """
    >>> key_path(("commands", "Hello", "templates", 0, "cmd"))
    'commands.Hello.templates[0].cmd'
    """
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


@dataclass(frozen=True, slots=True)
class Problem:
    """`location` is empty for the whole document. `position` (line, column) is set only where there is no key path."""

    location: Location
    message: str
    position: tuple[int, int] | None = None

    def __str__(self) -> str:
        """
        >>> str(Problem(("users", "ana"), "must be a JSON object"))
        'users.ana: must be a JSON object'
        >>> str(Problem((), "is not JSON: Expecting value", (1, 11)))
        'is not JSON: Expecting value (line 1, column 11)'
        """
        where = "" if self.position is None else f" (line {self.position[0]}, column {self.position[1]})"
        path = key_path(self.location)
        return f"{path}: {self.message}{where}" if path else f"{self.message}{where}"

    def below(self, prefix: Location) -> "Problem":
        """The same problem in an outer document that contains this one at `prefix`."""
        return Problem((*prefix, *self.location), self.message, self.position)
