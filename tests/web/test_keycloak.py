"""Sign-in in the realm: the authorization code flow with PKCE, as a browser goes through it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from kns.adapters.bearer import RealmTokens
from kns.model.errors import KnsError, RefusedError, UnavailableError
from kns.web.site import PREFIX
from tests.api.client import Api
from tests.fakes.web import FakeRealm
from tests.patience import PATIENCE_S
from tests.tokens import a_token, public_pem
from tests.web.ui import Browser, Ui, read_page

URL = "https://kns.example.org"
BACK = f"{URL}{PREFIX}/sign-in/keycloak/back"
BEGIN = f"{PREFIX}/sign-in/keycloak"


@pytest.fixture
def realm() -> FakeRealm:
    return FakeRealm()


@pytest.fixture
def ui(realm: FakeRealm) -> Ui:
    return Ui(Api(bearer=RealmTokens(public_pem())), url=URL, provider=realm)


@pytest.fixture
def browser(ui: Ui) -> Browser:
    return Browser(ui, host=URL)


def begin(browser: Browser, *, to: str = f"{PREFIX}/jobs") -> tuple[str, str]:
    """Go to the realm; the state, and the verifier that the realm would derive from its challenge."""
    answer = browser.get(BEGIN, params={"to": to})
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["redirect_uri"] == [BACK]
    return query["state"][0], query["challenge"][0][::-1]


def come_back(browser: Browser, **query: str) -> httpx.Response:
    return browser.get(f"{PREFIX}/sign-in/keycloak/back", params=query)


@pytest.mark.proves(
    "page", "People sign in with Keycloak: authorization code with PKCE, and the token as the API takes it"
)
def test_a_user_of_the_realm_is_let_in(ui: Ui, realm: FakeRealm, browser: Browser) -> None:
    state, verifier = begin(browser, to=f"{PREFIX}/machines")
    realm.codes["c", BACK, verifier] = a_token(preferred_username="user1", jarvice_payer="payer9")
    entered = come_back(browser, code="c", state=state)
    assert entered.headers["location"] == f"{PREFIX}/machines"
    app = browser.get(f"{PREFIX}/apps/hello")
    answer = browser.send(app, f"{PREFIX}/apps/hello", headers={"Sec-Fetch-Site": "same-origin"})
    job = ui.api.jobs.find(int(answer.headers["location"].rpartition("/")[2]))
    assert job is not None
    assert job.spec.user == "user1"
    assert job.spec.accepted is not None
    assert job.spec.accepted.payer == "payer9", "the claims of the token count, as in the API"


def test_the_sign_in_page_offers_it(browser: Browser) -> None:
    assert "Sign in with Keycloak" in browser.get(f"{PREFIX}/sign-in").text


WRONG: dict[str, Callable[[str], dict[str, str]]] = {
    "another state": lambda state: {"code": "c", "state": "x" * 43},
    "no state": lambda state: {"code": "c"},
    "no code": lambda state: {"state": state, "error": "temporarily_unavailable"},
    "another state, and refused": lambda _state: {"state": "x" * 43, "error": "access_denied"},
    "an unknown code": lambda state: {"code": "d", "state": state},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_return_that_this_browser_did_not_begin_is_refused(realm: FakeRealm, browser: Browser, wrong: str) -> None:
    state, verifier = begin(browser)
    realm.codes["c", BACK, verifier] = a_token()
    answer = come_back(browser, **WRONG[wrong](state))
    assert answer.status_code == 401
    assert "did not work" in answer.text
    assert browser.get(f"{PREFIX}/jobs").status_code == 303


@pytest.mark.proves("security", "sign a victim in with a code of their own, or lead them elsewhere after the sign-in")
def test_a_code_of_an_attacker_does_not_sign_a_victim_in(ui: Ui, realm: FakeRealm, browser: Browser) -> None:
    """The attacker sends their own return address to a victim, whose browser has not begun, or began another one."""
    state, verifier = begin(browser)
    realm.codes["c", BACK, verifier] = a_token(preferred_username="user2")
    victim = Browser(ui, host=URL)
    assert come_back(victim, code="c", state=state).status_code == 401
    begin(victim)
    assert come_back(victim, code="c", state=state).status_code == 401
    assert ("c", BACK, verifier) in realm.codes, "the code was not even redeemed"


@pytest.mark.parametrize(
    "changes",
    [{"preferred_username": "stranger"}, {"preferred_username": "idle1"}, {"azp": "kns-job-7"}, {"exp": 1}, {"key": 1}],
    ids=str,
)
def test_a_token_that_the_api_refuses_is_refused_here(
    realm: FakeRealm, browser: Browser, changes: dict[str, object]
) -> None:
    state, verifier = begin(browser)
    realm.codes["c", BACK, verifier] = a_token(**changes)  # type: ignore[arg-type]
    answer = come_back(browser, code="c", state=state)
    assert answer.status_code == 401
    assert "missing or not active" in answer.text
    assert _leave(BACK) in read_page(answer).links, "else the realm signs the same user in again, without asking"
    assert browser.get(f"{PREFIX}/jobs").status_code == 303


def _leave(back: str) -> str:
    return FakeRealm().build_sign_out_url(redirect_url=back)


def test_somebody_who_refuses_may_try_again(realm: FakeRealm, browser: Browser) -> None:
    """It costs the realm nothing, so it is not counted as a guess."""
    state, _ = begin(browser)
    for _ in range(11):
        answer = come_back(browser, state=state, error="access_denied", error_description="<b>no</b>")
        assert answer.status_code == 401
    assert "the sign-in was refused" in answer.text
    assert "aria-invalid" not in answer.text, "the fields for an API key are not what is wrong"
    assert "<b>no" not in answer.text
    state, verifier = begin(browser)
    realm.codes["c", BACK, verifier] = a_token(preferred_username="user1")
    assert come_back(browser, code="c", state=state).status_code == 303


def sign_in(realm: FakeRealm, browser: Browser) -> str:
    """The state with which user1 came back."""
    state, verifier = begin(browser)
    realm.codes["c", BACK, verifier] = a_token(preferred_username="user1")
    assert come_back(browser, code="c", state=state).status_code == 303
    return state


@pytest.mark.proves("security", "sign somebody out by a link to the sign-in")
def test_a_link_to_the_sign_in_leaves_a_session_alone(realm: FakeRealm, browser: Browser) -> None:
    """A page anywhere can lead a browser to it."""
    state = sign_in(realm, browser)
    answer = browser.get(BEGIN, params={"to": f"{PREFIX}/machines"})
    assert answer.headers["location"] == f"{PREFIX}/machines"
    for query in ({}, {"code": "c", "state": state}, {"error": "access_denied"}):
        assert come_back(browser, **query).headers["location"] == f"{PREFIX}/jobs"
    assert browser.get(f"{PREFIX}/jobs").status_code == 200


def test_the_sign_out_offers_the_way_out_of_the_realm(ui: Ui, realm: FakeRealm, browser: Browser) -> None:
    """Whoever signed in by a key has no session in the realm."""
    sign_in(realm, browser)
    jobs, sign_out = f"{PREFIX}/jobs", f"{PREFIX}/sign-out"
    answer = browser.send(browser.get(jobs), sign_out, headers={"Sec-Fetch-Site": "same-origin"})
    assert _leave(BACK) in read_page(answer).links
    back = come_back(browser)
    assert back.headers["location"] == f"{PREFIX}/sign-in", "the realm leads back without any parameter"
    by_key = Browser(ui, host=URL)
    by_key.sign_in("user1")
    answer = by_key.send(by_key.get(jobs), sign_out)
    assert "Signed out" in answer.text
    assert "Keycloak" not in answer.text


@pytest.mark.parametrize("fault", [UnavailableError("no answer"), RefusedError("invalid_grant")], ids=str)
def test_a_realm_that_fails_is_said_in_words(realm: FakeRealm, browser: Browser, fault: KnsError) -> None:
    state, _ = begin(browser)
    realm.fault = fault
    answer = come_back(browser, code="c", state=state)
    assert answer.status_code == 401
    assert "use your API key" in answer.text


def test_codes_cannot_be_guessed_without_limit(realm: FakeRealm, browser: Browser) -> None:
    """Each costs the realm a request."""
    for _ in range(10):
        state, _ = begin(browser)
        assert come_back(browser, code="x", state=state).status_code == 401
    state, _ = begin(browser)
    assert come_back(browser, code="x", state=state).status_code == 429
    assert len(realm.asked) == 10


@pytest.mark.parametrize("fault", [UnavailableError("no answer"), RefusedError("invalid_grant")], ids=str)
def test_a_sign_in_that_failed_has_to_begin_again(realm: FakeRealm, browser: Browser, fault: KnsError) -> None:
    """A code works once, so a reload of the page could only fail again."""
    state, _ = begin(browser)
    realm.fault = fault
    for _ in range(3):
        assert come_back(browser, code="x", state=state).status_code == 401
    assert len(realm.asked) == 1
    page = browser.get(f"{PREFIX}/sign-in")
    assert browser.send(page, f"{PREFIX}/sign-in/key", fill={"username": "user1", "apikey": "key-user1"}).is_redirect


@pytest.mark.parametrize("fault", [UnavailableError("no answer"), None], ids=["no answer", "success"])
def test_only_who_is_wrong_is_counted(ui: Ui, realm: FakeRealm, fault: KnsError | None) -> None:
    """Many people may have the address of one proxy."""
    realm.fault = fault
    for _ in range(11):
        browser = Browser(ui, host=URL)
        state, verifier = begin(browser)
        realm.codes["c", BACK, verifier] = a_token(preferred_username="user1")
        assert come_back(browser, code="c", state=state).status_code == (401 if fault else 303)


class Held:
    """Answers of the realm that wait until they are released: so many, and no more."""

    def __init__(self, most: int) -> None:
        self.released = threading.Event()
        self._free = threading.Semaphore(most)
        self._asked = threading.Semaphore(0)

    def wait(self) -> None:
        if self._free.acquire(blocking=False):
            self._asked.release()
            assert self.released.wait(PATIENCE_S)

    def await_questions(self, count: int) -> None:
        for _ in range(count):
            assert self._asked.acquire(timeout=PATIENCE_S)


@pytest.mark.proves("security", "hold the threads of kns with sign-ins that Keycloak does not answer")
def test_few_wait_for_the_realm_at_a_time(ui: Ui, realm: FakeRealm) -> None:
    held = Held(4)
    realm.answer = held.wait
    begun = []
    for _ in range(5):
        browser = Browser(ui, host=URL)
        state, verifier = begin(browser)
        realm.codes["c", BACK, verifier] = a_token(preferred_username="user1")
        begun.append((browser, state))
    with ThreadPoolExecutor(4) as threads:
        first = [threads.submit(come_back, browser, code="c", state=state) for browser, state in begun[:4]]
        held.await_questions(4)
        last, state = begun[4]
        answer = come_back(last, code="c", state=state)
        held.released.set()
        assert answer.status_code == 503
        assert "Reload this page in some seconds" in answer.text
        assert [each.result().status_code for each in first] == [303] * 4
    assert come_back(last, code="c", state=state).status_code == 303, "a reload goes on, as the page says"


def test_guesses_at_the_same_moment_are_counted_together(realm: FakeRealm) -> None:
    ui = Ui(Api(bearer=RealmTokens(public_pem()), failed_logins=2), url=URL, provider=realm)
    held = Held(2)
    realm.answer = held.wait
    begun = [(browser, begin(browser)[0]) for browser in (Browser(ui, host=URL) for _ in range(3))]
    with ThreadPoolExecutor(2) as threads:
        first = [threads.submit(come_back, browser, code="x", state=state) for browser, state in begun[:2]]
        held.await_questions(2)
        browser, state = begun[2]
        answer = come_back(browser, code="x", state=state)
        held.released.set()
        assert answer.status_code == 429
        assert [each.result().status_code for each in first] == [401, 401]


def test_without_the_settings_there_is_no_such_sign_in(realm: FakeRealm) -> None:
    for ui in (Ui(url=URL), Ui(provider=realm)):
        browser = Browser(ui, host=URL)
        assert browser.get(BEGIN).status_code == 404
        assert "Keycloak" not in browser.get(f"{PREFIX}/sign-in").text
