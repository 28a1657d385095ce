"""`teamjobs`, `projects`, `teamusers`."""

from typing import Any

import pytest

from tests.api.client import Api, as_json, assert_refused
from tests.builders import a_catalog, a_job, a_submission


def _fill(api: Api) -> None:
    api.add(a_job().numbered(1))
    api.add(a_job().numbered(2).owned_by("user2").started())
    api.add(a_job().numbered(3).owned_by("user2").ended())
    api.add(a_job().numbered(4).owned_by("lead1"))
    api.add(a_job().numbered(5).owned_by("user3", payer="user3"))
    api.add(a_job().numbered(6).owned_by("gone", payer="payer1"))
    api.add(a_job().numbered(7).ended())
    api.add(a_job().numbered(8).owned_by("user3", payer="user3").ended())


@pytest.mark.parametrize(
    ("caller", "live", "ended"),
    [
        ("lead1", ["1", "2", "4", "6"], ["3", "7"]),
        ("payer1", ["1", "2", "4", "6"], ["3", "7"]),
        ("user1", ["1"], ["7"]),
        ("user2", ["2"], ["3"]),
        ("user3", ["5"], ["8"]),
        ("admin1", [], []),
    ],
)
def test_a_lead_lists_the_jobs_of_the_team_and_others_their_own(
    api: Api, caller: str, live: list[str], ended: list[str]
) -> None:
    _fill(api)
    assert list(api.get("teamjobs", as_user=caller).json()) == live
    assert list(api.get("teamjobs", as_user=caller, completed="true").json()) == ended


def test_an_entry_is_that_of_jobs_without_jobsub(api: Api) -> None:
    submission = {"app": "hello", "jobsub": {"x": 1}, "machine": {"type": "kns-small", "nodes": 1}}
    api.add(a_job().with_spec(submission=submission))
    own = api.get("jobs").json()["7"]
    assert own["job_api_submission"].pop("jobsub") == {"x": 1}
    assert api.get("teamjobs", as_user="lead1").json() == {"7": own}
    assert "jobsub" in api.get("jobs").json()["7"]["job_api_submission"]


def test_a_member_spoils_no_answer_to_a_strict_client_of_the_lead(api: Api) -> None:
    """What counts as absent, or has no effect, is not checked at submit."""
    odd: dict[str, Any] = {"vault": {"name": "", "readonly": "yes"}, "staging": "yes", "licenses": 5, "hpc": "x"}
    assert api.submit(a_submission(**odd)).status_code == 200
    assert api.submit(a_submission(vault="")).status_code == 200
    first, second = (entry["job_api_submission"] for entry in api.get("teamjobs", as_user="lead1").json().values())
    assert first["vault"] == {"name": ""}
    assert first.keys().isdisjoint({"staging", "licenses", "hpc"})
    assert "vault" not in second


def test_of_ended_jobs_of_a_team_the_newest_thousand_are_listed(api: Api) -> None:
    for number in range(1, 1004):
        api.add(a_job().numbered(number).owned_by("user1" if number % 2 else "user2").ended())
    numbers = list(api.get("teamjobs", as_user="lead1", completed="true").json())
    assert (len(numbers), numbers[0], numbers[-1]) == (1000, "4", "1003")


@pytest.mark.proves("callers", "The owner in the name of a project is the payer of its members")
def test_projects_are_listed_by_the_payer_of_their_members(api: Api) -> None:
    users: dict[str, Any] = {
        "user2": {"payer": "payer1", "projects": ["alpha", "beta"]},
        "user3": {"projects": ["alpha"]},
    }
    api.catalog.catalog = a_catalog(users=users)
    assert api.get("projects", as_user="admin1").content == as_json(
        {"payer1-alpha": ["user1", "user2"], "payer1-beta": ["user2"], "user3-alpha": ["user3"]}
    )


def test_without_projects_the_map_is_empty(api: Api) -> None:
    api.catalog.catalog = a_catalog(users={"user1": {"payer": "payer1"}})
    assert api.get("projects", as_user="admin1").content == b"{}\n"


@pytest.mark.parametrize("caller", ["user1", "lead1", "payer1", "idle1"])
def test_projects_are_for_system_admins(api: Api, caller: str) -> None:
    assert_refused(api.get("projects", as_user=caller), 401, "Unauthorized")


@pytest.mark.parametrize(
    ("caller", "others"), [("lead1", ["user1", "user2", "payer1"]), ("payer1", ["user1", "user2", "lead1"])]
)
def test_a_lead_is_told_the_other_members(api: Api, caller: str, others: list[str]) -> None:
    assert list(api.get("teamusers", as_user=caller).json()) == others


def test_a_member_has_an_address_and_a_name(api: Api) -> None:
    user = {"payer": "lead2", "email": "u@example.org", "name": "Ursa \u00dc", "variables": {"SECRET": "s3cr3t"}}
    api.catalog.catalog = a_catalog(users={"lead2": {"team_admin": True}, "user4": user, "user5": {"payer": "lead2"}})
    assert api.get("teamusers", as_user="lead2").content == as_json(
        {"user4": {"email": "u@example.org", "name": "Ursa \u00dc"}, "user5": {"email": "", "name": ""}}
    )


def test_a_team_admin_without_members_is_told_so(api: Api) -> None:
    api.catalog.catalog = a_catalog(users={"lead2": {"team_admin": True}})
    assert api.get("teamusers", as_user="lead2").json() == {}


@pytest.mark.proves("callers", "`teamusers` answers a payer who has members as it answers a team admin")
@pytest.mark.parametrize("caller", ["user1", "user3", "admin1", "idle1"])
def test_members_are_told_to_those_who_lead_a_team(api: Api, caller: str) -> None:
    assert_refused(api.get("teamusers", as_user=caller), 401, "Unauthorized")
