"""Where the configuration is. It is never in the current folder by accident: a checkout could bring its own."""

import pwd
from pathlib import Path
from typing import NoReturn

import pytest

from kns.cli.exits import CommandError
from kns.cli.surroundings import Surroundings


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.mark.parametrize("given", ["", "relative"])
def test_a_folder_of_xdg_that_is_no_absolute_path_is_ignored(
    monkeypatch: pytest.MonkeyPatch, home: Path, given: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", given)
    assert Surroundings(environ={}).config_dir == home / ".config" / "kns"


def test_without_a_home_the_variable_is_needed(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A container may run as a user without an account. Python then leaves the tilde as it is."""

    def find_nobody(number: int) -> NoReturn:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", find_nobody)
    with pytest.raises(CommandError, match="set KNS_CONFIG_DIR"):
        _ = Surroundings(environ={}).config_dir
    assert Surroundings(environ={"KNS_CONFIG_DIR": str(home)}).config_dir == home


def test_a_relative_folder_stays_the_same_for_a_program_that_changes_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The path of a kubeconfig is below it."""
    monkeypatch.chdir(tmp_path)
    assert Surroundings(environ={"KNS_CONFIG_DIR": "conf"}).config_dir == tmp_path / "conf"
