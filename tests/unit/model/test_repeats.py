"""What distinguishes requests, and how long a request is remembered."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kns.model.errors import InvalidInputError
from kns.model.job.idempotency import digest_request, find_first, request_record
from kns.model.job.job import Job
from tests.builders import a_job
from tests.fakes.stores import START

REQUEST = digest_request("user1", "key")


def test_a_digest_says_nothing_of_its_key_and_is_always_the_same() -> None:
    assert digest_request("user1", "key") == REQUEST
    assert len(REQUEST) == 40
    assert int(REQUEST, 16) > 0


@pytest.mark.parametrize(("user", "key"), [("user2", "key"), ("user1", "Key"), ("user1k", "ey"), ("user1", "key ")])
def test_another_user_or_key_is_another_request(user: str, key: str) -> None:
    assert digest_request(user, key) != REQUEST


@pytest.mark.parametrize("key", ["a", " ", "x" * 255, "~!@#$%^&*()"])
def test_a_key_may_be(key: str) -> None:
    assert digest_request("user1", key)


@pytest.mark.parametrize("key", ["", "x" * 256, "\u00fc", "a\tb", "a\n", "\x7f"])
def test_a_key_may_not_be(key: str) -> None:
    with pytest.raises(InvalidInputError, match="Idempotency-Key: must be 1 to 255 printable ASCII characters"):
        digest_request("user1", key)


@pytest.mark.parametrize(("age_h", "found"), [(0, True), (23.9, True), (24, False), (100, False)])
def test_a_job_is_remembered_for_a_day(age_h: float, found: bool) -> None:
    job = replace(a_job().build(), record=request_record(REQUEST))
    assert (find_first([job], REQUEST, now=START + timedelta(hours=age_h)) == job) is found


def test_of_several_the_oldest_that_is_remembered_counts() -> None:
    def job(number: int, generation: int, hour: int) -> Job:
        made = START + timedelta(hours=hour)
        return replace(a_job().numbered(number).build(), record=request_record(REQUEST, generation), created=made)

    jobs = [job(3, 0, 30), job(1, 1, 0), job(2, 2, 25)]
    found = find_first(jobs, REQUEST, now=START + timedelta(hours=31))
    assert found is not None
    assert found.number == 2


def test_records_of_others_are_none_of_ours() -> None:
    assert find_first([a_job().build()], REQUEST, now=START) is None
