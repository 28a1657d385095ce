"""Put jobs to sleep, and wake them."""

from dataclasses import replace

import pytest

from kns.model.job.conditions import Reason
from tests.api.client import Api
from tests.builders import JobBuilder, a_job
from tests.cli.conftest import Terminal


@pytest.fixture
def volumes(api: Api) -> Api:
    api.ports = replace(api.ports, has_volume=lambda _job: True)
    return api


def _sleeps(api: Api) -> bool | None:
    job = api.jobs.find(7)
    assert job is not None
    return job.spec.sleep


def test_a_job_is_put_to_sleep_and_woken(volumes: Api, terminal: Terminal) -> None:
    volumes.add(a_job().exposed())
    for command, expected in (("sleep", True), ("wake", False)):
        result = terminal.run(command, "7")
        assert (result.exit_code, result.stdout) == (0, "")
        assert _sleeps(volumes) is expected


def test_a_job_without_a_volume_says_why_in_a_sentence(api: Api, terminal: Terminal) -> None:
    api.add(a_job().exposed())
    said = terminal.refuse(5, "sleep", "7")
    assert said.startswith("refused: job 7 cannot sleep: its virtual cluster has no volume to keep its state in")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("command", "before", "after"),
    [
        ("sleep", a_job().exposed(), a_job().resting(Reason.ASLEEP)),
        ("wake", a_job().resting(Reason.ASLEEP), a_job().resting(Reason.OK, sleep=False)),
    ],
)
def test_it_waits_until_it_is_done(
    volumes: Api, terminal: Terminal, command: str, before: JobBuilder, after: JobBuilder
) -> None:
    volumes.add(before)
    terminal.steps = [lambda: None, lambda: None, lambda: volumes.add(after)]
    assert terminal.run(command, "7", "--wait").exit_code == 0
    assert terminal.steps == []


def test_a_job_that_ends_meanwhile_is_not_waited_for(volumes: Api, terminal: Terminal) -> None:
    volumes.add(a_job().exposed())
    terminal.steps = [lambda: volumes.add(a_job().exposed().ended())]
    assert "job 7 ended COMPLETED" in terminal.run("sleep", "7", "--wait").stderr


def test_an_error_with_one_job_keeps_no_other_awake(volumes: Api, terminal: Terminal) -> None:
    volumes.add(a_job())
    volumes.add(a_job().numbered(8).exposed())
    line = terminal.refuse(5, "sleep", "7", "8")
    assert line.startswith("job 7: ")
    assert [job.spec.sleep for job in volumes.jobs.list_jobs()] == [None, True]


def test_lists_say_that_it_sleeps(api: Api, terminal: Terminal) -> None:
    api.add(a_job().resting(Reason.ASLEEP))
    assert "asleep" in terminal.run("list").stdout
