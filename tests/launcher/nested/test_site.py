"""The connection to kns: its credentials."""

from pathlib import Path

import pytest

from kns.client import Client
from kns.launcher.nested.site import read_credentials
from kns.model.errors import KnsError
from tests.launcher.kns_server import write_credentials
from tests.launcher.nested.world import World


@pytest.mark.parametrize("text", ["", "two words", "a b:c\nd"])
def test_credentials_that_are_not_usable(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(KnsError, match="must have one line"):
        read_credentials(tmp_path / "file")
    with pytest.raises(KnsError, match="cannot be read"):
        read_credentials(tmp_path / "missing")


def test_credentials_that_were_rotated_are_used(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = world.site
    (tmp_path / "credentials").write_text("posit:old")
    monkeypatch.setattr("kns.launcher.nested.site._AGE_S", 0.0)
    with pytest.raises(KnsError, match="check nested-credentials-path"):
        site.submit("x", "kns-small", key="1")
    write_credentials(tmp_path)
    assert site.submit("x", "kns-small", key="1") == 7


def test_connections_of_older_credentials_are_closed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except those of the credentials before, which another thread may use at this moment."""
    monkeypatch.setattr("kns.launcher.nested.site._AGE_S", 0.0)
    closed: list[Client] = []
    monkeypatch.setattr(Client, "close", lambda client: closed.append(client))  # noqa: PLW0108 - a built-in gets no self
    used = []
    for number in range(4):
        (tmp_path / "credentials").write_text(f"launcher:{number}\n")
        used.append(world.site._current())
    assert [client in closed for client in used] == [True, True, False, False]
    monkeypatch.undo()
    for client in closed:
        client.close()
