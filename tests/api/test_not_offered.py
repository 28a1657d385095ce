"""`screenshot`, `signal`, `action`: the original API has them. A nested job refuses them, as the last check."""

import pytest

from tests.api.client import Api, assert_refused
from tests.builders import a_job

NOT_OFFERED = [
    ("screenshot", {}, 404, "Not found"),
    ("screenshot", {"width": "100", "height": "80", "emphatic": ""}, 404, "Not found"),
    ("signal", {}, 400, "signal not supported"),
    ("signal", {"signal": "9"}, 400, "signal not supported"),
    ("action", {"action": "stop"}, 400, "Invalid parameter(s)"),
]


@pytest.mark.proves("routes", "`signal`, `action` and `screenshot` are refused, each with its own text")
@pytest.mark.proves(
    "wire",
    "Errors take precedence in this order: credentials, parameters, unknown job, wrong state, not offered for "
    "nested jobs",
)
@pytest.mark.parametrize(("route", "params", "status", "error"), NOT_OFFERED)
def test_what_a_nested_job_does_not_offer_is_refused_last(
    api: Api, route: str, params: dict[str, str], status: int, error: str
) -> None:
    """The job must exist, and then it must be running."""
    unknown = "Not found" if route == "signal" else "Job not found"
    assert_refused(api.get(route, number=7, **params), 404, unknown)
    for builder in (a_job(), a_job().spawning(), a_job().exposed().ended()):
        api.add(builder)
        assert_refused(api.get(route, number=7, **params), 404, "Running job is not found")
    job = api.add(a_job().started())
    assert_refused(api.get(route, number=7, **params), status, error)
    assert api.jobs.get(job.record) == job


@pytest.mark.parametrize(
    ("route", "params", "error"),
    [
        ("screenshot", {"width": "wide"}, "Invalid parameter(s)"),
        ("screenshot", {"height": "1.5"}, "Invalid parameter(s)"),
        ("signal", {"signal": "TERM"}, "Invalid parameter(s)"),
        ("action", {}, "Required parameter(s) missing"),
        ("action", {"action": ""}, "Required parameter(s) missing"),
    ],
)
def test_their_parameters_are_checked_after_the_credentials_and_before_the_job(
    api: Api, route: str, params: dict[str, str], error: str
) -> None:
    assert_refused(api.get(route, number=99, **params), 400, error)
    wrong = {"username": "user1", "apikey": "wrong", **params}
    assert_refused(api.call("GET", f"/jarvice/{route}", params=wrong), 401, "Unauthorized")


def test_an_action_that_is_no_text(api: Api) -> None:
    body = {"username": "user1", "apikey": "key-user1", "number": 7, "action": ["stop"]}
    assert_refused(api.call("POST", "/jarvice/action", json=body), 400, "Invalid parameter(s)")
