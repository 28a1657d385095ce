"""
kns's Keycloak adapter over a small server: what it sends, how often, and how it reports each fault.

The first half runs on the realm in memory as well, so that the flow tests lean on promises that the adapter keeps.
"""

import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kns.adapters import keycloak_admin
from kns.adapters.keycloak_access import KeycloakAccess
from kns.adapters.keycloak_admin import KeycloakClients
from kns.model.errors import (
    AlreadyExistsError,
    ForbiddenError,
    KnsError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from kns.model.site import JobAddress, Proxies
from kns.objects.keycloak import build_client, has_all_of
from kns.ports import IdentityProvider
from tests.adapters.certificates import make_certificate
from tests.adapters.faulty_server import Answer, Fault, Hang, LostAnswer, Reset
from tests.adapters.keycloak_server import CLIENT_ID, CLIENT_SECRET, REALM, KeycloakServer
from tests.fakes.keycloak import MemoryRealm
from tests.fakes.stores import FakeClock
from tests.patience import PATIENCE_S

WANTED = build_client(
    7,
    record_uid="uid-7",
    installation_uid="uid-of-kns",
    secret="secret-of-7",
    address=JobAddress("h", "/", "https://h.example.org"),
    redirect_paths=["/a", "/b"],
)
CLIENTS = f"/admin/realms/{REALM}/clients"


@pytest.fixture
def server() -> Iterator[KeycloakServer]:
    server = KeycloakServer()
    yield server
    server.close()


@pytest.fixture
def access(server: KeycloakServer) -> KeycloakAccess:
    return KeycloakAccess(url=server.url, realm=REALM, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def clients(access: KeycloakAccess, clock: FakeClock) -> KeycloakClients:
    return KeycloakClients(access, clock=clock)


@pytest.fixture(params=["memory", "http"])
def realm(request: pytest.FixtureRequest, clients: KeycloakClients) -> IdentityProvider:
    return clients if request.param == "http" else MemoryRealm()


def test_a_call_that_waited_while_the_lead_was_lost_is_not_made(access: KeycloakAccess, clock: FakeClock) -> None:
    """The fence is checked before the wait for the turn and the token, and the Lease may expire during that wait."""
    leads = [True, False]
    clients = KeycloakClients(access, clock=clock, may_work=lambda: leads.pop(0))
    assert clients.find_client("kns-job-7") is None
    with pytest.raises(UnavailableError, match="does not lead any more"):
        clients.create_client(WANTED)
    assert KeycloakClients(access, clock=clock).find_client("kns-job-7") is None


# --- promises


def test_a_created_client_is_found_as_wanted(realm: IdentityProvider) -> None:
    assert realm.find_client("kns-job-7") is None
    realm.create_client(WANTED)
    found = realm.find_client("kns-job-7")
    assert found is not None
    assert has_all_of(found, WANTED)
    assert realm.find_client("kns-job") is None


def test_a_taken_name_is_reported(realm: IdentityProvider) -> None:
    realm.create_client(WANTED)
    with pytest.raises(AlreadyExistsError):
        realm.create_client(WANTED)


def test_an_update_leaves_what_it_does_not_name(realm: IdentityProvider) -> None:
    realm.create_client({**WANTED, "name": "theirs"})
    found = realm.find_client("kns-job-7")
    assert found is not None
    realm.update_client(found["id"], {**WANTED, "secret": "another"})
    after = realm.find_client("kns-job-7")
    assert after is not None
    assert (after["secret"], after["name"]) == ("another", "theirs")


def test_clients_are_listed_by_the_beginning_of_their_names(
    realm: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With attributes, in any number. Keycloak also returns clients that have the prefix in the middle of their name.
    """
    monkeypatch.setattr(keycloak_admin, "CLIENT_PAGE", 2)
    assert list(realm.list_clients("kns-job-")) == []
    for client_id in ("kns-job-1", "portal", "my-kns-job-2", "kns-job-3", "kns-job-4", "kns-job-5"):
        realm.create_client({**WANTED, "clientId": client_id})
    found = realm.list_clients("kns-job-")
    assert [client["clientId"] for client in found] == ["kns-job-1", "kns-job-3", "kns-job-4", "kns-job-5"]
    assert all(client["attributes"].items() >= WANTED["attributes"].items() for client in found)
    assert len({client["id"] for client in found}) == 4


def test_an_absent_client_is_deleted_and_updated_without_complaint(realm: IdentityProvider) -> None:
    realm.create_client(WANTED)
    found = realm.find_client("kns-job-7")
    assert found is not None
    for _ in range(2):
        realm.delete_client(found["id"])
    realm.update_client(found["id"], WANTED)
    assert realm.find_client("kns-job-7") is None


def test_a_list_whose_pages_repeat_ends(
    clients: KeycloakClients, server: KeycloakServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that drops the query sends the first page again and again."""
    monkeypatch.setattr(keycloak_admin, "CLIENT_PAGE", 2)
    page = Answer(200, [{"id": name, "clientId": name} for name in ("kns-job-1", "kns-job-2")])
    server.script("GET", "/clients", page, page, Answer(200, []))
    with pytest.raises(UnavailableError, match="a page repeats those before it"):
        clients.list_clients("kns-job-")


# --- what is sent


def test_one_token_serves_many_calls(clients: KeycloakClients, server: KeycloakServer) -> None:
    for _ in range(3):
        clients.find_client("kns-job-7")
    assert server.count("POST", "/token") == 1


def test_a_token_that_is_no_longer_taken_is_replaced(clients: KeycloakClients, server: KeycloakServer) -> None:
    clients.find_client("kns-job-7")
    server.forget_tokens()
    clients.create_client(WANTED)
    assert server.count("POST", "/token") == 2


def test_a_path_before_all_others_is_kept(access: KeycloakAccess, clock: FakeClock) -> None:
    """`/auth` of older servers; the library would drop it."""
    server = KeycloakServer(prefix="/auth")
    try:
        KeycloakClients(replace(access, url=server.url), clock=clock).create_client(WANTED)
        assert len(server.clients) == 1
    finally:
        server.close()


@pytest.mark.parametrize("fault", [Reset(), LostAnswer(), Answer(503, {"error": "starting"})], ids=str)
@pytest.mark.parametrize("path", ["/token", "/clients"])
def test_nothing_is_sent_twice(clients: KeycloakClients, server: KeycloakServer, path: str, fault: Fault) -> None:
    """The library would repeat a POST without a response. Only the work queue decides about retries."""
    server.script("POST", path, fault)
    with pytest.raises(UnavailableError):
        clients.create_client(WANTED)
    assert server.count("POST", path) == 1


def test_a_create_whose_answer_was_lost_is_found(
    clients: KeycloakClients, server: KeycloakServer, clock: FakeClock
) -> None:
    server.script("POST", "/clients", LostAnswer())
    with pytest.raises(UnavailableError):
        clients.create_client(WANTED)
    clock.advance(60)
    found = clients.find_client("kns-job-7")
    assert found is not None
    assert has_all_of(found, WANTED)


def test_a_client_that_goes_while_it_is_looked_up_is_absent(clients: KeycloakClients, server: KeycloakServer) -> None:
    clients.create_client(WANTED)
    (key,) = server.clients
    server.script("GET", f"/clients/{key}", Answer(404, {"error": "Could not find client"}))
    assert clients.find_client("kns-job-7") is None


# --- proxies


def test_the_proxy_of_the_settings_is_used(access: KeycloakAccess, server: KeycloakServer, clock: FakeClock) -> None:
    """The server acts as the proxy for a host that is otherwise unreachable."""
    there = replace(access, url="http://kc.example.org", proxies=Proxies(http=server.url))
    assert KeycloakClients(there, clock=clock).find_client("kns-job-7") is None
    assert {seen.headers["host"] for seen in server.seen} == {"kc.example.org"}


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "localhost,127.0.0.0/8"])
def test_no_proxy_is_honoured(access: KeycloakAccess, clock: FakeClock, no_proxy: str) -> None:
    direct = replace(access, proxies=Proxies(http="http://127.0.0.1:1", no_proxy=no_proxy))
    assert KeycloakClients(direct, clock=clock).find_client("kns-job-7") is None


def test_proxies_and_certificates_of_the_environment_are_not(
    access: KeycloakAccess, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none/such-file")
    assert KeycloakClients(access, clock=clock).find_client("kns-job-7") is None


# --- certificates


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[KeycloakServer, Path]]:
    """With a certificate that only its own file can verify."""
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = KeycloakServer(tls=context)
    yield server, certificate
    server.close()


def test_a_certificate_of_the_sites_own_authority(
    access: KeycloakAccess, tls_server: tuple[KeycloakServer, Path], clock: FakeClock
) -> None:
    server, bundle = tls_server
    there = replace(access, url=server.url)
    with pytest.raises(UnavailableError, match="SSLCertVerificationError"):
        KeycloakClients(there, clock=clock).find_client("kns-job-7")
    assert server.seen == []
    assert KeycloakClients(replace(there, ca_bundle=bundle), clock=clock).find_client("kns-job-7") is None


# --- faults


def _set(**changes: str) -> Callable[[KeycloakAccess], KeycloakAccess]:
    return lambda access: replace(access, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (_set(client_secret="x"), UnauthorizedError, "check JARVICE_KNS_KEYCLOAK_CLIENT_ID and JARVICE_KNS_KEYCLOAK"),
        (_set(client_id="x"), UnauthorizedError, "refuses client x in realm jarvice (401"),
        (_set(realm="x"), UnauthorizedError, "has no realm x; check JARVICE_KNS_KEYCLOAK_REALM"),
        (
            lambda access: replace(access, url=f"{access.url}/auth"),
            UnauthorizedError,
            "add /auth to JARVICE_KNS",
        ),
        (_set(url="http://127.0.0.1:1"), UnavailableError, "ConnectionRefusedError: [Errno 111] Connection refused"),
    ],
    ids=["secret", "id", "realm", "path", "port"],
)
def test_wrong_settings_are_named(
    access: KeycloakAccess,
    clock: FakeClock,
    change: Callable[[KeycloakAccess], KeycloakAccess],
    kind: type[KnsError],
    text: str,
) -> None:
    clients = KeycloakClients(change(access), clock=clock)
    with pytest.raises(kind) as first:
        clients.find_client("kns-job-7")
    assert text in str(first.value)
    assert CLIENT_SECRET not in str(first.value)
    clock.advance(60)
    with pytest.raises(kind) as second:
        clients.find_client("kns-job-7")
    assert str(second.value) == str(first.value), "a text that varies would be a write per try"


