"""Errors of templates."""

from dataclasses import dataclass

from kns.model.errors import InvalidInputError, clip


class TemplateError(InvalidInputError):
    """
    A template cannot be used. `file` is its name in the scratch folder, `line` counts from 1, 0 means the whole file.

    For the Launcher it is an invalid request: the job cannot run, whoever has to change something.
    """

    def __init__(self, file: str, line: int, said: str) -> None:
        self.file = file
        self.line = line
        self.said = clip(said)
        super().__init__(f"{file}:{line}" if line else file, self.said)


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of the validation. `where` is a path in the object, or "" for the whole template."""

    file: str
    where: str
    said: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.where, self.said) if part)
