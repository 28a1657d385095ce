"""The sign-in in the realm: the address that a browser is led to, and the code that it brings back."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from kns.adapters.keycloak_access import KeycloakAccess
from kns.adapters.keycloak_sign_in import KeycloakSignIn
from kns.model.errors import KnsError, RefusedError, UnavailableError
from tests.adapters.faulty_server import Answer, Fault, Reset
from tests.adapters.keycloak_server import REALM, KeycloakServer

BACK = "https://kns.example.org/ui/sign-in/keycloak/back"
VERIFIER = "v" * 43
TOKEN_PATH = "/protocol/openid-connect/token"


@pytest.fixture
def server() -> Iterator[KeycloakServer]:
    server = KeycloakServer()
    yield server
    server.close()


@pytest.fixture
def sign_in(server: KeycloakServer) -> KeycloakSignIn:
    return KeycloakSignIn(KeycloakAccess(url=server.url, realm=REALM, client_id="page"))


def go(server: KeycloakServer, sign_in: KeycloakSignIn) -> dict[str, list[str]]:
    """The browser goes to the realm, and its user signs in there. The query of the address."""
    url = urlsplit(sign_in.build_url(redirect_url=BACK, state="s", verifier=VERIFIER))
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{server.url}/realms/{REALM}/protocol/openid-connect/auth"
    query = parse_qs(url.query)
    server.codes["c"] = query["redirect_uri"][0], query["code_challenge"][0], "the token"
    return query


def test_a_code_becomes_a_token(server: KeycloakServer, sign_in: KeycloakSignIn) -> None:
    query = go(server, sign_in)
    assert (query["client_id"], query["response_type"]) == (["page"], ["code"])
    assert (query["state"], query["code_challenge_method"]) == (["s"], ["S256"])
    assert sign_in.redeem("c", redirect_url=BACK, verifier=VERIFIER) == "the token"


def test_the_way_out_names_the_client_and_the_way_back(server: KeycloakServer, sign_in: KeycloakSignIn) -> None:
    url = urlsplit(sign_in.build_sign_out_url(redirect_url=BACK))
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{server.url}/realms/{REALM}/protocol/openid-connect/logout"
    assert parse_qs(url.query) == {"client_id": ["page"], "post_logout_redirect_uri": [BACK]}


def test_a_confidential_client_sends_its_secret(server: KeycloakServer, sign_in: KeycloakSignIn) -> None:
    go(server, sign_in)
    access = KeycloakAccess(url=server.url, realm=REALM, client_id="page", client_secret="s3cr3t")
    assert "s3cr3t" not in repr(access)
    KeycloakSignIn(access).redeem("c", redirect_url=BACK, verifier=VERIFIER)
    assert server.seen[-1].body["client_secret"] == "s3cr3t"


@pytest.mark.parametrize(
    ("code", "redirect_url", "verifier"),
    [("d", BACK, VERIFIER), ("c", "https://other.example.org/", VERIFIER), ("c", BACK, "w" * 43)],
    ids=["another code", "another address", "another verifier"],
)
def test_a_code_that_is_not_this_browsers_is_refused(
    server: KeycloakServer, sign_in: KeycloakSignIn, code: str, redirect_url: str, verifier: str
) -> None:
    go(server, sign_in)
    with pytest.raises(RefusedError, match="invalid_grant"):
        sign_in.redeem(code, redirect_url=redirect_url, verifier=verifier)


FAULTS: dict[str, tuple[Fault, type[KnsError]]] = {
    "no answer": (Reset(), UnavailableError),
    "a fault of the server": (Answer(503, {"error": "unavailable"}), UnavailableError),
    "another program": (Answer(200, b"<html>"), UnavailableError),
    "no token": (Answer(200, {"token_type": "Bearer"}), UnavailableError),
    "a wrong secret": (Answer(401, {"error": "unauthorized_client"}), RefusedError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one_of_two_errors(server: KeycloakServer, sign_in: KeycloakSignIn, fault: str) -> None:
    """And none is tried again: a code is valid once."""
    scripted, error = FAULTS[fault]
    go(server, sign_in)
    server.script("POST", TOKEN_PATH, scripted)
    with pytest.raises(error):
        sign_in.redeem("c", redirect_url=BACK, verifier=VERIFIER)
    assert len(server.seen) == 1
