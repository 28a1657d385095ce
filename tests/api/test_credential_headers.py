"""Name and API key in headers, which proxies do not write into their access logs, unlike a query."""

import pytest
from structlog.testing import capture_logs

from kns.api.jarvice.document import describe_api
from tests.api.client import Api, assert_refused
from tests.builders import a_job, a_submission

OWN = {"X-API-Username": "user1", "X-API-Key": "key-user1"}


@pytest.mark.proves("security", "find keys in the access log of an ingress controller")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_headers_prove_who_sends_a_request(api: Api, method: str) -> None:
    api.add(a_job().exposed())
    assert api.call(method, "/jarvice/status?number=7", headers=OWN).json().keys() == {"7"}
    assert_refused(api.call(method, "/jarvice/status?number=7"), 400, "Required parameter(s) missing")


def test_a_submission_may_have_them_instead_of_its_user(api: Api) -> None:
    anonymous = {key: value for key, value in a_submission().items() if key != "user"}
    answer = api.submit(anonymous, **OWN)
    assert answer.json()["number"] == 1
    assert api.get("jobs").json()["1"]["job_owner_username"] == "user1"
    assert_refused(api.submit(anonymous), 400, "Missing or Malformed API Syntax")


@pytest.mark.parametrize(
    ("sentence", "headers", "query", "status", "error"),
    [
        ("wrong key", {**OWN, "X-API-Key": "key-user2"}, "", 401, "Unauthorized"),
        ("no key", {"X-API-Username": "user1"}, "", 400, "Required parameter(s) missing"),
        ("no name", {"X-API-Key": "key-user1"}, "", 400, "User required"),
        ("empty", {"X-API-Username": "", "X-API-Key": ""}, "", 400, "Required parameter(s) missing"),
        ("not UTF-8", {**OWN, "X-API-Key": b"key-\xff"}, "", 401, "Unauthorized"),
        ("a wrong parameter wins over a right header", OWN, "?apikey=key-user2", 401, "Unauthorized"),
        ("another's name as a parameter", OWN, "?username=user2", 401, "Unauthorized"),
    ],
)
def test_refused_headers(
    api: Api, sentence: str, headers: dict[str, str | bytes], query: str, status: int, error: str
) -> None:
    assert_refused(api.call("GET", f"/jarvice/jobs{query}", headers=headers), status, error)


def test_a_header_that_comes_twice_is_nobodys(api: Api) -> None:
    """A proxy in front may take the first, and kns the last."""
    for name, value in OWN.items():
        twice = [*OWN.items(), (name, value)]
        assert_refused(api.call("GET", "/jarvice/jobs", headers=twice), 401, "Unauthorized")


def test_a_parameter_may_be_beside_a_header(api: Api) -> None:
    assert api.call("GET", "/jarvice/jobs?username=user1", headers={"X-API-Key": "key-user1"}).status_code == 200
    assert api.get("jobs").status_code == 200
    wrong = {"X-API-Username": "user2", "X-API-Key": "key-wrong"}
    answer = api.call("GET", "/jarvice/jobs?username=user1&apikey=key-user1", headers=wrong)
    assert answer.status_code == 200, "parameters win, so what a proxy adds changes nothing"


def test_guesses_in_headers_count_like_guesses_in_parameters() -> None:
    api = Api(failed_logins=2)
    wrong = {**OWN, "X-API-Key": "key-wrong"}
    for _ in range(2):
        assert_refused(api.call("GET", "/jarvice/jobs", headers=wrong), 401, "Unauthorized")
    assert_refused(api.get("jobs"), 429, "Too many requests")
    assert_refused(api.call("GET", "/jarvice/jobs", headers=OWN), 429, "Too many requests")


def test_a_key_in_a_header_reaches_no_log(api: Api) -> None:
    with capture_logs() as logs:
        api.call("GET", "/jarvice/jobs", headers=OWN)
        api.call("GET", "/jarvice/jobs", headers={**OWN, "X-API-Key": "key-wrong"})
    assert [line["status"] for line in logs if line["event"] == "http_request"] == [200, 401]
    assert "key-" not in str(logs)


def test_the_document_offers_them_wherever_it_offers_the_parameters() -> None:
    document = describe_api()
    schemes = document["components"]["securitySchemes"]
    assert {(schemes[name]["in"], schemes[name]["name"]) for name in ("usernameHeader", "apikeyHeader")} == {
        ("header", name) for name in OWN
    }
    for item in document["paths"].values():
        for operation in item.values():
            offered = [set(each) for each in operation["security"]]
            assert ({"username", "apikey"} in offered) <= ({"usernameHeader", "apikeyHeader"} in offered)


@pytest.mark.proves("security", "fill the log's disk by polling")
def test_polling_writes_no_line_at_the_default_level(api: Api) -> None:
    """The default is 30, warning. With one line a request, 200 clients would write some gigabytes a day."""
    api.add(a_job().exposed(), output="hello\n")
    with capture_logs() as logs:
        for route in ("status", "info", "connect", "tail", "output", "shutdown"):
            api.get(route, number=7)
            api.get(route, number=8)
        for route in ("jobs", "teamjobs", "apps", "machines", "live", "ready", "nowhere"):
            api.get(route)
        api.get("jobs", as_user=None)
        api.call("GET", "/jarvice/jobs", headers={**OWN, "X-API-Key": "key-wrong"})
    assert sum(line["event"] == "http_request" for line in logs) == 21
    assert [line for line in logs if line["log_level"] not in ("debug", "info")] == []
