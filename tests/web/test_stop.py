"""Stopping a job, from its page."""

import re

from kns.model.job.job import StopReason
from kns.web.site import PREFIX
from tests.builders import a_job
from tests.web.ui import Ui

PAGE = f"{PREFIX}/jobs/7/stop"


def press(ui: Ui, button: str, *, is_ready_meanwhile: bool = False) -> StopReason | None:
    """Press a button of the page, and return why the job stops. With `is_ready_meanwhile` it is ready before."""
    browser = ui.browser("user1")
    page = browser.get(PAGE)
    buttons = dict(re.findall(r'name="how" value="(\w+)"[^>]*>([^<]+)</button>', page.text))
    (how,) = [value for value, text in buttons.items() if text.startswith(button)]
    if is_ready_meanwhile:
        ui.api.add(a_job().exposed())
    assert browser.send(page, PAGE, fill={"how": how}).status_code == 303
    job = ui.api.jobs.find(7)
    assert job is not None
    return job.stop_reason


def test_a_running_job_is_given_time_or_none(ui: Ui) -> None:
    ui.api.add(a_job().exposed())
    assert press(ui, "Stop") is StopReason.SHUTDOWN
    assert press(ui, "End it at once") is StopReason.TERMINATE


def test_a_job_that_starts_is_ended_at_once(ui: Ui) -> None:
    ui.api.add(a_job().spawning())
    assert press(ui, "Stop") is StopReason.TERMINATE


def test_a_job_that_became_ready_meanwhile_is_given_time(ui: Ui) -> None:
    """Its page said “Stop”, and not that the app would get no time."""
    ui.api.add(a_job().spawning())
    assert press(ui, "Stop", is_ready_meanwhile=True) is StopReason.SHUTDOWN
