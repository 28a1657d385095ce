"""Errors below the page's prefix are pages, those of the APIs stay JSON, and metrics have bounded labels."""

from dataclasses import replace

import pytest

from kns import metrics
from kns.http.middleware import MAX_BODY_BYTES
from kns.model.errors import RefusedError, UnavailableError
from kns.web.site import PREFIX
from tests.api.client import Api
from tests.builders import a_job
from tests.web.ui import Ui, read_page

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (f"{PREFIX}/nothing", 404, "There is no page at this address"),
        (f"{PREFIX}/jobs/0", 404, "There is no such job"),
        (f"{PREFIX}/jobs/{'9' * 30}", 404, "There is no such job"),
        (f"{PREFIX}/jobs/x%00y", 404, "There is no such job"),
        (f"{PREFIX}/apps/nothing", 404, "There is no such app"),
        (f"{PREFIX}/static/../pages.py", 404, "Not found"),
        (f"{PREFIX}/static/none", 404, "There is no such file"),
        (f"{PREFIX}/sign-out", 405, "This address is for a form"),
    ],
)
def test_an_error_is_a_page_with_words(ui: Ui, path: str, status: int, text: str) -> None:
    answer = ui.browser("user1").get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert text in answer.text


def test_a_body_that_is_refused_before_any_route_is_a_page(ui: Ui) -> None:
    answer = ui.browser("user1").post(f"{PREFIX}/apps/hello", content=b"x" * (MAX_BODY_BYTES + 1), headers=FORM)
    assert answer.status_code == 413
    assert "larger than kns accepts" in answer.text


@pytest.mark.parametrize(
    ("form", "call"),
    [("stop", "request_stop"), ("extend", "extend_walltime"), ("sleep", "set_sleep"), ("wake", "set_sleep")],
)
def test_what_the_cluster_refuses_is_no_mistake_of_kns(form: str, call: str) -> None:
    api = Api()
    api.ports = replace(api.ports, has_volume=lambda _job: True)
    ui = Ui(api)
    ui.api.add(a_job().with_accepted(walltime_s=3600).exposed())
    ui.api.jobs.faults[call] = RefusedError("422: <b>denied</b> by policy kns-x")
    browser = ui.browser("user1")
    page = browser.get(f"{PREFIX}/jobs/7/stop")
    fill = {"form_token": read_page(page).forms[-1].fields["form_token"], "by": "01:00:00", "from": "3600"}
    answer = browser.post(f"{PREFIX}/jobs/7/{form}", data=fill)
    assert answer.status_code == 409
    assert "Nothing has changed" in answer.text
    assert "&lt;b&gt;denied&lt;/b&gt; by policy kns-x" in answer.text


def test_an_unexpected_fault_is_a_page_without_its_cause(ui: Ui) -> None:
    ui.api.jobs.faults["find"] = RuntimeError("s3cr3t")
    answer = ui.browser("user1").get(f"{PREFIX}/jobs/7")
    assert answer.status_code == 500
    assert "kns made a mistake" in answer.text
    assert "s3cr3t" not in answer.text


def test_a_host_that_is_down_leaves_the_rest_of_a_jobs_page(ui: Ui) -> None:
    ui.api.add(a_job().labelled("still here").exposed(), output="x\n")
    from kns.ports import Kind

    ui.api.namespaces.faults = dict.fromkeys(Kind, UnavailableError("no answer"))
    answer = ui.browser("user1").get(f"{PREFIX}/jobs/7")
    assert answer.status_code == 200
    assert "still here" in answer.text
    assert "parts of this page are missing" in answer.text


@pytest.mark.parametrize("path", ["/jarvice/nothing", "/uix", "/nothing", "/"])
def test_errors_elsewhere_stay_json(ui: Ui, path: str) -> None:
    answer = ui.browser().get(path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"error": "Not found"}


def test_a_metric_names_the_route_and_never_the_job(ui: Ui, monkeypatch: pytest.MonkeyPatch) -> None:
    ui.api.add(a_job())
    browser, seen = ui.browser("user1"), list[str]()
    monkeypatch.setattr(metrics, "observe_request", lambda **given: seen.append(given["route"]))
    for path in ("/jobs/7", "/jobs/8", "", "/", "/nothing/7"):
        browser.get(f"{PREFIX}{path}")
    assert seen == ["/ui/jobs/{number}", "/ui/jobs/{number}", "/ui/", "/ui/", "unknown"]


def test_the_page_can_be_switched_off() -> None:
    """Without its front end, nothing answers below the prefix, and the APIs work."""
    from tests.api.client import Api

    api = Api()
    assert api.call("GET", f"{PREFIX}/jobs").status_code == 404
    assert api.get("jobs").status_code == 200