def test_a_missing_right_says_what_to_give_and_counts_at_once_when_given(
    clients: KeycloakClients, server: KeycloakServer
) -> None:
    server.may_manage = False
    with pytest.raises(ForbiddenError, match="role manage-clients of client realm-management"):
        clients.find_client("kns-job-7")
    server.may_manage = True
    assert clients.find_client("kns-job-7") is None


def test_a_client_that_is_not_accepted_is_refused_in_keycloaks_words(clients: KeycloakClients) -> None:
    with pytest.raises(RefusedError, match=r"400 .*A redirect URI uses an illegal scheme"):
        clients.create_client({**WANTED, "redirectUris": ["javascript:alert(1)"]})


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/token", Answer(200, b"<html>welcome</html>")),
        ("/token", Answer(200, {"welcome": True})),
        ("/token", Answer(502, b"<html>bad gateway</html>")),
        ("/token", Answer(429, {"error": "slow down"})),
        ("/clients", Answer(200, b"<html>welcome</html>")),
        ("/clients", Answer(200, {"welcome": True})),
        ("/clients", Answer(500, {"error": "unknown_error"})),
    ],
    ids=str,
)
def test_what_is_not_an_answer_is_no_answer(
    clients: KeycloakClients, server: KeycloakServer, clock: FakeClock, path: str, answer: Answer
) -> None:
    server.script("POST" if path == "/token" else "GET", path, answer)
    with pytest.raises(UnavailableError):
        clients.find_client("kns-job-7")
    clock.advance(60)
    assert clients.find_client("kns-job-7") is None


