"""Whom a token of the realm admits, and who sees whose job: user1 and user2 are one team, which payer1 leads."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from demo.overlay import NAMESPACE
from tests.e2e.jobs import JobKeeper, TrialJob
from tests.e2e.portal import Portal
from tests.e2e.site import REALM_KEY, Site

# The pods of such a job are never scheduled, so it costs the machine next to nothing. No test here needs it to start.
_IDLE = "kns-nowhere"
_LABEL = "of user1"  # other tests have jobs of the same user meanwhile

Claims = dict[str, Any]


@pytest.fixture(scope="module")
def realm_key(site: Site) -> str:
    """The private key of the realm, PEM."""
    assert site.realm_key, f"{REALM_KEY} is not set: it is the path of the key that fits the site's public one"
    return Path(site.realm_key).read_text("utf-8")


@pytest.fixture(scope="module")
def idle(module_jobs: JobKeeper) -> TrialJob:
    """A live job of user1."""
    job = module_jobs.submit("hello", machine=_IDLE, job_label=_LABEL)
    job.wait_until_listed()
    return job


def _claims(username: str, **changes: Any) -> Claims:
    """The claims of a good token; None leaves a claim out."""
    now = int(time.time())
    claims = {"preferred_username": username, "aud": ["jarvice"], "iat": now, "exp": now + 300, **changes}
    return {name: value for name, value in claims.items() if value is not None}


def _sign(claims: Claims, key: str) -> str:
    return jwt.encode(claims, key, algorithm="RS256")


def _ask(portal: Portal, route: str, token: str, **params: Any) -> httpx.Response:
    """A GET with the token and no API key; `portal` is only the way to the site."""
    return portal.send("GET", f"/jarvice/{route}", params=params, headers={"Authorization": f"Bearer {token}"})


# --- tokens


def test_a_token_is_as_good_as_an_api_key(site: Site, portal: Portal, idle: TrialJob, realm_key: str) -> None:
    """It shows the same jobs, with and without the username beside the token."""
    username = site.user.username
    token = _sign(_claims(username), realm_key)
    for params in ({}, {"username": username}):
        answer = _ask(portal, "jobs", token, label=_LABEL, **params)
        assert answer.status_code == 200
        assert answer.json()[str(idle.number)]["job_owner_username"] == username
        assert answer.json().keys() == portal.get("jobs", label=_LABEL).keys()


def test_a_job_is_submitted_and_ended_by_token(site: Site, portal: Portal, jobs: JobKeeper, realm_key: str) -> None:
    """The submission has no `user`: the job belongs to the token's user, and no part of the token is kept."""
    token = _sign(_claims(site.user.username), realm_key)
    submission = portal.build_submission("hello", machine=_IDLE)
    del submission["user"]
    answer = portal.send("POST", "/jarvice/submit", json=submission, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    job = jobs.adopt(answer.json()["number"], answer.json()["name"])

    entry = job.entry()
    assert (entry["job_owner_username"], entry["job_payer"]) == (site.user.username, site.payer.username)
    record = json.dumps(site.kubectl.get("nj", job.record_name, f"--namespace={NAMESPACE}"))
    assert token not in record
    assert token.rpartition(".")[2] not in record
    assert _ask(portal, "terminate", token, number=job.number).json() == {"status": "terminated"}
    assert job.wait_until_ended() == "CANCELED"


def test_leeway_is_half_a_minute(site: Site, portal: Portal, realm_key: str) -> None:
    """Clocks differ: a token that has just expired is still accepted, and so is one that begins in a moment."""
    now = int(time.time())
    for changes in ({"exp": now - 2}, {"nbf": now + 15}, {"aud": None, "azp": "jarvice"}, {"aud": "jarvice"}):
        token = _sign(_claims(site.user.username, **changes), realm_key)
        assert _ask(portal, "jobs", token).status_code == 200, changes


def _foreign(claims: Claims, _: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256")


def _unsigned(claims: Claims, _: str) -> str:
    return jwt.encode(claims, "", algorithm="none")


def _confused(claims: Claims, key: str) -> str:
    """HS256 with the realm's public key as the shared secret: a server that trusts the header would accept it."""
    private = serialization.load_pem_private_key(key.encode(), password=None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head, body = (_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_encode(signature)}"


def _altered(claims: Claims, key: str) -> str:
    """Another name under the signature of the first one."""
    head, _, signature = _sign(claims, key).split(".")
    return f"{head}.{_encode(json.dumps({**claims, 'preferred_username': 'admin1'}).encode())}.{signature}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (_foreign, {}),
        (_unsigned, {}),
        (_confused, {}),
        (_altered, {}),
        (lambda claims, key: _sign(claims, key)[:-8], {}),
        (lambda *_: "not.a.token", {}),
        (_sign, {"exp": 1_700_000_000}),
        (_sign, {"nbf": 4_000_000_000, "exp": 4_000_000_300}),
        (_sign, {"aud": ["another-service"]}),
        (_sign, {"aud": None}),
        (_sign, {"azp": "kns-job-7"}),
        (_sign, {"preferred_username": None}),
        (_sign, {"preferred_username": "nobody-of-that-name"}),
    ],
    ids=[
        *("another key", "no signature", "HS256 with the public key", "altered", "cut", "no token", "expired"),
        *("too early", "another audience", "no audience", "the client of a job", "no name", "unknown name"),
    ],
)
def test_a_bad_token_opens_nothing(
    site: Site, portal: Portal, realm_key: str, make: Callable[[Claims, str], str], changes: Claims
) -> None:
    """401 as for a wrong API key."""
    answer = _ask(portal, "jobs", make(_claims(site.user.username, **changes), realm_key))
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


def test_a_good_api_key_beside_a_bad_token_does_not_help(site: Site, portal: Portal, realm_key: str) -> None:
    """The token wins, at submit too, with the message of that route; and no job is made."""
    token = _foreign(_claims(site.user.username), realm_key)
    answer = _ask(portal, "jobs", token, username=site.user.username, apikey=site.user.apikey)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
    label = "with a bad token"
    submission = portal.build_submission("hello", machine=_IDLE, job_label=label)
    answer = portal.send("POST", "/jarvice/submit", json=submission, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()) == (401, {"error": "Not Authorized"})
    assert portal.get("jobs", all="true", label=label) == {}


def test_a_token_of_one_user_with_the_name_of_another_is_refused(site: Site, portal: Portal, realm_key: str) -> None:
    token = _sign(_claims(site.user.username), realm_key)
    answer = _ask(portal, "jobs", token, username=site.other.username)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


# --- teams


def test_a_members_job_is_seen_by_its_owner_the_leader_and_the_administrator(
    portal: Portal, payer: Portal, admin: Portal, idle: TrialJob
) -> None:
    for who in (portal, payer, admin):
        assert who.get("status", number=idle.number)[str(idle.number)]["job_name"] == idle.name


def test_to_a_colleague_it_is_an_unknown_job(other: Portal, idle: TrialJob) -> None:
    """The answers are those to a number that no job has, and the job is not ended."""
    expected = {
        "status": (404, "Not Found"),
        "terminate": (404, "Not found"),
        "shutdown": (404, "Not found"),
        "info": (404, "Job not found"),
        "output": (404, "Job not found"),
        "tail": (404, "Job not found"),
    }
    for route, (status, error) in expected.items():
        for params in ({"number": idle.number}, {"name": idle.name}, {"number": 999_999_999}):
            answer = other.ask(route, **params)
            assert (answer.status_code, answer.json()) == (status, {"error": error}), (route, params)
    assert idle.status()["job_status"] == "SUBMITTED"


def test_teamjobs_shows_the_team_to_its_leader_only(
    site: Site, portal: Portal, other: Portal, payer: Portal, idle: TrialJob
) -> None:
    """`jobs` shows everybody their own; `teamjobs` adds those of the members for the leader, and never an API key."""
    number = str(idle.number)
    seen = {
        (who, route): number in reader.get(route)
        for who, reader in (("owner", portal), ("colleague", other), ("leader", payer))
        for route in ("jobs", "teamjobs")
    }
    assert seen == {
        ("owner", "jobs"): True,
        ("owner", "teamjobs"): True,
        ("colleague", "jobs"): False,
        ("colleague", "teamjobs"): False,
        ("leader", "jobs"): False,
        ("leader", "teamjobs"): True,
    }
    entry = payer.get("teamjobs")[number]
    assert (entry["job_owner_username"], entry["job_payer"]) == (site.user.username, site.payer.username)
    assert entry["job_label"] == _LABEL
    assert "apikey" not in json.dumps(entry)
    assert number not in payer.get("teamjobs", completed="true")


def test_teamusers_is_for_the_leader(site: Site, portal: Portal, payer: Portal) -> None:
    """It lists the members with address and name, without the caller."""
    members = payer.get("teamusers")
    assert members.keys() == {site.user.username, site.other.username}
    assert all(member.keys() == {"email", "name"} for member in members.values())
    answer = portal.ask("teamusers")
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


def test_events_and_projects_are_for_the_administrator(
    portal: Portal, payer: Portal, admin: Portal, idle: TrialJob
) -> None:
    for who in (portal, payer):
        for route, params in (("events", {"number": idle.number}), ("projects", {})):
            answer = who.ask(route, **params)
            assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"}), route
    assert isinstance(admin.get("events", number=idle.number), str)
    assert isinstance(admin.get("projects"), dict)


def test_the_leader_ends_a_members_job(payer: Portal, portal: Portal, jobs: JobKeeper) -> None:
    """The job then appears among the team's ended ones."""
    job = jobs.submit("hello", machine=_IDLE)
    assert payer.get("terminate", number=job.number) == {"status": "terminated"}
    assert job.wait_until_ended() == "CANCELED"
    number = str(job.number)
    assert payer.get("teamjobs", completed="true")[number]["job_status"] == "CANCELED"
    assert number not in payer.get("teamjobs")
    assert number in portal.get("jobs", completed="true")
