"""A file of certificate authorities that is not usable is one sentence, and not a crash of the program."""

from pathlib import Path

import pytest

from kns.client import Client, ClientError
from kns.client.realm import Realm

URL = "https://kns.example.org"


@pytest.fixture(params=["missing", "text"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    if request.param == "text":
        path.write_text("no certificate\n")
    return path


def test_a_file_that_was_given(unusable: Path) -> None:
    with pytest.raises(ClientError, match=rf"no certificate authorities can be read from {unusable}: "):
        Client(URL, authority_file=unusable)


def test_the_file_of_the_variable(unusable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(unusable))
    for connect in (lambda: Client(URL), lambda: Realm(f"{URL}/realms/lab", "kns-cli")):
        with pytest.raises(ClientError, match=r"ca\.pem \(SSL_CERT_FILE\): "):
            connect()


def test_a_plain_connection_needs_none(unusable: Path) -> None:
    Client("http://127.0.0.1:1", authority_file=unusable).close()
