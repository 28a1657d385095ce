"""Limits: failed logins, submits per minute, live jobs; and that well-behaved clients never reach one."""

from typing import Any

import httpx
import pytest

from tests.api.client import Api, assert_refused
from tests.builders import a_job, a_submission


def fail(api: Api, *, user: str = "user1", address: str = "192.0.2.1", route: str = "jobs") -> int:
    """The status of a login with a wrong key."""
    params = {"username": user, "apikey": "wrong"}
    return api.call("GET", f"/jarvice/{route}", params=params, address=address).status_code


def log_in(api: Api, *, user: str = "user1", address: str = "192.0.2.1") -> int:
    params = {"username": user, "apikey": f"key-{user}"}
    return api.call("GET", "/jarvice/jobs", params=params, address=address).status_code


@pytest.mark.proves("security", "guess keys")
@pytest.mark.proves(
    "callers",
    "Repeated failed logins, and more than 60 submits a minute, get 429 with `Retry-After`; polling is never limited",
)
def test_the_eleventh_failed_login_of_a_minute_is_not_looked_at(api: Api) -> None:
    assert [fail(api) for _ in range(10)] == [401] * 10
    answer = api.call("GET", "/jarvice/status", params={"username": "user1", "apikey": "wrong", "number": "7"},
                      address="192.0.2.1")  # fmt: skip
    assert_refused(answer, 429, "Too many requests")
    assert answer.headers["retry-after"] == "60"


def test_a_blocked_user_is_blocked_with_the_right_key_too_until_the_minute_is_over(api: Api) -> None:
    """Otherwise the answer would tell a guesser that a guess was right."""
    for _ in range(10):
        fail(api)
    assert log_in(api) == 429
    api.clock.advance(59)
    assert log_in(api) == 429
    api.clock.advance(1)
    assert log_in(api) == 200


def test_others_and_other_addresses_are_not_blocked(api: Api) -> None:
    for _ in range(11):
        fail(api)
    assert log_in(api, user="user2") == 200
    assert log_in(api, address="192.0.2.2") == 200
    assert api.call("GET", "/jarvice/apps").status_code == 200


def test_failures_count_together_whatever_the_route(api: Api) -> None:
    body = {**a_submission(), "user": {"username": "user1", "apikey": "wrong"}}
    statuses = [fail(api, route=route) for route in ("jobs", "apps", "teamjobs", "queues", "metrics")]
    statuses += [api.submit(body).status_code for _ in range(5)]
    assert statuses == [401] * 10
    assert_refused(api.submit(a_submission()), 429, "Too many requests")
    assert log_in(api) == 429


def test_an_unknown_user_is_blocked_like_any_other(api: Api) -> None:
    """The answer must not reveal which users exist."""
    assert [fail(api, user="nobody") for _ in range(11)] == [401] * 10 + [429]


def test_logins_that_succeed_never_block(api: Api) -> None:
    for _ in range(9):
        fail(api)
    assert {log_in(api) for _ in range(20)} == {200}


@pytest.mark.proves(
    "callers",
    "Repeated failed logins, and more than 60 submits a minute, get 429 with `Retry-After`; polling is never limited",
)
@pytest.mark.parametrize("route", ["status", "tail", "info", "connect", "jobs", "metrics"])
def test_however_fast_a_client_polls_it_gets_answers(api: Api, route: str) -> None:
    """Errors count too, because clients poll until a job disappears. No limit is above 60 a minute."""
    api.add(a_job())
    assert 429 not in {api.get(route, number=7).status_code for _ in range(61)}


@pytest.mark.proves("security", "flood the scheduler with submits")
@pytest.mark.proves(
    "callers",
    "Repeated failed logins, and more than 60 submits a minute, get 429 with `Retry-After`; polling is never limited",
)
def test_above_sixty_submits_a_minute_a_user_waits(api: Api) -> None:
    assert {api.submit(a_submission()).status_code for _ in range(60)} == {200}
    answer = api.submit(a_submission())
    assert_refused(answer, 429, "Too many requests")
    assert answer.headers["retry-after"] == "60"
    assert len(api.jobs.list_jobs()) == 60
    assert api.submit(a_submission(user="user2")).status_code == 200
    api.clock.advance(60)
    assert api.submit(a_submission()).status_code == 200


def test_refused_submits_count_and_those_of_strangers_do_not() -> None:
    api = Api(submits=2)
    api.submit({**a_submission(), "user": {"username": "user1", "apikey": "wrong"}})
    api.submit({"app": 7})
    assert [api.submit(a_submission(app="none")).status_code for _ in range(3)] == [404, 404, 429]


@pytest.mark.proves("security", "flood the scheduler with submits")
def test_what_writes_to_one_job_again_and_again_counts_like_submits() -> None:
    """Each time it is a write of kns's own, which no limit of the host stops."""
    api = Api(submits=3)
    api.add(a_job().numbered(1).with_accepted(walltime_s=3600).exposed())
    longer = {"number": 1, "walltime": "02:00:00"}
    assert [_post(api, "extend", **longer).status_code for _ in range(2)] == [200, 200]
    assert _post(api, "wake", number=1).status_code == 200
    refused = [
        _post(api, "extend", **{**longer, "walltime": "02:00:01"}),
        _post(api, "wake", number=1),
        api.submit(a_submission()),
    ]
    for answer in refused:
        assert_refused(answer, 429, "Too many requests")
    assert api.get("status", number=1).status_code == 200
    assert api.get("terminate", number=1).status_code == 200, "a stop is written once"


def _post(api: Api, route: str, **params: Any) -> httpx.Response:
    headers = {"X-API-Username": "user1", "X-API-Key": "key-user1"}
    return api.call("POST", f"/kns/{route}", data=params, headers=headers)


@pytest.mark.proves("security", "flood the scheduler with submits")
@pytest.mark.proves("callers", "The published text about one active job is used for a user's limit of live jobs")
def test_a_user_at_the_job_limit_is_told_so() -> None:
    api = Api(live_jobs=2)
    api.add(a_job().numbered(1).ended())
    api.add(a_job().numbered(2).owned_by("user2"))
    assert [api.submit(a_submission()).status_code for _ in range(2)] == [200, 200]
    answer = api.submit(a_submission())
    assert_refused(answer, 429, "Only one active job allowed per VM")
    assert "retry-after" not in answer.headers
    api.add(a_job().numbered(3).ended())
    assert api.submit(a_submission()).status_code == 200


def test_no_limit_on_jobs_unless_one_is_set(api: Api) -> None:
    for number in range(1, 50):
        api.add(a_job().numbered(number))
    assert api.submit(a_submission()).status_code == 200
