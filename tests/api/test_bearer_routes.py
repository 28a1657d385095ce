"""Bearer tokens on the routes: which are accepted, what they decide, and that none is ever logged or stored."""

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from kns.adapters.bearer import RealmTokens
from tests.api.client import Api, assert_refused
from tests.builders import a_job, a_submission
from tests.tokens import a_token, public_pem

ROUTES = [
    "jobs", "teamjobs", "status", "info", "connect", "tail", "output", "metrics", "screenshot", "shutdown",
    "terminate", "signal", "action", "apps", "appdef", "machines", "vault", "queues",
]  # fmt: skip


@pytest.fixture
def api() -> Api:
    return Api(bearer=RealmTokens(public_pem()))


def ask(api: Api, route: str, authorization: str, **params: Any) -> Any:
    return api.call("GET", f"/jarvice/{route}", params=params, headers={"authorization": authorization})


def submit(api: Api, authorization: str, body: Any) -> Any:
    return api.submit(body, authorization=authorization)


def without_user(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in a_submission(**changes).items() if key != "user"}


@pytest.mark.proves("callers", "A Bearer token is equivalent to an API key on every route")
@pytest.mark.parametrize("route", ROUTES)
def test_a_token_is_as_good_as_a_key_on_every_route(api: Api, route: str) -> None:
    """Every route answers as it answers the same user with a key."""
    api.add(a_job().exposed(), output="hi\n")
    params = {"number": "7", "vault": "data", "path": "/", "action": "stop"}
    params |= {"name": "hello"} if route == "appdef" else {}
    by_token = ask(api, route, f"Bearer {a_token()}", **params)
    by_key = api.get(route, **params)
    assert (by_token.status_code, by_token.content) == (by_key.status_code, by_key.content)
    assert by_token.status_code != 401


@pytest.mark.parametrize("route", ["events", "projects", "teamusers"])
def test_a_token_gives_its_user_the_users_own_rights(api: Api, route: str) -> None:
    api.add(a_job())
    right = "lead1" if route == "teamusers" else "admin1"
    assert_refused(ask(api, route, f"Bearer {a_token()}", number="7"), 401, "Unauthorized")
    assert ask(api, route, f"Bearer {a_token(preferred_username=right)}", number="7").status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_scheme_is_read_as_http_says(api: Api, scheme: str) -> None:
    assert ask(api, "jobs", f"{scheme} {a_token()}").status_code == 200


def test_a_token_wins_over_a_key_beside_it(api: Api) -> None:
    answer = ask(api, "jobs", f"Bearer {a_token()}", username="user1", apikey="wrong")
    assert answer.status_code == 200


def test_a_good_key_does_not_mend_a_bad_token(api: Api) -> None:
    answer = ask(api, "jobs", "Bearer x", username="user1", apikey="key-user1")
    assert_refused(answer, 401, "Unauthorized")


def test_other_schemes_are_no_credentials_of_ours(api: Api) -> None:
    """A proxy in front may send its own credentials."""
    assert ask(api, "jobs", "Basic dTpw", username="user1", apikey="key-user1").status_code == 200
    assert_refused(ask(api, "jobs", "Basic dTpw"), 400, "Required parameter(s) missing")


REFUSED: dict[str, Callable[[], str]] = {
    "nothing after the scheme": lambda: "Bearer",
    "a blank after the scheme": lambda: "Bearer ",
    "no token": lambda: "Bearer token",
    "two tokens": lambda: f"Bearer {a_token()} {a_token()}",
    "another realm's": lambda: f"Bearer {a_token(key=1)}",
    "of a stranger": lambda: f"Bearer {a_token(preferred_username='nobody')}",
}  # hostile/test_tokens.py has all the ways in which a token proves nothing


@pytest.mark.proves(
    "security",
    "a forged, foreign or expired token: `none`, HS256 with the public key, its own key by `kid`, `jwk` or `jku`,"
    " another audience",
)
@pytest.mark.parametrize("sentence", REFUSED)
def test_a_token_that_is_refused(api: Api, sentence: str) -> None:
    header = REFUSED[sentence]()
    for route in ("jobs", "apps"):
        assert_refused(ask(api, route, header), 401, "Unauthorized")
    assert_refused(submit(api, header, without_user()), 401, "Not Authorized")
    assert_refused(api.call("POST", "/jarvice/batch", json={"container": "x"}, headers={"authorization": header}), 401,
                   "Not Authorized")  # fmt: skip
    assert api.jobs.writes == []


