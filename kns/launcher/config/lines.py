"""
The format of the Launcher's configuration files: `key=value` lines, `[section]` headings, `#` and `;` comments.

A `#` starts a comment at the start of a line only, because images, paths and tokens may contain one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kns.launcher.config.problems import Problem

MAX_CONF_BYTES = 1 << 20  # a file of 10 000 profiles has about half of that; it also stops a read of /dev/zero


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key=value` line."""

    line: int
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Section:
    """The lines below a heading. `name` is the text between the brackets, "" above the first heading."""

    line: int
    name: str
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ConfFile:
    """A file that was read. `path` is the path as it was given."""

    path: str
    sections: tuple[Section, ...]

    def entries(self) -> Iterator[Entry]:
        for section in self.sections:
            yield from section.entries


def read_conf(path: Path, problems: list[Problem]) -> ConfFile | None:
    """
    Read and split a file. Return None, and add a problem, if it cannot be read.

    Lines that are neither a key, a heading nor a comment are problems too; the other lines are returned.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONF_BYTES + 1)
    except OSError as error:
        problems.append(Problem(str(path), 0, "", f"cannot be read: {error.strerror or error}"))
        return None
    if len(content) > MAX_CONF_BYTES:
        problems.append(Problem(str(path), 0, "", f"is larger than {MAX_CONF_BYTES} bytes"))
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(Problem(str(path), line, "", "is not UTF-8"))
        return None
    return parse_conf(str(path), text, problems)


def parse_conf(path: str, text: str, problems: list[Problem]) -> ConfFile:
    """Split the text of a file; see `read_conf`."""
    sections = [Section(0, "")]
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if line[-1] != "]" or not line[1:-1].strip():
                problems.append(Problem(path, number, "", f"{line!r} is not a heading; write [name]"))
                continue
            sections.append(Section(number, line[1:-1].strip()))
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            problems.append(Problem(path, number, "", f"{line[:60]!r} is not a setting; write key=value"))
            continue
        sections[-1].entries.append(Entry(number, key.strip(), value.strip()))
    return ConfFile(path, tuple(sections))
