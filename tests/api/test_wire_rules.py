"""
The rules that every route obeys: methods, where parameters come from, headers, bytes of answers, faults.

The usual ways to send parameters are in test_every_route.py, for all routes; JSON that cannot be read is in
hostile/test_bodies.py.
"""

import json
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from kns.model.errors import RefusedError, UnavailableError
from tests.api.client import VERSION, Api, as_json, assert_refused
from tests.builders import a_job, a_submission, an_appdef

CREDENTIALS = {"username": "user1", "apikey": "key-user1"}
EVERY_ROUTE = [
    "status", "jobs", "info", "connect", "tail", "output", "shutdown", "terminate", "apps", "appdef", "machines",
    "teamjobs", "events", "metrics", "screenshot", "signal", "action", "vault", "queues", "projects", "teamusers",
    "live", "ready",
]  # fmt: skip
NOT_OURS = [
    "/", "/jarvice", "/jarvice/", "/jarvice/status/", "/jarvice//status", "/status", "/docs", "/openapi.json", "/live/",
]  # fmt: skip


@pytest.mark.proves("wire", "An unknown route is 404, a wrong method 405, an unexpected error 500 without details")
@pytest.mark.parametrize("path", NOT_OURS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_route_is_404_and_never_a_redirect(api: Api, method: str, path: str) -> None:
    assert_refused(api.call(method, path, params=CREDENTIALS), 404, "Not found")


@pytest.mark.proves("wire", "An unknown route is 404, a wrong method 405, an unexpected error 500 without details")
@pytest.mark.parametrize("route", EVERY_ROUTE)
def test_other_methods_are_405(api: Api, route: str) -> None:
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        assert_refused(api.call(method, f"/jarvice/{route}"), 405, "Method not allowed")


@pytest.mark.parametrize("route", EVERY_ROUTE)
def test_head_is_405_and_has_no_body(api: Api, route: str) -> None:
    answer = api.call("HEAD", f"/jarvice/{route}", params=CREDENTIALS)
    assert (answer.status_code, answer.content) == (405, b"")


@pytest.mark.parametrize("route", ["submit", "batch", "validate"])
def test_three_routes_are_post_only(api: Api, route: str) -> None:
    assert_refused(api.call("GET", f"/jarvice/{route}"), 405, "Method not allowed")


@pytest.mark.parametrize(
    ("sentence", "options"),
    [
        ("JSON without a Content-Type", {"content": json.dumps({**CREDENTIALS, "number": 7})}),
        ("JSON after a byte order mark", {"content": "\ufeff" + json.dumps({**CREDENTIALS, "number": 7})}),
        ("form without a Content-Type", {"content": "username=user1&apikey=key-user1&number=7\n"}),
        ("query with a blank body that calls itself JSON",
         {"params": {**CREDENTIALS, "number": "7"}, "content": b" \n",
          "headers": {"content-type": "application/json"}}),
        ("half query, half body", {"params": {"number": "7"}, "data": CREDENTIALS}),
        ("JSON with null for what is absent", {"json": {**CREDENTIALS, "number": 7, "name": None}}),
        ("JSON with a key given twice",
         {"content": '{"username": "x", "username": "user1", "apikey": "key-user1", "number": 7}'}),
    ],
)  # fmt: skip
def test_parameters_are_read_from(api: Api, sentence: str, options: dict[str, Any]) -> None:
    api.add(a_job())
    answer = api.call("POST", "/jarvice/status", **options)
    assert (answer.status_code, list(answer.json())) == (200, ["7"]), sentence


def test_the_body_of_a_get_is_ignored(api: Api) -> None:
    api.add(a_job())
    answer = api.call("GET", "/jarvice/status", params={**CREDENTIALS, "number": "7"}, content=b"[not json")
    assert answer.status_code == 200


UNREADABLE_JSON = {
    "cut off": b'{"number": 7',
    "a list": b"[1]",
    "invalid UTF-8": b'{"name": "\xff"}',
}


@pytest.mark.parametrize("sentence", UNREADABLE_JSON)
def test_a_body_that_cannot_be_read_is_refused(api: Api, sentence: str) -> None:
    body, headers = UNREADABLE_JSON[sentence], {"content-type": "application/json"}
    for route, error in (
        ("status", "Bad Request"),
        ("validate", "Bad Request"),
        ("submit", "Missing or Malformed API Syntax"),
    ):
        assert_refused(api.call("POST", f"/jarvice/{route}", content=body, headers=headers), 400, error)
    assert api.jobs.writes == []


@pytest.mark.parametrize("body", [b'"text"', b"7", b"null", b"true", b"plain text"])
def test_json_that_is_not_an_object_is_refused(api: Api, body: bytes) -> None:
    answer = api.call("POST", "/jarvice/jobs", content=body, headers={"content-type": "application/json"})
    assert_refused(answer, 400, "Bad Request")


def test_a_name_beyond_ascii_in_a_query_is_only_wrong_credentials(api: Api) -> None:
    assert_refused(api.call("GET", "/jarvice/jobs?username=\u00fc&apikey=x"), 401, "Unauthorized")


@pytest.mark.parametrize(
    ("text", "count"), [("true", 1), ("True", 0), ("TRUE", 0), ("1", 0), ("yes", 0), ("", 0), ("false", 0)]
)
def test_a_boolean_is_literally_true(api: Api, text: str, count: int) -> None:
    api.add(a_job().ended())
    assert len(api.get("jobs", completed=text).json()) == count


@pytest.mark.parametrize(("value", "count"), [(True, 1), (False, 0), (None, 0), (1, 0)])
def test_a_boolean_in_json_is_a_real_one(api: Api, value: Any, count: int) -> None:
    api.add(a_job().ended())
    answer = api.call("POST", "/jarvice/jobs", json={**CREDENTIALS, "completed": value})
    assert len(answer.json()) == count


def test_json_answers_have_four_spaces_a_final_newline_and_no_charset(api: Api) -> None:
    api.add(a_job().labelled("Größe <&> \u2603"))
    answer = api.get("jobs")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == as_json(answer.json())
    assert "Größe <&> \u2603".encode() in answer.content


def test_text_answers_carry_no_charset(api: Api) -> None:
    api.add(a_job().started(), output="Grüße\n")
    answer = api.get("tail", number=7)
    assert (answer.headers["content-type"], answer.content) == ("text/plain", "Grüße\n".encode())


@pytest.mark.proves("security", "an enormous one")
@pytest.mark.parametrize("route", ["submit", "validate", "status"])
def test_a_body_above_four_mebibytes_is_refused(api: Api, route: str) -> None:
    answer = api.call("POST", f"/jarvice/{route}", content=b" " * (4 * 1024 * 1024 + 1))
    assert_refused(answer, 413, "Request too large")


def test_a_body_of_four_mebibytes_is_read(api: Api) -> None:
    body = json.dumps(an_appdef()).encode().ljust(4 * 1024 * 1024)
    assert api.call("POST", "/jarvice/validate", content=body).json() == {"valid": True}


@pytest.mark.proves("security", "anything in any parameter")
@pytest.mark.proves("wire", "An unknown route is 404, a wrong method 405, an unexpected error 500 without details")
def test_a_fault_is_internal_error_and_no_more(api: Api) -> None:
    api.jobs.faults["find"] = RuntimeError("the secret of the house")
    with capture_logs() as logs:
        answer = api.get("status", number=7)
    assert_refused(answer, 500, "Internal error")
    fault = next(line for line in logs if line["event"] == "unhandled_exception")
    assert "RuntimeError" in fault["stack"]
    assert "key-user1" not in str(logs)


def test_a_store_that_refuses_for_good_is_an_internal_error(api: Api) -> None:
    api.add(a_job().started())
    api.jobs.faults["request_stop"] = RefusedError("patch NestedJob: 422")
    assert_refused(api.get("shutdown", number=7), 500, "Internal error")


@pytest.mark.parametrize(
    ("route", "method"), [("status", "find"), ("jobs", "walk_jobs"), ("terminate", "request_stop"), ("tail", "find")]
)
def test_a_store_that_cannot_answer_yet_is_not_ready_and_never_unknown(api: Api, route: str, method: str) -> None:
    api.add(a_job().started())
    api.jobs.faults[method] = UnavailableError("the record cache is not filled yet")
    assert_refused(api.get(route, number=7), 503, "not ready")


def test_an_outage_of_the_host_writes_one_line_a_minute(api: Api) -> None:
    """However often clients poll. The line says how many were left out."""
    api.add(a_job().started())
    api.jobs.faults["find"] = UnavailableError("the record cache is not filled yet")
    with capture_logs() as logs:
        for after_s in (10_000_000, 1, 58, 2, 10, 60):  # the tests before it may have left a line out
            api.clock.advance(after_s)
            assert api.get("status", number=7).status_code == 503
    lines = [line for line in logs if line["event"] == "http_not_ready"]
    assert [line["skipped"] for line in lines][1:] == [2, 1]


@pytest.mark.parametrize("route", ["status", "tail", "info", "shutdown"])
def test_a_job_that_another_replica_has_just_stored_is_not_unknown(api: Api, route: str) -> None:
    job = api.add(a_job().started())
    known = api.get(route, number=7)
    api.jobs.unheard.add(7)
    answer = api.get(route, number=7)
    assert (answer.status_code, answer.content) == (known.status_code, known.content)
    named = api.get(route, name=job.spec.accepted.name if job.spec.accepted else "")
    assert (named.status_code, named.content) == (known.status_code, known.content)
    assert api.get(route, number=8).content == api.get(route, number=2**63 - 1).content
    assert api.get(route, name="none").content == api.get(route, number=8).content
    api.jobs.faults["fetch"] = UnavailableError("the host does not answer")
    assert_refused(api.get(route, number=7), 503, "not ready")


@pytest.mark.proves("security", "find keys in logs or records")
def test_the_access_log_has_the_path_and_never_the_query(api: Api) -> None:
    with capture_logs() as logs:
        api.get("jobs")
        api.submit(a_submission())
        api.submit({**a_submission(), "user": {"username": "user1", "apikey": "key-wrong"}})
        api.call("GET", "/nowhere?apikey=key-user1")
    lines = [line for line in logs if line["event"] == "http_request"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/jarvice/jobs", 200),
        ("POST", "/jarvice/submit", 200),
        ("POST", "/jarvice/submit", 401),
        ("GET", "/nowhere", 404),
    ]
    assert all(isinstance(line["duration_s"], float) for line in lines)
    assert "key-" not in str(logs)


@pytest.mark.proves("routes", "`live` reports on the process; `ready` also on records and host, with the version")
@pytest.mark.parametrize("path", ["/jarvice/live", "/live"])
def test_live_answers_even_when_nothing_is_ready(api: Api, path: str) -> None:
    api.health.ready = False
    answer = api.call("GET", path)
    assert (answer.status_code, answer.content) == (200, as_json({"status": "OK"}))


@pytest.mark.proves("routes", "`live` reports on the process; `ready` also on records and host, with the version")
@pytest.mark.parametrize("path", ["/jarvice/ready", "/ready"])
def test_ready_names_the_version_or_says_not_ready(api: Api, path: str) -> None:
    assert api.call("GET", path).content == as_json(
        {"status": "OK", "version": VERSION, "watches": {"nestedjobs": 0.4, "httproutes": None}}
    )
    api.health.ready = False
    assert_refused(api.call("GET", path), 503, "not ready")


def test_requests_are_counted_by_route_and_never_by_what_a_client_invents(api: Api) -> None:
    for path in ("/jarvice/live", "/live", "/x/../../etc/passwd"):
        api.call("GET", path)
    api.call("BREW", "/jarvice/live")
    labels = [
        sample.labels
        for metric in REGISTRY.collect()
        if metric.name == "kns_http_request_duration_seconds"
        for sample in metric.samples
        if sample.name.endswith("_count")
    ]
    assert {"route": "/jarvice/live", "method": "GET", "status": "200"} in labels
    assert {"route": "/live", "method": "GET", "status": "200"} in labels
    assert {"route": "/jarvice/live", "method": "other", "status": "405"} in labels
    assert {"route": "unknown", "method": "GET", "status": "404"} in labels
    assert not [label for label in labels if "passwd" in label["route"] or label["method"] == "BREW"]


TOO_LARGE = [str(2**63), str(-(2**63) - 1), "1" + "0" * 20, "-1" + "0" * 200, "1" + "0" * 100_000]


@pytest.mark.parametrize("digits", TOO_LARGE, ids=len)
@pytest.mark.parametrize("quote", ["", '"'])
def test_an_integer_beyond_64_bits_is_an_invalid_parameter(api: Api, digits: str, quote: str) -> None:
    body = f'{{"username": "user1", "apikey": "key-user1", "number": {quote}{digits}{quote}}}'
    assert_refused(api.call("POST", "/jarvice/status", content=body.encode()), 400, "Invalid parameter(s)")


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_an_integer_of_64_bits_is_a_number_like_any_other(api: Api, number: int) -> None:
    body = {"username": "user1", "apikey": "key-user1", "number": number}
    assert_refused(api.call("POST", "/jarvice/status", json=body), 404, "Not Found")


@pytest.mark.parametrize("digits", ["1" + "0" * 20, "1" + "0" * 100_000], ids=len)
def test_an_integer_beyond_64_bits_is_never_part_of_a_job(api: Api, digits: str) -> None:
    body = json.dumps(a_submission(number="BIG")).replace('"BIG"', digits)
    assert_refused(api.call("POST", "/jarvice/submit", content=body.encode()), 400, "Missing or Malformed API Syntax")
    assert api.jobs.writes == []
