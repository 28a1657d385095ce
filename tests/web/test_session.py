"""Sessions: how they begin and end, the cookie, and forms of other sites."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.routing import APIRoute

from kns.model.errors import UnavailableError
from kns.web import build_front_end
from kns.web.session import SKEW_S, SessionSigner, start_session
from kns.web.site import PREFIX, SESSION_S
from tests.builders import a_catalog, a_job
from tests.fakes.stores import FakeClock
from tests.web.ui import Browser, Ui

SIGN_IN = f"{PREFIX}/sign-in"
JOBS = f"{PREFIX}/jobs"


def set_cookie(browser: Browser) -> str:
    page = browser.get(SIGN_IN)
    answer = browser.send(page, f"{SIGN_IN}/key", fill={"username": "user1", "apikey": "key-user1"})
    return str(answer.headers["set-cookie"])


@pytest.mark.proves("security", "steal, forge or plant a session")
def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(ui: Ui) -> None:
    flags = set_cookie(ui.browser()).split("; ")
    assert flags[0].startswith("kns_session=")
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=648000"} <= set(flags)
    assert "Secure" not in flags, "over plain HTTP a browser would refuse it"
    assert not any(flag.startswith("Domain") for flag in flags)


@pytest.mark.proves("security", "steal, forge or plant a session")
@pytest.mark.parametrize("url", ["https://kns.example.org", None], ids=["configured", "as the proxy says"])
def test_over_tls_no_other_host_can_set_or_read_the_cookie(url: str | None) -> None:
    ui = Ui(url=url)
    flags = set_cookie(Browser(ui, host="https://kns.example.org")).split("; ")
    assert flags[0].startswith("__Host-kns_session=")
    assert "Secure" in flags


@pytest.mark.parametrize(("user", "key"), [("user1", "wrong"), ("nobody", "key-user1"), ("", "")])
def test_a_wrong_key_is_refused_in_words(ui: Ui, user: str, key: str) -> None:
    browser = ui.browser()
    answer = browser.send(browser.get(SIGN_IN), f"{SIGN_IN}/key", fill={"username": user, "apikey": key})
    assert answer.status_code == 401
    assert "The user name or the key is wrong" in answer.text
    assert answer.text.count("aria-invalid") == 2
    assert browser.get(JOBS).status_code == 303


def test_wrong_keys_are_limited_as_in_the_api(ui: Ui) -> None:
    browser = ui.browser()
    for _ in range(10):
        assert browser.sign_in("user1", key="wrong").status_code == 401
    answer = browser.sign_in("user1")
    assert answer.status_code == 429
    assert "Too many wrong keys" in answer.text


@pytest.mark.proves("security", "steal, forge or plant a session")
def test_a_sign_in_starts_a_new_session(ui: Ui) -> None:
    """A form token that somebody planted before the sign-in is worthless after it."""
    browser = ui.browser()
    browser.get(SIGN_IN)
    planted = dict(browser.cookies)
    browser.sign_in("user1")
    assert browser.cookies != planted
    assert Browser(ui, planted).get(JOBS).status_code == 303


def test_the_sign_out_removes_the_cookie(ui: Ui) -> None:
    browser = ui.browser("user1")
    answer = browser.send(browser.get(JOBS), f"{PREFIX}/sign-out")
    assert "Signed out" in answer.text
    assert browser.get(JOBS).status_code == 303


def test_a_session_that_has_ended_can_be_left(ui: Ui) -> None:
    """The token of its forms is not known any more, and there is nothing left that a stranger could end."""
    browser = ui.browser("user1")
    page = browser.get(JOBS)
    ui.keys.keys = ("another key of this installation",)
    answer = browser.send(page, f"{PREFIX}/sign-out")
    assert answer.status_code == 200
    assert "Signed out" in answer.text
    assert browser.cookies == {}


def _replace_user(ui: Ui, **changes: Any) -> None:
    ui.api.catalog.catalog = a_catalog(users={"user1": {"payer": "payer1", **changes}})


def _remove_user(ui: Ui) -> None:
    full = ui.api.catalog.catalog
    users = {name: user for name, user in full.users.items() if name != "user1"}
    ui.api.catalog.catalog = type(full)(users=users, machines=full.machines, apps=full.apps, vaults=full.vaults)


ENDS: dict[str, Callable[[Ui], object]] = {
    "the API key is replaced": lambda ui: _replace_user(ui, apikey="another"),
    "the account is removed": _remove_user,
    "the keys of sessions are replaced": lambda ui: setattr(ui.keys, "keys", ("n" * 43,)),
}


@pytest.mark.proves("security", "keep a session after the key was replaced or the account removed")
@pytest.mark.parametrize("end", ENDS)
def test_a_session_ends_early_when(ui: Ui, end: str) -> None:
    browser = ui.browser("user1")
    assert browser.get(JOBS).status_code == 200
    ENDS[end](ui)
    answer = browser.get(JOBS)
    assert answer.status_code == 303
    assert "Your session has ended" in browser.follow(answer).text


def test_a_session_survives_when_a_key_is_added(ui: Ui) -> None:
    browser = ui.browser("user1")
    ui.keys.keys = (*ui.keys.keys, "n" * 43)
    assert browser.get(JOBS).status_code == 200


@pytest.mark.proves("security", "steal, forge or plant a session")
def test_a_changed_cookie_is_no_session(ui: Ui) -> None:
    browser = ui.browser("user1")
    (name, value) = next(iter(browser.cookies.items()))
    for forged in (value[:-1], value.replace(".", "x", 1), "e30.x.y", "", "x" * 5000):
        assert Browser(ui, {name: forged}).get(JOBS).status_code == 303


@pytest.mark.parametrize(
    ("signed_s", "is_valid"),
    [(60 - SESSION_S, True), (-SESSION_S - 60, False), (5, True), (SKEW_S - 60, True), (SKEW_S + 60, False)],
)
def test_a_session_counts_for_its_time_and_on_replicas_whose_clocks_differ(signed_s: float, is_valid: bool) -> None:
    """`signed_s`: when the cookie was signed, from now on. The replica that signed may be ahead of the reading one."""
    session, clock = start_session(), FakeClock()
    reader, writer = (SessionSigner(("k" * 32,), max_age_s=SESSION_S, clock=each) for each in (FakeClock(), clock))
    clock.advance(signed_s)
    assert reader.read(writer.write(session)) == (session if is_valid else None)


def test_without_the_keys_the_page_says_that_kns_cannot_answer(ui: Ui) -> None:
    ui.keys.fault = UnavailableError("the host does not answer")
    answer = ui.browser().get(SIGN_IN)
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")
    assert "kns cannot answer now" in answer.text


HEADERS_OF_OTHERS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # a job's page at a sibling name
    {"Origin": "https://kns-job-9.example.org"},
    {"Origin": "null"},
    {"Origin": "http://[kns.example.org"},  # no URL
    {"Origin": "http://kns.example.org@evil.example"},
]


@pytest.mark.proves("security", "send a form of the page from another site, or from a job's app at a sibling host")
@pytest.mark.parametrize("headers", HEADERS_OF_OTHERS, ids=str)
def test_a_form_of_another_site_is_refused(ui: Ui, headers: dict[str, str]) -> None:
    """Even with the right token."""
    ui.api.add(a_job().exposed())
    browser = ui.browser("user1")
    answer = browser.send(browser.get(f"{JOBS}/7/stop"), f"{JOBS}/7/stop", headers=headers)
    assert answer.status_code == 403
    job = ui.api.jobs.find(7)
    assert job is not None
    assert job.stop_reason is None


def _token_of(browser: Browser) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', browser.get(JOBS).text)
    assert found is not None
    return found[1]


def test_a_form_needs_the_token_of_its_own_session(ui: Ui) -> None:
    ui.api.add(a_job().exposed())
    browser, other = ui.browser("user1"), ui.browser("user1")
    for token in ("", "wrong", _token_of(other)):
        assert browser.post(f"{JOBS}/7/stop", data={"form_token": token}).status_code == 403
    own = {"Origin": "http://kns.example.org", "Sec-Fetch-Site": "same-origin"}
    assert browser.post(f"{JOBS}/7/stop", data={"form_token": _token_of(browser)}, headers=own).status_code == 303


@pytest.mark.parametrize("path", ["/stop", "/output", "/open", ""])
def test_nothing_is_changed_by_a_get(ui: Ui, path: str) -> None:
    """A link on another site leads here with the cookie."""
    ui.api.add(a_job().exposed())
    before = list(ui.api.jobs.writes)
    ui.browser("user1").get(f"{JOBS}/7{path}?how=now&form_token=x")
    assert ui.api.jobs.writes == before


TARGETS = [
    "https://evil.example/",
    "//evil.example/ui/",
    "/ui/..//evil.example",
    "/\\evil.example",
    "/jarvice/jobs",
    "x",
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_sign_in_never_leads_to_another_site(ui: Ui, target: str) -> None:
    assert ui.browser().sign_in("user1", to=target).headers["location"] == JOBS


def test_every_page_forbids_foreign_content(ui: Ui) -> None:
    browser = ui.browser("user1")
    for path in (JOBS, f"{PREFIX}/nothing", f"{PREFIX}/static/page.js"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert browser.get(JOBS).headers["cache-control"] == "no-store"


def test_a_file_of_another_version_is_not_kept_at_its_address(ui: Ui) -> None:
    """During an upgrade a page of one replica asks the other for its script, and the browser would keep that a year."""
    browser = ui.browser("user1")
    (script,) = re.findall(r'src="(/ui/static/page\.js\?[^"]+)"', browser.get(JOBS).text)
    assert "immutable" in browser.get(script).headers["cache-control"]
    for other in (f"{script}0", f"{PREFIX}/static/page.js?0123456789ab", f"{PREFIX}/static/page.js"):
        assert browser.get(other).headers["cache-control"] == "no-cache"


def test_the_api_takes_no_session(ui: Ui) -> None:
    """Otherwise the API, which has no form tokens, could be used from another site."""
    browser = ui.browser("user1")
    assert browser.get("/jarvice/jobs").status_code == 400
    assert browser.post("/jarvice/terminate", data={"number": "7"}).status_code == 400


BACK = {
    "/jobs/7": "/jobs/7",
    "/jobs?show=ended&q=a%20b": "/jobs?show=ended&q=a%20b",
    "/jobs/7/open": "/jobs/7",
    "/jobs/7/live": "/jobs/7",
    "/jobs/7/stop": "/jobs/7/stop",
    f"/jobs?q={'x' * 600}": "/jobs",
}


@pytest.mark.parametrize("path", BACK)
def test_the_sign_in_leads_back_to_the_page(ui: Ui, path: str) -> None:
    """Not to the job's app: a browser would follow no form of this page to another site."""
    ui.api.add(a_job().exposed())
    browser = ui.browser()
    sign_in = browser.follow(browser.get(f"{PREFIX}{path}"))
    answer = browser.send(sign_in, f"{SIGN_IN}/key", fill={"username": "user1", "apikey": "key-user1"})
    assert answer.headers["location"] == f"{PREFIX}{BACK[path]}"


