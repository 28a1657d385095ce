"""The token's file is checked whenever it is read, and not only at the start."""

import os
from pathlib import Path

import pytest

from kns.launcher.config.credentials import Account, TokenFileError, check_token_file, read_token_file
from kns.launcher.process import TokenSource
from kns.model.errors import KnsError


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("kns.launcher.process._TOKEN_AGE_S", 0.0)
    path = tmp_path / "token"
    path.write_text("one.two.three\n")
    path.chmod(0o600)
    return path


def exchange(path: Path, text: str, *, mode: int = 0o600) -> None:
    """As somebody who may write to the folder: a new file takes the place of the old one."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.chmod(mode)
    other.replace(path)


def test_a_rotated_token_is_used(token: Path) -> None:
    source = TokenSource("", token, None)
    assert source() == "one.two.three"
    exchange(token, "four.five.six")
    assert source() == "four.five.six"


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_token_that_everybody_could_have_written_is_not_used(token: Path, mode: int) -> None:
    source = TokenSource("", token, None)
    assert source() == "one.two.three"
    exchange(token, "four.five.six", mode=mode)
    assert source() == "one.two.three"
    exchange(token, "seven.eight.nine")
    assert source() == "seven.eight.nine"


@pytest.mark.proves("security", "exchange the token by a file of their own in its folder")
def test_a_token_of_another_user_is_not_used(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TokenSource("", token, None)
    assert source() == "one.two.three"
    exchange(token, "four.five.six")
    _give_away(token, monkeypatch)
    assert source() == "one.two.three"


def test_the_server_user_may_own_it(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = _give_away(token, monkeypatch)
    with pytest.raises(TokenFileError, match="belongs to user"):
        read_token_file(token, None)
    assert read_token_file(token, Account(owner)) == "one.two.three"


def _give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the file belong to a user who is neither root nor the one of this process; their number."""
    if os.geteuid() == 0:
        os.chown(path, 4242, -1)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    return owner


def test_at_the_start_it_is_an_error(token: Path) -> None:
    token.chmod(0o666)
    with pytest.raises(KnsError, match="can be written by everybody"):
        TokenSource("", token, None)()


def test_a_pipe_in_its_place_holds_nothing_up(token: Path) -> None:
    source = TokenSource("", token, None)
    source()
    token.unlink()
    os.mkfifo(token, 0o600)
    assert source() == "one.two.three"
    assert check_token_file(token, None) == ("is not a file", "")
