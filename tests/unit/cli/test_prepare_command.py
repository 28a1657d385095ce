"""`kns prepare` shows that it works while it waits, and each result as soon as it is there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import typer
from typer.testing import CliRunner

from kns.cli.prepare_command import add_prepare
from kns.cli.screen import Screen
from kns.model.findings import Finding, Severity

FOUND = Finding("v1.36.3", Severity.OK, "has a prepared state")


def test_the_terminal_says_that_a_version_is_made_until_its_result_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes half a minute, and ten with a slow node."""
    done: list[str] = []

    @contextmanager
    def show() -> Iterator[None]:
        done.append("on")
        yield
        done.append("off")

    def busy(_self: Screen, text: str) -> AbstractContextManager[object]:
        assert "half a minute" in text
        return show()

    def prepare_site(all_versions: bool) -> Iterator[Finding]:
        for _ in range(2 if all_versions else 1):
            done.append("made")
            yield FOUND

    monkeypatch.setattr(Screen, "busy", busy)
    monkeypatch.setattr("kns.cli.preflight_command.show", lambda _finding: done.append("printed"))
    app = typer.Typer()
    app.callback()(lambda: None)
    add_prepare(app, prepare_site)
    assert CliRunner().invoke(app, ["prepare", "--all"]).exit_code == 0
    assert done == [*["on", "made", "off", "printed"] * 2, "on", "off"]
