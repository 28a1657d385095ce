"""One table of all routes: each takes GET and POST, a query, a form, JSON; the query wins; headers and sizes agree."""

import json
from typing import Any, cast

import pytest

from kns.ports import Kind
from tests.api.client import Api, as_json
from tests.builders import a_job

pytestmark = pytest.mark.proves("main", "Every route, error and answer shape, byte for byte")

J = {"number": "7"}

# route: (caller, parameters, the same with one value that a winning query must hide)
ROUTES: dict[str, tuple[str | None, dict[str, str], dict[str, str]]] = {
    "jobs": ("user1", {"all": "true"}, {"all": "false"}),
    "teamjobs": ("lead1", {"completed": "false"}, {"completed": "true"}),
    "status": ("user1", J, {"number": "8"}),
    "info": ("user1", J, {"number": "8"}),
    "connect": ("user1", J, {"number": "8"}),
    "tail": ("user1", {**J, "lines": "1"}, {**J, "lines": "2"}),
    "output": ("user1", {"number": "9", "lines": "1"}, {"number": "9", "lines": "0"}),
    "events": ("admin1", J, {"number": "8"}),
    "metrics": ("user1", J, {"number": "8"}),
    "screenshot": ("user1", {**J, "width": "1"}, {**J, "width": "x"}),
    "shutdown": ("user1", J, {"number": "8"}),
    "terminate": ("user1", J, {"number": "8"}),
    "signal": ("user1", {**J, "signal": "20"}, {**J, "signal": "x"}),
    "action": ("user1", {**J, "action": "x"}, {**J, "action": ""}),
    "apps": ("user1", {"name": "hello"}, {"name": "none"}),
    "appdef": ("user1", {"name": "hello"}, {"name": "none"}),
    "machines": ("user1", {"name": "kns-small"}, {"name": "none"}),
    "vault": ("user1", {"vault": "data", "path": "/"}, {"vault": "none", "path": "/"}),
    "queues": ("user1", {"info": "true"}, {"name": "q"}),
    "projects": ("admin1", {"unknown": "x"}, {"unknown": "y"}),
    "teamusers": ("lead1", {"unknown": "x"}, {"unknown": "y"}),
    "live": (None, {}, {}),
    "ready": (None, {}, {}),
}
REFUSED = {"screenshot": 404, "signal": 400, "action": 400}  # never offered; all others answer 200
TEXT = {"tail", "output", "events"}


@pytest.fixture
def api() -> Api:
    api = Api()
    api.add(a_job().exposed(), output="one\ntwo\n")
    api.add(a_job().numbered(9).started().ended(), output="one\ntwo\n")
    event = {"type": "Normal", "reason": "R", "involvedObject": {"kind": "Pod", "name": "p"}, "message": "m"}
    api.namespaces.objects[Kind.EVENT, "kns-job-7"] = [event]
    usage = {"containers": [{"usage": {"cpu": "1", "memory": "1Gi"}}]}
    api.namespaces.objects[Kind.POD_METRICS, "kns-job-7"] = [usage]
    return api


def _params(route: str) -> dict[str, str]:
    caller, params, _ = ROUTES[route]
    return {**({"username": caller, "apikey": f"key-{caller}"} if caller else {}), **params}


def _numbers(params: dict[str, str]) -> dict[str, Any]:
    """The parameters as a JSON client writes them."""
    words: dict[str, Any] = {"true": True, "false": False}
    return {key: words.get(v, int(v) if v.isdecimal() else v) for key, v in params.items()}


def _forms(params: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """All ways to send the same parameters."""
    as_form = {"content-type": "application/x-www-form-urlencoded"}
    hidden = {key: value for key, value in other.items() if key in params}
    return {
        "GET": ("GET", {"params": params}),
        "POST with a query": ("POST", {"params": params}),
        "POST with a query and an empty JSON body":
            ("POST", {"params": params, "content": b"", "headers": {"content-type": "application/json"}}),
        "form": ("POST", {"data": params}),
        "JSON": ("POST", {"json": _numbers(params)}),
        "JSON with texts": ("POST", {"json": params}),
        "JSON called a form": ("POST", {"content": json.dumps(_numbers(params)), "headers": as_form}),
        "query wins over JSON": ("POST", {"params": params, "json": {**_numbers(hidden), "username": "x"}}),
        "query wins over a form": ("POST", {"params": params, "data": {**hidden, "username": "x"}}),
    }  # fmt: skip


@pytest.mark.proves("wire", "Every route answers GET and POST, except three, although one description has GET only")
@pytest.mark.parametrize("route", ROUTES)
def test_a_route_answers_the_same_however_it_is_asked(api: Api, route: str) -> None:
    params = _params(route)
    answers = {
        way: api.call(method, f"/jarvice/{route}", **options)
        for way, (method, options) in _forms(params, ROUTES[route][2]).items()
    }
    expected = answers.pop("GET")
    assert expected.status_code == REFUSED.get(route, 200), expected.text
    assert expected.headers["content-type"] == ("text/plain" if route in TEXT else "application/json")
    assert {way: (a.status_code, a.content) for way, a in answers.items()} == dict.fromkeys(
        answers, (expected.status_code, expected.content)
    )


@pytest.mark.proves("security", "find the passwords of others in a cache that is shared")
@pytest.mark.parametrize("route", [*ROUTES, "submit", "batch", "validate", "openapi.json", "unknown"])
@pytest.mark.parametrize("knows_sender", [True, False])
def test_no_cache_stores_an_answer(api: Api, route: str, knows_sender: bool) -> None:
    """Credentials may be in headers that a shared cache does not take for such. Errors and unknown routes, too."""
    params = _params(route) if route in ROUTES and knows_sender else {}
    for method in ("GET", "POST"):
        assert api.call(method, f"/jarvice/{route}", params=params).headers["cache-control"] == "no-store"


def test_no_cache_stores_an_answer_of_several_parts(api: Api) -> None:
    """A long list is not sent at once."""
    for number in range(100, 400):
        api.add(a_job().numbered(number).labelled("x" * 255))
    answer = api.get("jobs")
    assert len(answer.content) > 64 * 1024
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("route", sorted(ROUTES.keys() - TEXT))
def test_json_is_printed_with_four_spaces_and_a_last_line_break(api: Api, route: str) -> None:
    answer = api.call("GET", f"/jarvice/{route}", params=_params(route))
    assert answer.content == as_json(answer.json())


def test_the_table_has_every_route_of_the_app(api: Api) -> None:
    """The app lists its routes for its metrics."""
    (found,) = (part.kwargs["routes"] for part in api.app.user_middleware if "routes" in part.kwargs)
    paths = cast(frozenset[str], found)
    others = {"submit", "batch", "validate", "openapi.json"}
    public = {path for path in paths if not path.startswith("/kns/")}  # tests/api/test_kns_routes.py has the others
    assert public == {f"/jarvice/{route}" for route in ROUTES.keys() | others} | {"/live", "/ready"}
