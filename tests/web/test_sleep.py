"""Putting a job to sleep and waking it, from its page."""

from dataclasses import replace

import pytest

from kns.model.job.conditions import Reason
from kns.web.site import PREFIX
from tests.api.client import Api
from tests.builders import JobBuilder, a_job
from tests.web.ui import Ui

PAGE = f"{PREFIX}/jobs/7"


@pytest.fixture
def ui() -> Ui:
    """Jobs of this site have volumes."""
    api = Api()
    api.ports = replace(api.ports, has_volume=lambda _job: True)
    return Ui(api)


def test_the_button_puts_to_sleep_and_then_wakes(ui: Ui) -> None:
    ui.api.add(a_job().exposed())
    browser = ui.browser("user1")
    for route, asleep in (("sleep", True), ("wake", False)):
        answer = browser.send(browser.get(PAGE), f"{PAGE}/{route}")
        assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
        job = ui.api.jobs.find(7)
        assert job is not None
        assert job.spec.sleep is asleep


@pytest.mark.parametrize(
    ("reason", "word"),
    [(Reason.FALLING_ASLEEP, "Falling asleep"), (Reason.ASLEEP, "Asleep"), (Reason.WAKING, "Waking up")],
)
def test_the_page_says_what_it_does(ui: Ui, reason: Reason, word: str) -> None:
    ui.api.add(a_job().resting(reason))
    text = ui.browser("user1").get(PAGE).text
    assert f">{word}</span>" in text
    assert "Job 7 is " in text


@pytest.mark.parametrize(
    "builder", [a_job(), a_job().started(), a_job().exposed().stopping(), a_job().exposed().ended()]
)
def test_other_jobs_have_no_button(ui: Ui, builder: JobBuilder) -> None:
    ui.api.add(builder)
    text = ui.browser("user1").get(PAGE).text
    assert f"{PAGE}/sleep" not in text
    assert f"{PAGE}/wake" not in text


def test_a_job_without_a_volume_has_no_button_and_is_refused() -> None:
    ui = Ui()
    ui.api.add(a_job().exposed())
    browser = ui.browser("user1")
    page = browser.get(PAGE)
    assert f"{PAGE}/sleep" not in page.text
    assert browser.send(browser.get(f"{PAGE}/stop"), f"{PAGE}/stop").status_code == 303
