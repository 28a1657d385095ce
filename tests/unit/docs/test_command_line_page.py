"""The documentation of the command line names the commands that there are."""

import re
from pathlib import Path
from typing import Any

import typer

from kns.cli.app import app

DOCS = Path(__file__).resolve().parents[3] / "docs"


def list_commands() -> dict[str, Any]:
    """The commands that help shows, by name, in the classes of typer's own parser."""
    group = typer.main.get_command(app)
    commands = getattr(group, "commands")  # noqa: B009 - typer's own class for it has no public name
    return {name: command for name, command in commands.items() if not command.hidden}


def test_every_command_is_on_its_page() -> None:
    text = (DOCS / "command-line.md").read_text("utf-8")
    assert [name for name in list_commands() if f"`kns {name}" not in text] == []


def test_the_comparison_with_the_page_names_commands_that_exist() -> None:
    section = (DOCS / "web-page.md").read_text("utf-8").partition("## The page and the command line")[2]
    table = section.partition("The exceptions:")[0]
    rows = [line.split("|")[3] for line in table.splitlines() if line.startswith("| ")][1:]
    named = {word.split()[0] for row in rows for word in re.findall("`([^`]+)`", row)}
    assert len(named) > 15
    assert named <= set(list_commands())
