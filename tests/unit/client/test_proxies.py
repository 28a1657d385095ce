"""Variables of proxies that httpx refuses are an error of the client, and not one of the program."""

import pytest

from kns.client import Client, ClientError
from kns.client.realm import Realm

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


UNUSABLE = [
    ("ALL_PROXY", "socks5://proxy:1080", "'socksio' package is not installed"),
    ("https_proxy", "ftp://proxy:21", "Unknown scheme"),
    ("NO_PROXY", "10.0.0.0/8,fd00::/8", "Invalid port"),
]


@pytest.mark.parametrize(("name", "value", "why"), UNUSABLE, ids=[row[0] for row in UNUSABLE])
def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    for make in (lambda: Client("https://kns.example.org"), lambda: Realm("https://kc.example.org/realms/lab", "cli")):
        with pytest.raises(ClientError, match=f"cannot be used: .*{why}.*; correct or unset {name}"):
            make()


def test_a_password_of_a_proxy_is_not_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://ana:s3cr3t@proxy:21")
    with pytest.raises(ClientError) as caught:
        Client("https://kns.example.org")
    assert "s3cr3t" not in str(caught.value)


def test_a_loopback_address_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    Client("http://127.0.0.1:8080").close()
