"""Sign-in by Keycloak's device flow: what the user sees, how often the realm is asked, and how tokens are renewed."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise

import httpx
import pytest

from kns.adapters.bearer import RealmTokens
from kns.cli.exits import CommandError
from kns.client import ClientError
from kns.client.realm import Realm, RealmError, Tokens
from tests.api.client import Api
from tests.builders import a_job
from tests.cli.conftest import URL, Terminal
from tests.cli.keycloak import CLIENT, ISSUER, TOKEN_S, FakeKeycloak
from tests.cli.test_login import MemoryKeyring
from tests.tokens import public_pem

POLL = "POST /protocol/openid-connect/token urn:ietf:params:oauth:grant-type:device_code"
RENEWAL = "POST /protocol/openid-connect/token refresh_token"


@pytest.fixture
def api() -> Api:
    return Api(bearer=RealmTokens(public_pem()))


@pytest.fixture
def keycloak(api: Api) -> FakeKeycloak:
    return FakeKeycloak(api.clock)


@pytest.fixture
def nobody(terminal: Terminal, keycloak: FakeKeycloak) -> Terminal:
    terminal.environ, terminal.keycloak = {}, keycloak
    return terminal


LOGIN = ("login", "--url", URL, "--issuer", ISSUER)


def sign_in(terminal: Terminal, keycloak: FakeKeycloak, *options: str) -> str:
    """Sign in at the second poll. What the command prints."""
    terminal.steps = [lambda: None, keycloak.approve]
    result = terminal.run(*LOGIN, *options)
    assert result.exit_code == 0, result.output
    assert terminal.steps == []
    return result.stderr


def test_the_user_types_a_code_elsewhere(api: Api, nobody: Terminal, keycloak: FakeKeycloak) -> None:
    api.add(a_job())
    shown = sign_in(nobody, keycloak)
    assert shown == f"open {ISSUER}/device and enter the code ABCD-EFGH\n"
    assert keycloak.seen.count(POLL) == 2
    assert [job["number"] for job in nobody.read("list")] == [7]
    (profile,) = nobody.read("profiles")
    assert (profile["username"], profile["issuer"]) == (None, ISSUER)
    assert "(by Keycloak)" in nobody.run("profiles").stdout
    assert (nobody.folder / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert nobody.opened == [], "no browser without a terminal"


def test_the_keyring_has_the_tokens_if_there_is_one(api: Api, nobody: Terminal, keycloak: FakeKeycloak) -> None:
    nobody.keyring = MemoryKeyring()
    sign_in(nobody, keycloak)
    assert "refresh-1" in nobody.keyring.entries["kns", "default"]
    api.clock.advance(TOKEN_S)
    nobody.read("list")
    assert "refresh-2" in nobody.keyring.entries["kns", "default"]
    assert not (nobody.folder / "credentials.json").exists()


def test_the_realm_is_asked_less_often_if_it_says_so(nobody: Terminal, keycloak: FakeKeycloak) -> None:
    """Another program polls with the same code, so that the realm finds the second poll too early."""
    slept: list[float] = []

    def note(step: Callable[[], object] = lambda: None) -> Callable[[], object]:
        def run() -> None:
            slept.append(keycloak.clock.monotonic())
            step()

        return run

    def poll_elsewhere() -> None:
        keycloak._polled = keycloak.clock.monotonic() - 1

    nobody.steps = [note(), note(poll_elsewhere), note(), note(keycloak.approve)]
    assert nobody.run(*LOGIN).exit_code == 0
    assert [round(after - before) for before, after in pairwise(slept)] == [5, 10, 10]


def test_a_realm_that_does_not_answer_is_asked_again_later(nobody: Terminal, keycloak: FakeKeycloak) -> None:
    def fail() -> None:
        keycloak.unreachable = 1

    def fail_differently() -> None:
        keycloak.failing = 1

    nobody.steps = [fail, fail_differently, keycloak.approve]
    before = keycloak.clock.monotonic()
    assert nobody.run(*LOGIN).exit_code == 0
    assert keycloak.clock.monotonic() - before == 5 + 10 + 20


def _deny(keycloak: FakeKeycloak, _terminal: Terminal) -> None:
    _terminal.steps = [keycloak.deny]


def _expire(keycloak: FakeKeycloak, terminal: Terminal) -> None:
    terminal.steps = [lambda: keycloak.clock.advance(600)]


def _never(keycloak: FakeKeycloak, terminal: Terminal) -> None:
    terminal.steps = [lambda: None] * 120


def _no_flow(keycloak: FakeKeycloak, _terminal: Terminal) -> None:
    keycloak.allows_device_flow = False


def _no_offline(keycloak: FakeKeycloak, _terminal: Terminal) -> None:
    keycloak.allows_offline = False


def _no_right(keycloak: FakeKeycloak, terminal: Terminal) -> None:
    keycloak.claims = {"azp": CLIENT, "aud": "jarvice", "preferred_username": "stranger"}
    terminal.steps = [keycloak.approve]


def _elsewhere(keycloak: FakeKeycloak, _terminal: Terminal) -> None:
    keycloak.issuer = "https://evil.example.org/realms/lab"


def _down(keycloak: FakeKeycloak, _terminal: Terminal) -> None:
    keycloak.unreachable = 1


REFUSALS = [
    (_deny, 3, "the sign-in was refused in the browser"),
    (_expire, 3, "nobody signed in within the time"),
    (_never, 3, "nobody signed in within the time"),
    (_no_flow, 3, "the realm does not let this client sign in by code"),
    (_no_offline, 3, "the realm does not let this client stay signed in"),
    (_no_right, 3, "you signed in to Keycloak, but https://kns.example.org does not accept it"),
    (_elsewhere, 5, "read the addresses of https://kc.example.org/realms/lab: it calls itself https://evil"),
    (_down, 6, "read the addresses of https://kc.example.org/realms/lab: no response"),
]


@pytest.mark.parametrize(("prepare", "status", "words"), REFUSALS, ids=[row[0].__name__ for row in REFUSALS])
def test_a_sign_in_that_fails_is_one_sentence_and_stores_nothing(
    nobody: Terminal,
    keycloak: FakeKeycloak,
    prepare: Callable[[FakeKeycloak, Terminal], None],
    status: int,
    words: str,
) -> None:
    prepare(keycloak, nobody)
    result = nobody.run(*LOGIN, "--offline")
    assert result.exit_code == status, result.output
    assert result.stderr.splitlines()[-1].startswith(f"kns: {words}")
    assert not nobody.folder.exists()


def test_a_client_that_the_realm_does_not_know_is_named(nobody: Terminal) -> None:
    assert nobody.refuse(3, *LOGIN, "--client", "other").startswith("the realm does not know this client")


@pytest.mark.parametrize("issuer", ["http://kc.example.org/realms/lab", "kc.example.org", "file:///etc/passwd"])
def test_an_issuer_without_tls_gets_nothing(nobody: Terminal, keycloak: FakeKeycloak, issuer: str) -> None:
    line = nobody.refuse(5, "login", "--url", URL, "--issuer", issuer)
    assert "must begin with https://" in line
    assert keycloak.seen == []


@pytest.mark.proves("security", "get the tokens of a sign-in by Keycloak sent elsewhere")
def test_a_realm_cannot_lead_the_tokens_elsewhere() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, json={"issuer": ISSUER, "device_authorization_endpoint": "http://evil.example.org/device"}
        )

    with (
        Realm(ISSUER, CLIENT, transport=httpx.MockTransport(answer)) as realm,
        pytest.raises(ClientError, match="must begin with https"),
    ):
        realm.begin()


@pytest.mark.parametrize("rotates", [False, True])
def test_tokens_are_renewed_before_they_end_and_stored(
    api: Api, nobody: Terminal, keycloak: FakeKeycloak, rotates: bool
) -> None:
    keycloak.rotates = rotates
    sign_in(nobody, keycloak)
    nobody.read("list")
    assert RENEWAL not in keycloak.seen
    for renewals in (1, 2):
        api.clock.advance(TOKEN_S - 10)
        nobody.read("list")
        nobody.read("list")
        assert keycloak.seen.count(RENEWAL) == renewals


def test_a_long_command_renews_its_token(api: Api, nobody: Terminal, keycloak: FakeKeycloak) -> None:
    sign_in(nobody, keycloak)
    api.add(a_job())
    nobody.steps = [
        lambda: api.clock.advance(TOKEN_S),
        lambda: api.clock.advance(TOKEN_S),
        lambda: api.add(a_job().started().ended()),
    ]
    assert nobody.run("watch", "7").exit_code == 0
    assert keycloak.seen.count(RENEWAL) == 2


def test_two_commands_at_once_can_renew(api: Api, nobody: Terminal, keycloak: FakeKeycloak) -> None:
    """The realm takes each refresh token once, and another command has used it."""
    keycloak.rotates = True
    sign_in(nobody, keycloak)
    api.add(a_job())
    file = nobody.folder / "credentials.json"
    with nobody.session().connect() as client:
        client.jobs()
        api.clock.advance(TOKEN_S)
        nobody.read("list")  # renews, and stores the new ones
        assert "refresh-2" in json.loads(file.read_text())["default"]
        assert list(client.jobs()) == [7]
        assert keycloak.seen.count(RENEWAL) == 1
        api.clock.advance(TOKEN_S)
        nobody.read("list")
        api.clock.advance(TOKEN_S)  # what is stored has expired as well, and still renews
        assert list(client.jobs()) == [7]
    assert keycloak.seen.count(RENEWAL) == 3


def test_a_command_waits_for_another_that_renews(api: Api, nobody: Terminal, keycloak: FakeKeycloak) -> None:
    """The realm has taken the refresh token of the other one, which has not stored the new tokens yet."""
    keycloak.rotates = True
    sign_in(nobody, keycloak)
    session = nobody.session()
    api.clock.advance(TOKEN_S)
    with ExitStack() as other, Realm(ISSUER, CLIENT, transport=keycloak, now=api.clock.now().timestamp) as realm:
        other.enter_context(session.profiles.locked())
        stored = json.loads((nobody.folder / "credentials.json").read_text())["default"]
        renewed = realm.renew(Tokens.from_json(stored))

        def end() -> None:
            profile = session.profiles.read().profiles["default"]
            session.profiles.replace_secret("default", profile, renewed.to_json())
            other.close()

        nobody.steps = [end]
        nobody.read("list")
    assert keycloak.seen.count(RENEWAL) == 1


def test_a_profile_that_another_site_has_taken_renews_nothing(
    api: Api, nobody: Terminal, keycloak: FakeKeycloak
) -> None:
    """The tokens of one site must not reach another, not even by a command that has run since before the change."""
    sign_in(nobody, keycloak)
    session = nobody.session()
    with session.connect() as client:
        assert list(client.jobs()) == []
        other = session.profiles.read().profiles["default"].model_copy(update={"url": "https://other.example.org"})
        stored = session.profiles.find_secret("default", other)
        session.profiles.store("default", other, stored or "")
        api.clock.advance(TOKEN_S)
        with pytest.raises(CommandError, match="profile default was replaced or removed meanwhile"):
            client.jobs()
    assert keycloak.seen.count(RENEWAL) == 0


def test_a_sign_in_that_has_ended_says_what_to_run(api: Api, nobody: Terminal, keycloak: FakeKeycloak) -> None:
    sign_in(nobody, keycloak)
    api.clock.advance(TOKEN_S)
    keycloak.ended = True
    line = nobody.refuse(3, "list")
    assert line == f"your sign-in by Keycloak has ended; run `kns login --url {URL} --issuer {ISSUER}`"


def test_a_sign_in_that_ends_while_a_command_waits_for_its_job_names_the_job(
    api: Api, nobody: Terminal, keycloak: FakeKeycloak
) -> None:
    """A script knows the number from nowhere else."""
    sign_in(nobody, keycloak)

    def end() -> None:
        keycloak.ended = True
        api.clock.advance(TOKEN_S)

    nobody.steps = [end]
    line = nobody.refuse(3, "submit", "hello", "-m", "kns-small", "--wait")
    assert line.startswith("your sign-in by Keycloak has ended; run `kns login ")
    assert line.endswith("; job 1 goes on; end it with `kns terminate 1`")


@pytest.mark.proves("security", "go on with copied tokens after their owner has signed out of the command line")
def test_a_logout_ends_the_sign_in_in_the_realm(nobody: Terminal, keycloak: FakeKeycloak) -> None:
    sign_in(nobody, keycloak)
    copied = (nobody.folder / "credentials.json").read_text()
    assert nobody.run("logout").stderr == ""
    tokens = Tokens.from_json(json.loads(copied)["default"])
    with Realm(ISSUER, CLIENT, transport=keycloak) as realm, pytest.raises(RealmError, match="not active"):
        realm.renew(tokens)


def test_a_logout_without_an_answer_of_the_realm_forgets_the_tokens(nobody: Terminal, keycloak: FakeKeycloak) -> None:
    sign_in(nobody, keycloak)
    keycloak.unreachable = 1
    result = nobody.run("logout")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: the sign-in may go on in the realm")
    assert nobody.read("profiles") == []


def test_damaged_tokens_are_named(nobody: Terminal, keycloak: FakeKeycloak) -> None:
    sign_in(nobody, keycloak)
    file = nobody.folder / "credentials.json"
    for damaged in ("", "[]", '{"access": 1}', "x"):
        file.write_text(json.dumps({"default": damaged}))
        assert nobody.refuse(3, "list").startswith("the stored sign-in of profile default is damaged")


@pytest.mark.proves("security", "get the tokens of a sign-in by Keycloak sent elsewhere")
def test_no_token_is_printed_or_sent_elsewhere(nobody: Terminal, keycloak: FakeKeycloak) -> None:
    shown = sign_in(nobody, keycloak)
    assert "refresh-1" not in shown
    assert "device-secret" not in shown
    assert nobody.refuse(3, "--url", "https://other.example.org", "list").startswith("not signed in to")
