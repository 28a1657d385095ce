"""For all input: no answer is a 5xx, and every answer is JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.client import Api
from tests.builders import a_submission, an_appdef

pytestmark = pytest.mark.proves("security", "anything in any parameter")

TEXTS = st.text(max_size=8) | st.sampled_from(["\ud800", "\x00", "true", "7", "", "-", "../x"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
ROUTES = st.sampled_from(
    [
        "status", "jobs", "info", "tail", "output", "terminate", "apps", "appdef", "machines", "teamjobs", "events",
        "metrics", "screenshot", "signal", "action", "vault", "queues", "projects", "teamusers",
    ]
)  # fmt: skip
PARAMETERS = st.sampled_from(
    ["name", "number", "lines", "label", "version", "username", "width", "signal", "action", "vault", "path", "sort",
     "details", "info"]
)  # fmt: skip
API = Api(failed_logins=10**9, submits=10**9)  # no rate limit may hide a request from the code under test


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [found for key, item in items for found in paths_of(item, (*path, key))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    if not path:
        return new
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


def _assert_answered(path: str, body: bytes) -> None:
    answer = API.call("POST", path, content=body)
    assert answer.status_code < 500, (path, body, answer.text)
    answer.json()


@given(st.sampled_from(paths_of(a_submission(vault={"name": "data"}, job_label="x"))), VALUES)
def test_a_submission_with_anything_anywhere(path: tuple[Any, ...], value: Any) -> None:
    body = replaced(a_submission(vault={"name": "data"}, job_label="x"), path, value)
    _assert_answered("/jarvice/submit", json.dumps(body).encode())


@given(st.sampled_from(paths_of(an_appdef(walltime="01:00:00"))), VALUES)
def test_an_appdef_with_anything_anywhere(path: tuple[Any, ...], value: Any) -> None:
    _assert_answered("/jarvice/validate", json.dumps(replaced(an_appdef(walltime="01:00:00"), path, value)).encode())


@given(ROUTES, st.dictionaries(PARAMETERS, VALUES))
def test_a_parameter_of_any_kind(route: str, params: dict[str, Any]) -> None:
    body = {"username": "user1", "apikey": "key-user1", **params}
    _assert_answered(f"/jarvice/{route}", json.dumps(body).encode())


@given(ROUTES, st.binary(max_size=40))
def test_a_body_of_any_bytes(route: str, body: bytes) -> None:
    _assert_answered(f"/jarvice/{route}", body)