@pytest.mark.proves(
    "callers",
    "An inactive account may read with its key but not submit; with a token it may do neither",
)
def test_a_token_of_an_inactive_account_opens_nothing(api: Api) -> None:
    """`submit` says why, as it does for a key."""
    header = f"Bearer {a_token(preferred_username='idle1')}"
    for route in ("jobs", "apps"):
        assert_refused(ask(api, route, header), 401, "Unauthorized")
    assert_refused(submit(api, header, without_user()), 401, "Account billing not active")
    assert api.jobs.writes == []


def test_a_username_beside_a_token_must_be_its_own(api: Api) -> None:
    bearer = f"Bearer {a_token()}"
    assert ask(api, "jobs", bearer, username="user1").status_code == 200
    assert_refused(ask(api, "jobs", bearer, username="user2"), 401, "Unauthorized")
    assert_refused(submit(api, bearer, a_submission(user="user2")), 401, "Not Authorized")
    assert submit(api, bearer, {**without_user(), "user": {"username": "user1"}}).status_code == 200


@pytest.mark.parametrize("route", ["submit", "batch"])
@pytest.mark.parametrize(("name", "status"), [("user1", 200), ("", 200), ("user2", 401), ("user1&username=user2", 401)])
def test_a_username_in_the_query_of_a_submission_must_be_the_tokens(
    api: Api, route: str, name: str, status: int
) -> None:
    body = {**without_user(), "container": {}}
    headers = {"authorization": f"Bearer {a_token()}"}
    answer = api.call("POST", f"/jarvice/{route}?username={name}", json=body, headers=headers)
    assert (answer.status_code == 401) is (status == 401)
    assert ("Not Authorized" in answer.text) is (status == 401)


@pytest.mark.parametrize(
    "user", [None, "", {}, {"username": ""}, {"username": "user1", "apikey": ""}, {"apikey": None}]
)
def test_an_empty_user_beside_a_token_is_none(api: Api, user: Any) -> None:
    assert submit(api, f"Bearer {a_token()}", {**without_user(), "user": user}).status_code == 200
    assert_refused(api.submit({**without_user(), "user": user}), 400, "Missing or Malformed API Syntax")


@pytest.mark.proves("callers", "There is one realm, that of the one public key; kns knows no realm per payer")
def test_without_a_realm_key_every_token_is_refused() -> None:
    api = Api()
    assert_refused(ask(api, "jobs", f"Bearer {a_token()}", username="user1", apikey="key-user1"), 401, "Unauthorized")
    assert_refused(submit(api, f"Bearer {a_token()}", a_submission()), 401, "Not Authorized")


def test_a_submission_by_token_needs_no_user(api: Api) -> None:
    assert submit(api, f"Bearer {a_token()}", without_user()).status_code == 200
    (job,) = api.jobs.list_jobs()
    assert job.spec.user == "user1"
    assert job.spec.accepted is not None
    assert job.spec.accepted.payer == "payer1"


def test_without_a_token_a_user_without_a_key_is_malformed(api: Api) -> None:
    assert_refused(api.submit({**without_user(), "user": {"username": "user1"}}), 400,
                   "Missing or Malformed API Syntax")  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "payer", "code"),
    [
        ({"jarvice_payer": "payer9", "jarvice_billing_code": 42}, "payer9", 42),
        ({"jarvice_billing_code": "42"}, "payer1", 42),
        ({"jarvice_payer": "", "jarvice_billing_code": "none"}, "payer1", 0),
        ({}, "payer1", 0),
    ],
)
def test_the_payer_and_the_billing_code_of_the_token_are_the_jobs(
    api: Api, claims: dict[str, Any], payer: str, code: int
) -> None:
    submit(api, f"Bearer {a_token(**claims)}", without_user())
    entry = api.get("jobs").json()["1"]
    assert (entry["job_payer"], entry["job_billing_code"]) == (payer, code)


def test_a_token_is_never_written_down(api: Api) -> None:
    good, bad = a_token(), a_token(key=1)
    with capture_logs() as logs:
        for token in (good, bad):
            ask(api, "jobs", f"Bearer {token}")
            submit(api, f"Bearer {token}", without_user(bearer=token))
    assert [line["event"] for line in logs if line["event"] != "http_request"] == [
        "job_submitted", "token_refused", "token_refused",
    ]  # fmt: skip
    (job,) = api.jobs.list_jobs()
    for token in (good, bad):
        for part in token.split(".")[1:]:
            assert part not in str(logs)
            assert part not in str(job)
