"""The documentation of the command line names the commands that there are."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from kns.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = [*DOCS.glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")]
OF_THE_SITE = {"preflight", "prepare", "render", "posit"}  # `kns.__main__` adds them


def list_commands() -> dict[str, Any]:
    """The commands that help shows, by name, in the classes of typer's own parser."""
    group = typer.main.get_command(app)
    commands = getattr(group, "commands")  # noqa: B009 - typer's own class for it has no public name
    return {name: command for name, command in commands.items() if not command.hidden}


def test_every_command_is_on_its_page() -> None:
    text = (DOCS / "command-line.md").read_text("utf-8")
    assert [name for name in {*list_commands(), *OF_THE_SITE} if f"`kns {name}" not in text] == []


def test_the_comparison_with_the_page_names_commands_that_exist() -> None:
    section = (DOCS / "web-page.md").read_text("utf-8").partition("## The page and the command line")[2]
    table = section.partition("The exceptions:")[0]
    rows = [line.split("|")[3] for line in table.splitlines() if line.startswith("| ")][1:]
    named = {word.split()[0] for row in rows for word in re.findall("`([^`]+)`", row)}
    assert len(named) > 15
    assert named <= set(list_commands())


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_a_page_names_commands_and_files_that_exist(page: Path) -> None:
    """A command is `kns WORD`; a file is named from the root of the repository, or from an example's templates."""
    text = page.read_text("utf-8")
    messages = {"said"}  # of the Posit plugin: `kns said 429`
    assert set(re.findall(r"`(?:python -m )?kns ([a-z][a-z-]*)", text)) <= {*list_commands(), *OF_THE_SITE, *messages}
    files = re.findall(r"`((?:kns|tests|demo|bench|testbed|manifests|overlays)/[a-z0-9_./-]+)`", text)
    folders = (ROOT, page.parent / "templates")
    assert [file for file in files if not any((folder / file).exists() for folder in folders)] == []
