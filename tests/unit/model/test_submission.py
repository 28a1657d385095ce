"""What `accept` stores for both kinds of submissions, and each refusal with its message."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.model.catalog.catalog import Catalog
from kns.model.errors import InvalidInputError, KnsError, UnknownAppError
from kns.model.job.job import Accepted
from kns.model.job.slim import slim_submission
from kns.model.reading.parsing import parse_model
from kns.model.submit.submission import (
    Submission,
    Terms,
    accept,
    build_job_name,
    build_spec,
    find_app,
)
from tests.builders import a_catalog, a_command, a_submission, an_app, an_appdef
from tests.fakes.stores import START

APPS = {
    "hello": an_app(),
    "secret": an_app(public=False, owner_name="user1"),
    "two": an_app(an_appdef(commands={"A": a_command(), "B": a_command()})),
    "old": an_app(an_appdef(commands={"Hello": a_command(nested={"kubernetes_version": "v1.20"})})),
    "picky": an_app(an_appdef(commands={"Hello": a_command(machines=["kns-large"])})),
    "timed": an_app(an_appdef(walltime="02:00:00", commands={"Hello": a_command(walltime="01:00:00")})),
    "silent": an_app(an_appdef(commands={"Hello": a_command(interactive=False)})),
    "unconnected": an_app(an_appdef(commands={"Hello": a_command(interactive=True, noconnect=True)})),
    "login": an_app(an_appdef(commands={"Hello": a_command(nested={"keycloak": True})})),
    "targetless": an_app(an_appdef(commands={"Hello": a_command(nested={"targets": []})})),
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return a_catalog(apps=APPS)


def take(
    catalog: Catalog,
    *,
    user: str = "user1",
    allot: Callable[[], int] = lambda: 7,
    keycloak: bool = False,
    **changes: Any,
) -> Accepted:
    body = a_submission(user=user, **changes)
    spec = build_spec(parse_model(Submission, body), user=user, body=body)
    return accept(
        spec,
        app=find_app(catalog, spec),
        catalog=catalog,
        terms=Terms(supported_versions=("v1.36", "v1.35"), keycloak=keycloak),
        now=START,
        rng=random.Random(1),
        allot_number=allot,
    )


def test_what_is_frozen(catalog: Catalog) -> None:
    accepted = take(catalog)
    assert (accepted.number, accepted.payer, accepted.command) == (7, "payer1", "Hello")
    assert (accepted.image, accepted.submit_time) == ("registry.example.org/apps/hello:1", START)
    assert (accepted.machine.mc_name, accepted.walltime_s, accepted.connectable) == ("kns-small", None, True)
    assert accepted.name.startswith("20260105141530-")
    assert accepted.name.endswith("-hello-user1_s1")


@pytest.mark.proves(
    "routes",
    "A job with a target is interactive unless its command says otherwise; a job without one has no `connect`",
)
@pytest.mark.proves("submit", "The vault `ephemeral` always exists; any other name must be one of the user's vaults")
@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"app": "timed"}, "walltime_s", 3600),
        ({"app": "timed", "application": {"walltime": "00:00:30"}}, "walltime_s", 30),
        ({"app": "silent", "application": {}}, "connectable", False),
        ({"app": "unconnected", "application": {}}, "connectable", False),
        ({"app": "targetless", "application": {}}, "connectable", False),
        ({"user": "user3"}, "payer", "user3"),
        ({"app": "two", "application": {"command": "B"}}, "command", "B"),
        ({"machine": {"type": "kns-small", "nodes": 4}}, "number", 7),
        ({"vault": {"name": "ephemeral"}}, "number", 7),
        ({"vault": {"name": "data"}}, "number", 7),
        ({"job_project": "alpha"}, "number", 7),
        ({"app": "secret"}, "number", 7),
        ({"app": "secret", "user": "admin1"}, "number", 7),
    ],
    ids=str,
)
def test_what_is_taken(catalog: Catalog, changes: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(take(catalog, **changes), field) == value


REFUSALS: list[tuple[dict[str, Any], type[KnsError], str]] = [
    ({"user": "nobody"}, InvalidInputError, "user: 'nobody' is not in the user catalogue"),
    ({"app": "none"}, UnknownAppError, "app: 'none' is not in the catalogue"),
    ({"app": "secret", "user": "user2"}, UnknownAppError, "app: 'secret' is not in the catalogue"),
    ({"app": "two", "application": {}}, InvalidInputError, "application.command: choose one of A, B"),
    ({"application": {"command": "No"}}, UnknownAppError, "application.command: 'No' is not a command of this app"),
    ({"machine": {"type": "huge"}}, InvalidInputError, "machine.type: no machine 'huge'"),
    (
        {"machine": {"type": "kns-classic"}},
        InvalidInputError,
        "machine.type: 'kns-classic' lacks appkind=kns, so it runs no nested jobs",
    ),
    ({"app": "picky"}, InvalidInputError, "machine.type: 'kns-small' is not among the machines of this app"),
    ({"machine": {"type": "kns-small", "nodes": 5}}, InvalidInputError, "machine.nodes: 'kns-small' has at most 4"),
    ({"machine": {"type": "kns-large", "nodes": 2}}, InvalidInputError, "machine.nodes: 'kns-large' has at most 1"),
    (
        {"app": "old"},
        InvalidInputError,
        "nested_kubernetes.kubernetes_version: v1.20 is not supported here; supported: v1.36, v1.35",
    ),
    (
        {"app": "login"},
        InvalidInputError,
        "nested_kubernetes.keycloak: this site has no Keycloak for apps; choose another app or ask its administrator",
    ),
    ({"vault": {"name": "none"}}, InvalidInputError, "vault.name: user1 has no vault 'none'"),
    ({"vault": {"name": "data"}, "user": "user2"}, InvalidInputError, "vault.name: user2 has no vault 'data'"),
    ({"job_label": "a\0b"}, InvalidInputError, "job_label: must not contain a zero byte"),
    ({"job_project": "beta"}, InvalidInputError, "job_project: user1 is not a member of 'beta'"),
    (
        {"application": {"walltime": "1 hour"}},
        InvalidInputError,
        "application.walltime: '1 hour' is not HH:MM:SS",
    ),
    (
        {"application": {"walltime": "00:00:00"}},
        InvalidInputError,
        "application.walltime: must be longer than 00:00:00",
    ),
]


@pytest.mark.proves("submit", "The vault `ephemeral` always exists; any other name must be one of the user's vaults")
@pytest.mark.proves("submit", "A machine without `appkind=kns` runs no nested jobs")
@pytest.mark.parametrize(("changes", "error", "message"), REFUSALS, ids=[row[2] for row in REFUSALS])
def test_each_refusal_and_that_it_costs_no_number(
    catalog: Catalog, changes: dict[str, Any], error: type[KnsError], message: str
) -> None:
    def allot() -> int:
        raise AssertionError("a number was spent on bad input")

    with pytest.raises(error) as caught:
        take(catalog, allot=allot, **changes)
    assert str(caught.value) == message


def test_a_site_with_keycloak_takes_an_app_that_asks_for_it(catalog: Catalog) -> None:
    assert take(catalog, app="login", keycloak=True).nested.keycloak is not None


BODY_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"app": None}, "app"),
    ({"app": ""}, "app"),
    ({"app": "a" * 254}, "app"),
    ({"machine": None}, "machine"),
    ({"machine": {}}, "machine.type"),
    ({"machine": {"type": "m", "nodes": 0}}, "machine.nodes"),
    ({"machine": {"type": "m", "nodes": "two"}}, "machine.nodes"),
    ({"machine": {"type": "m", "nodes": 10_001}}, "machine.nodes"),
    ({"application": {"parameters": []}}, "application.parameters"),
    ({"vault": {}}, "vault.name"),
    ({"vault": {"name": 5}}, "vault.name"),
    ({"job_label": "x" * 256}, "job_label"),
    ({"job_priority": "urgent"}, "job_priority"),
    ({"user": "x", "app": 5}, "app"),
]


@pytest.mark.parametrize(("changes", "path"), BODY_FAULTS, ids=str)
def test_a_body_that_cannot_be_read(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_model(Submission, a_submission(**changes))
    assert caught.value.path == path


def test_old_clients_send_nodes_as_text() -> None:
    body = a_submission(machine={"type": "kns-small", "nodes": "3"})
    spec = build_spec(parse_model(Submission, body), user="user1", body=body)
    assert (spec.machine.nodes, spec.submission["machine"]["nodes"]) == (3, 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["user", "vault", "machine", "app", "apikey", "x"]), JSON, max_size=5))
def test_no_key_survives_in_what_is_stored(body: dict[str, Any]) -> None:
    """For any other content of the body."""
    full = {
        **body,
        "apikey": "S3CR3T",
        "user": {"username": "u", "apikey": "S3CR3T"},
        "vault": {"name": "v", "password": "S3CR3T"},
    }
    before = json.dumps(full)
    assert "S3CR3T" not in json.dumps(slim_submission(full))
    assert json.dumps(full) == before
    assert slim_submission(body) is not body


@pytest.mark.parametrize(
    ("asked", "may_be_urgent", "stored"),
    [("high", False, "normal"), ("highest", False, "normal"), ("normal", False, "normal"), ("high", True, "high")],
)
def test_an_urgent_job_is_an_administrators(asked: str, may_be_urgent: bool, stored: str) -> None:
    body = a_submission(job_priority=asked)
    spec = build_spec(parse_model(Submission, body), user="user1", body=body, may_be_urgent=may_be_urgent)
    assert spec.submission["job_priority"] == stored
    assert (
        "job_priority"
        not in build_spec(parse_model(Submission, a_submission()), user="user1", body=a_submission()).submission
    )


def test_documented_keys_are_stored_and_unknown_ones_are_not() -> None:
    body = a_submission(unknown={"a": [1]}, machine={"type": "m", "x": 1}, licenses="ansys:2", staging=False)
    stored = build_spec(parse_model(Submission, body), user="user1", body=body).submission
    assert stored == {
        "app": "hello",
        "application": {"command": "Hello"},
        "machine": {"type": "m", "nodes": 1},
        "user": {"username": "user1"},
        "licenses": "ansys:2",
        "staging": False,
    }


@given(
    app=st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?", fullmatch=True),
    user=st.from_regex(r"[a-z0-9]([a-z0-9.]{0,30}[a-z0-9])?", fullmatch=True),
    seed=st.integers(),
)
def test_the_user_is_read_from_a_name_the_way_consumers_do(app: str, user: str, seed: int) -> None:
    """After the last dash, up to the next underscore, for any app name. A user name with either is cut."""
    name = build_job_name(app=app, user=user, now=START, rng=random.Random(seed))
    assert name.rpartition("-")[2].partition("_")[0] == user
    assert name.split("-")[0] == "20260105141530"


@pytest.mark.proves("submit", "The scheduler's number in names is 1")
def test_a_name_is_read_by_consumers_from_both_ends() -> None:
    name = build_job_name(app="hello", user="ana", now=START, rng=random.Random(2))
    time, tag, app, rest = name.split("-")
    assert (time, len(tag), app, rest) == ("20260105141530", 5, "hello", "ana_s1")