@pytest.mark.parametrize("form", ["stop", "extend", "sleep", "wake"])
def test_after_the_end_of_a_session_a_button_leads_back_to_its_job(ui: Ui, form: str) -> None:
    ui.api.add(a_job().exposed())
    browser = ui.browser("user1")
    token = _token_of(browser)
    ui.keys.keys = ("another key of this installation",)
    answer = browser.post(f"{JOBS}/7/{form}", data={"form_token": token})
    assert answer.headers["location"] == "/ui/sign-in?to=%2Fui%2Fjobs%2F7&ended=1"


def list_forms(ui: Ui) -> set[str]:
    """Every address of the page that takes a form."""
    found = {
        PREFIX + route.path.format(app_id="hello", number=7)
        for routes in build_front_end(ui.web).routes
        for route in routes.router.routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    }
    assert {f"{JOBS}/7/stop", f"{PREFIX}/apps/hello", f"{SIGN_IN}/key"} <= found
    return found


@pytest.mark.proves("security", "send a form of the page from another site, or from a job's app at a sibling host")
def test_no_form_is_taken_from_elsewhere(ui: Ui) -> None:
    """Neither with the right token from another site, nor without it from here."""
    ui.api.add(a_job().exposed())
    browser = ui.browser("user1")
    token, before = _token_of(browser), list(ui.api.jobs.writes)
    fields = {"username": "user1", "apikey": "key-user1", "by": "01:00:00", "how": "now", "machine": "kns-small"}
    for path in list_forms(ui):
        elsewhere = {"Sec-Fetch-Site": "same-site"}
        assert browser.post(path, data={**fields, "form_token": token}, headers=elsewhere).status_code == 403, path
        for wrong in ({}, {"form_token": "x"}, {"form_token": "\ud800".encode("utf-8", "surrogatepass")}):
            answer = browser.post(path, data={**fields, **wrong}, headers={"Sec-Fetch-Site": "same-origin"})
            assert answer.status_code in (400, 403), path
    assert ui.api.jobs.writes == before
    assert browser.get(JOBS).status_code == 200, "and nobody was signed out"
