"""`Idempotency-Key`: one key of one user makes one job in 24 hours."""

import threading

import pytest

from kns.model.errors import UnavailableError
from kns.model.job.job import JobState
from tests.api.client import Api, assert_refused
from tests.builders import a_catalog, a_job, a_submission

HOUR_S = 3600


@pytest.mark.proves("submit", "`Idempotency-Key` makes a repeated submit safe for a day")
def test_a_repeat_gets_the_first_answer_byte_for_byte(api: Api) -> None:
    first = api.submit(a_submission(), idempotency_key="k1")
    api.clock.advance(23 * HOUR_S)
    again = api.submit(a_submission(), idempotency_key="k1")
    assert (again.status_code, again.content) == (200, first.content)
    assert len(api.jobs.list_jobs()) == 1
    assert api.jobs.allot_number() == 2


def test_the_first_answer_stands_whatever_became_of_the_job_or_of_the_app(api: Api) -> None:
    first = api.submit(a_submission(), idempotency_key="k1")
    (job,) = api.jobs.list_jobs()
    api.jobs.write_status(job, a_job().ended(JobState.CANCELED).build().status)
    api.catalog.catalog = a_catalog(apps={"hello": {"repo": "x", "public": False, "data": _hello_of(api)}})
    assert api.submit(a_submission(), idempotency_key="k1").content == first.content
    assert api.submit(a_submission(app="other"), idempotency_key="k1").content == first.content


def _hello_of(api: Api) -> object:
    return api.catalog.catalog.apps["hello"].source


def test_another_key_another_user_and_no_key_are_new_jobs(api: Api) -> None:
    bodies = [
        api.submit(a_submission(), idempotency_key="k1"),
        api.submit(a_submission(), idempotency_key="k2"),
        api.submit(a_submission(user="user2"), idempotency_key="k1"),
        api.submit(a_submission()),
        api.submit(a_submission()),
    ]
    assert [answer.json()["number"] for answer in bodies] == [1, 2, 3, 4, 5]


@pytest.mark.proves("submit", "`Idempotency-Key` makes a repeated submit safe for a day")
@pytest.mark.parametrize("ended", [True, False])
def test_after_a_day_the_key_is_free_again(api: Api, ended: bool) -> None:
    """Also while the record of the first job still exists."""
    numbers = []
    for _ in range(3):
        numbers += [api.submit(a_submission(), idempotency_key="k1").json()["number"] for _ in range(2)]
        if ended:
            api.jobs.write_status(api.jobs.list_jobs()[-1], a_job().ended().build().status)
        api.clock.advance(24 * HOUR_S)
    assert numbers == [1, 1, 2, 2, 3, 3]


def test_a_refused_submit_is_not_remembered(api: Api) -> None:
    assert api.submit(a_submission(app="none"), idempotency_key="k1").status_code == 404
    assert api.submit(a_submission(), idempotency_key="k1").status_code == 200


def test_a_key_is_asked_for_after_the_credentials(api: Api) -> None:
    api.submit(a_submission(), idempotency_key="k1")
    wrong = {**a_submission(), "user": {"username": "user1", "apikey": "wrong"}}
    assert_refused(api.submit(wrong, idempotency_key="k1"), 401, "Not Authorized")


def test_a_repeat_is_answered_at_the_job_limit_too() -> None:
    api = Api(live_jobs=1)
    first = api.submit(a_submission(), idempotency_key="k1")
    assert api.submit(a_submission(), idempotency_key="k1").content == first.content
    assert_refused(api.submit(a_submission(), idempotency_key="k2"), 429, "Only one active job allowed per VM")


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"\xc3\xbc", b"a\tb"])
def test_a_key_that_is_none(api: Api, key: bytes) -> None:
    answer = api.call("POST", "/jarvice/submit", json=a_submission(), headers={b"idempotency-key": key})
    problem = "Idempotency-Key: must be 1 to 255 printable ASCII characters"
    assert_refused(answer, 400, f"Missing or Malformed API Syntax: {problem}")
    assert api.jobs.writes == []


def test_a_store_that_cannot_look_is_said_so(api: Api) -> None:
    """Otherwise kns could make a second job."""
    api.jobs.faults["find_request"] = UnavailableError("the record cache is not filled yet")
    assert_refused(api.submit(a_submission(), idempotency_key="k1"), 500, "Unable to create Job Submission")
    assert api.jobs.writes == []


def test_eight_at_once_get_one_job(api: Api) -> None:
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(api.submit(a_submission(), idempotency_key="k1").content))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 8
    assert len(set(answers)) == 1
    assert len(api.jobs.list_jobs()) == 1
