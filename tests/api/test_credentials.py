"""Who may log in, who sees whose job, and which error comes first."""

from typing import Any

import pytest

from tests.api.client import Api, assert_refused
from tests.builders import a_job

JOB_ROUTES = [
    "status", "info", "connect", "tail", "output", "shutdown", "terminate", "events", "metrics", "screenshot", "signal",
    "action",
]  # fmt: skip
OTHER_ROUTES = ["jobs", "appdef", "machines", "teamjobs", "vault", "queues", "projects", "teamusers"]

REFUSED_CREDENTIALS = [
    ("both absent", {}, 400, "Required parameter(s) missing"),
    ("both empty", {"username": "", "apikey": ""}, 400, "Required parameter(s) missing"),
    ("no key", {"username": "user1"}, 400, "Required parameter(s) missing"),
    ("no name", {"apikey": "key-user1"}, 400, "User required"),
    ("wrong key", {"username": "user1", "apikey": "key-user2"}, 401, "Unauthorized"),
    ("unknown name", {"username": "nobody", "apikey": "key-nobody"}, 401, "Unauthorized"),
    ("other case", {"username": "User1", "apikey": "key-user1"}, 401, "Unauthorized"),
]


@pytest.mark.parametrize(
    ("sentence", "credentials", "status", "error"), REFUSED_CREDENTIALS, ids=[row[0] for row in REFUSED_CREDENTIALS]
)
def test_refused_credentials(api: Api, sentence: str, credentials: dict[str, str], status: int, error: str) -> None:
    assert_refused(api.call("GET", "/jarvice/jobs", params=credentials), status, error)


@pytest.mark.parametrize("route", [*JOB_ROUTES, *OTHER_ROUTES])
def test_every_route_asks_for_credentials(api: Api, route: str) -> None:
    for credentials, status, error in (
        ({}, 400, "Required parameter(s) missing"),
        ({"apikey": "key-user1"}, 400, "User required"),
        ({"username": "user1", "apikey": "key-user2"}, 401, "Unauthorized"),
    ):
        answer = api.call("GET", f"/jarvice/{route}", params={**credentials, "number": "7", "name": "hello"})
        assert_refused(answer, status, error)


def test_credentials_of_a_wrong_type_are_invalid_parameters(api: Api) -> None:
    answer = api.call("POST", "/jarvice/jobs", json={"username": ["user1"], "apikey": "key-user1"})
    assert_refused(answer, 400, "Invalid parameter(s)")


@pytest.mark.proves(
    "callers",
    "An inactive account may read with its key but not submit; with a token it may do neither",
)
def test_an_account_without_billing_may_read(api: Api) -> None:
    assert api.get("jobs", as_user="idle1").json() == {}


@pytest.mark.proves("security", "see or end another's job")
@pytest.mark.proves(
    "callers",
    "Payer and admins of a team see the jobs of its members, system admins all jobs; other people's jobs are unknown",
)
@pytest.mark.parametrize(
    ("caller", "sees"),
    [("user1", True), ("user2", False), ("lead1", True), ("payer1", True), ("user3", False), ("admin1", True)],
)
@pytest.mark.parametrize("route", ["status", "terminate"])
def test_a_job_is_seen_by_its_owner_its_team_leads_and_the_admin(api: Api, route: str, caller: str, sees: bool) -> None:
    """hostile/test_guessing.py shows that every route answers others as if the job did not exist."""
    api.add(a_job().exposed())
    assert api.get(route, as_user=caller, number=7).status_code == (200 if sees else 404)


@pytest.mark.parametrize(("caller", "sees"), [("payer1", True), ("lead1", True), ("user2", False), ("user3", False)])
def test_the_job_of_an_owner_who_left_belongs_to_the_team_it_was_accepted_for(
    api: Api, caller: str, sees: bool
) -> None:
    api.add(a_job().owned_by("gone", payer="payer1"))
    assert (api.get("status", as_user=caller, number=7).status_code == 200) is sees


def test_a_lead_of_another_team_sees_nothing_of_this_one(api: Api) -> None:
    api.add(a_job().owned_by("user3", payer="user3"))
    for caller in ("lead1", "payer1"):
        assert_refused(api.get("status", as_user=caller, number=7), 404, "Not Found")


ORDER = [
    ("credentials before parameters", {"apikey": "wrong", "number": "x"}, 401, "Unauthorized"),
    ("credentials before lines", {"apikey": "wrong", "number": "7", "lines": "x"}, 401, "Unauthorized"),
    ("parameters before the job", {"number": "99", "lines": "x"}, 400, "Invalid parameter(s)"),
    ("the job's name is missing", {}, 400, "No job specified"),
    ("unknown before its state", {"number": "99"}, 404, "Job not found"),
    ("state last", {"number": "7"}, 404, "Running job is not found"),
]


@pytest.mark.proves(
    "wire",
    "Errors take precedence in this order: credentials, parameters, unknown job, wrong state, not offered for "
    "nested jobs",
)
@pytest.mark.parametrize(("sentence", "params", "status", "error"), ORDER, ids=[row[0] for row in ORDER])
def test_order_of_refusals(api: Api, sentence: str, params: dict[str, Any], status: int, error: str) -> None:
    api.add(a_job())
    answer = api.call("GET", "/jarvice/tail", params={"username": "user1", "apikey": "key-user1", **params})
    assert_refused(answer, status, error)
