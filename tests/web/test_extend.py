"""Letting a job run longer, from its page."""

import pytest

from kns.web.site import PREFIX
from tests.builders import JobBuilder, a_job
from tests.web.ui import Browser, Ui, read_page

PAGE = f"{PREFIX}/jobs/7/extend"


def with_walltime() -> JobBuilder:
    return a_job().with_accepted(walltime_s=3600).exposed()


def walltime(ui: Ui) -> int | None:
    job = ui.api.jobs.find(7)
    assert job is not None
    return job.walltime_s


def send(browser: Browser, by: str) -> tuple[int, str]:
    answer = browser.send(browser.get(PAGE), PAGE, fill={"by": by})
    return answer.status_code, answer.text


def test_a_job_is_extended_and_a_form_that_is_sent_twice_extends_once(ui: Ui) -> None:
    ui.api.add(with_walltime())
    browser = ui.browser("user1")
    assert PAGE in read_page(browser.get(f"{PREFIX}/jobs/7")).links
    form = browser.get(PAGE)
    for _ in range(2):
        answer = browser.send(form, PAGE, fill={"by": "00:30:00"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"{PREFIX}/jobs/7")
        assert walltime(ui) == 5400
    assert send(browser, "00:30:00")[0] == 303
    assert walltime(ui) == 7200


@pytest.mark.parametrize(
    ("by", "words"), [("1h", "is not HH:MM:SS"), ("", "is not HH:MM:SS"), ("99999:59:59", "99999")]
)
def test_what_is_wrong_is_beside_the_field(ui: Ui, by: str, words: str) -> None:
    ui.api.add(with_walltime())
    status, text = send(ui.browser("user1"), by)
    assert status == 400
    assert words in text
    assert f'value="{by}"' in text
    assert 'aria-invalid="true"' in text
    assert walltime(ui) == 3600


@pytest.mark.parametrize("known", ["x", "-3600", "9" * 30, ""])
def test_a_forged_walltime_never_shortens_a_job(ui: Ui, known: str) -> None:
    ui.api.add(with_walltime())
    browser = ui.browser("user1")
    answer = browser.send(browser.get(PAGE), PAGE, fill={"by": "00:00:01", "from": known})
    assert answer.status_code == 400
    assert walltime(ui) == 3600


STATES = [
    (a_job().exposed(), "has no walltime, so it needs no extension"),
    (with_walltime().stopping(), "has ended or is ending"),
    (with_walltime().ended(), "has ended or is ending"),
]


@pytest.mark.parametrize(("job", "words"), STATES, ids=["no walltime", "ending", "ended"])
def test_a_job_that_cannot_run_longer_says_so(ui: Ui, job: JobBuilder, words: str) -> None:
    ui.api.add(job)
    browser = ui.browser("user1")
    assert PAGE not in read_page(browser.get(f"{PREFIX}/jobs/7")).links
    page = browser.get(PAGE)
    assert words in page.text
    assert [form.action for form in read_page(page).forms] == [f"{PREFIX}/sign-out"]


def test_a_job_that_ends_meanwhile_says_so(ui: Ui) -> None:
    ui.api.add(with_walltime())
    browser = ui.browser("user1")
    form = browser.get(PAGE)
    ui.api.add(with_walltime().ended())
    answer = browser.send(form, PAGE, fill={"by": "01:00:00"})
    assert answer.status_code == 409
    assert "has ended" in answer.text


def test_another_site_cannot_extend(ui: Ui) -> None:
    ui.api.add(with_walltime())
    browser = ui.browser("user1")
    form = browser.get(PAGE)
    crossed = browser.send(form, PAGE, fill={"by": "01:00:00"}, headers={"Sec-Fetch-Site": "same-site"})
    assert crossed.status_code == 403
    assert browser.send(form, PAGE, fill={"by": "01:00:00", "form_token": "x"}).status_code == 403
    assert walltime(ui) == 3600