def test_a_server_that_hangs_is_left_after_the_timeout_and_not_asked_for_a_while(
    access: KeycloakAccess, server: KeycloakServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keycloak_admin, "TIMEOUT_S", 2.0)  # the last call must be answered within it
    clients = KeycloakClients(access, clock=clock)
    server.script("POST", "/token", Hang())
    for _ in range(3):
        with pytest.raises(UnavailableError, match="no answer"):
            clients.find_client("kns-job-7")
    assert server.count("POST", "/token") == 1
    clock.advance(6)
    assert clients.find_client("kns-job-7") is None


def test_a_call_that_hangs_holds_one_worker_only(
    access: KeycloakAccess, server: KeycloakServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keycloak_admin, "_TURN_S", 0.05)
    clients = KeycloakClients(access, clock=clock)
    server.script("POST", "/token", Hang())
    stuck = threading.Thread(target=_swallow, args=(lambda: clients.find_client("kns-job-7"),), daemon=True)
    stuck.start()
    server.wait_for("POST", "/token")
    with pytest.raises(UnavailableError, match="an earlier call has had no answer"):
        clients.find_client("kns-job-8")
    server.closing.set()
    stuck.join(PATIENCE_S)
    assert not stuck.is_alive()


def _swallow(call: Callable[[], object]) -> None:
    with pytest.raises(UnavailableError):
        call()


def test_the_secret_is_in_no_text_of_the_access(access: KeycloakAccess) -> None:
    assert CLIENT_SECRET not in repr(access)
