"""Who sees what: each page as each kind of user, compared with what the API gives the same user."""

import re

import pytest

from kns.model.errors import UnavailableError
from kns.ports import Kind, PoolState
from kns.web.site import PREFIX
from tests.api.client import Api
from tests.builders import a_job
from tests.fakes.pool import FakePool
from tests.fakes.stores import START
from tests.web.states import APPS
from tests.web.ui import Ui, read_page

# user1 owns job 7 and is in the team of payer1, lead1 its admin; user2 is in it too, user3 is not.
USERS = (None, "user1", "user2", "user3", "payer1", "lead1", "idle1", "admin1")
MAY_SEE = {"user1", "payer1", "lead1", "admin1"}
JOB_PAGES = ("", "/open", "/output", "/stop", "/extend")
OWN_PAGES = ("/jobs", "/jobs?show=ended", "/jobs?of=team", "/apps", "/machines")


@pytest.fixture(scope="module")
def ui() -> Ui:
    ui = Ui()
    ui.api.add(a_job().exposed(), output="the output of job 7\n")
    ui.api.add(a_job().numbered(8).owned_by("user3", payer="user3").exposed(), output="x\n")
    return ui


@pytest.mark.proves("page", "A page shows a job to the users to whom the API shows it, and to nobody else")
@pytest.mark.parametrize("page", JOB_PAGES)
@pytest.mark.parametrize("user", USERS)
def test_a_page_of_a_job_is_for_those_whom_the_api_shows_it(ui: Ui, user: str | None, page: str) -> None:
    answer = ui.browser(user).get(f"{PREFIX}/jobs/7{page}")
    by_api = ui.api.get("status", as_user=user, number=7).status_code
    if user is None:
        assert answer.headers["location"].startswith(f"{PREFIX}/sign-in?to=")
    elif user in MAY_SEE:
        assert by_api == 200
        assert answer.status_code in (200, 303)
    else:
        assert by_api == 404
        assert answer.status_code == 404
        assert "the output of job 7" not in answer.text
        assert answer.text == ui.browser(user).get(f"{PREFIX}/jobs/999{page}").text, "as for a job that does not exist"


@pytest.mark.parametrize("user", USERS)
def test_only_those_who_see_a_job_can_stop_it_or_follow_it(user: str | None) -> None:
    ui = Ui()
    ui.api.add(a_job().exposed())
    browser = ui.browser(user)
    token = re.search(r'name="form_token" value="([^"]+)"', browser.get(f"{PREFIX}/jobs").text)
    stopped = browser.post(f"{PREFIX}/jobs/7/stop", data={"form_token": token[1] if token else ""})
    job = ui.api.jobs.find(7)
    assert job is not None
    assert (job.stop_reason is not None) is (user in MAY_SEE)
    assert stopped.status_code == (303 if user in MAY_SEE or user is None else 404)


@pytest.mark.parametrize("user", USERS)
def test_events_are_for_administrators_as_in_the_api(ui: Ui, user: str | None) -> None:
    answer = ui.browser(user).get(f"{PREFIX}/jobs/7/events")
    assert answer.status_code == {None: 303, "admin1": 200}.get(user, 403 if user in MAY_SEE else 404)


@pytest.mark.parametrize("page", ["/admin", "/admin/live?x=1"])
@pytest.mark.parametrize("user", [each for each in USERS if each != "admin1"])
def test_the_administrators_view_is_for_system_admins(ui: Ui, user: str | None, page: str) -> None:
    """Leading a team is not enough."""
    assert ui.browser(user).get(f"{PREFIX}{page}").status_code == (303 if user is None else 403)


def test_an_administrator_sees_who_uses_what(ui: Ui) -> None:
    text = ui.browser("admin1").get(f"{PREFIX}/admin").text
    assert "Share of user1" in text
    assert "Share of user3" in text
    assert f'href="{PREFIX}/jobs/7"' in text


def test_an_administrator_sees_the_pools_if_there_are_any(ui: Ui) -> None:
    states = [PoolState("any", 2, ready=1, making=1, oldest=START), PoolState("kns-large", 1)]
    text = Ui(Api(pool=FakePool(states=states))).browser("admin1").get(f"{PREFIX}/admin").text
    rows = [re.findall("<t[hd].*?>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", text, re.DOTALL)]
    assert ["any", "2", "1", "1", "0", "0 s"] in rows
    assert ["kns-large", "1", "0", "0", "0", "-"] in rows
    assert "Warm pool" not in ui.browser("admin1").get(f"{PREFIX}/admin").text


def test_an_administrator_sees_the_queue_the_limits_and_the_orphans() -> None:
    ui = Ui(Api(live_jobs=2))
    for number in (1, 2):
        ui.api.add(a_job().numbered(number))
    event = {"type": "Warning", "reason": "OrphanFound", "message": "<b>kns-job-3</b> is an orphan", "count": 4}
    ui.api.namespaces.objects[Kind.EVENT, "kns-system"] = [{**event, "lastTimestamp": "2026-01-05T14:10:00Z"}]
    text = " ".join(ui.browser("admin1").get(f"{PREFIX}/admin").text.split())
    assert "2 jobs start, 0 run. A user may have 2 live jobs." in text
    assert "2 of 2 <strong>(used up)</strong>" in text
    assert "<strong>OrphanFound</strong>: &lt;b&gt;kns-job-3&lt;/b&gt; is an orphan</td><td>4</td>" in text
    ui.api.namespaces.faults[Kind.EVENT] = UnavailableError("no answer")
    page = ui.browser("admin1").get(f"{PREFIX}/admin")
    assert page.status_code == 200
    assert "cannot read its own events" in page.text


def test_a_user_sees_how_many_jobs_are_left() -> None:
    ui = Ui(Api(live_jobs=1))
    browser = ui.browser("user1")
    assert "You have 0 of at most 1 live jobs." in browser.get(f"{PREFIX}/machines").text
    ui.api.add(a_job())
    assert "Stop one</a> before you submit another" in browser.get(f"{PREFIX}/machines").text


@pytest.mark.parametrize("user", USERS[1:])
def test_the_list_has_the_jobs_that_the_api_lists(ui: Ui, user: str) -> None:
    for query, route in (("", "jobs"), ("?of=team", "teamjobs")):
        ids = read_page(ui.browser(user).get(f"{PREFIX}/jobs{query}")).ids
        shown = {each.removeprefix("job-") for each in ids if re.fullmatch(r"job-[0-9]+", each)}
        assert shown == set(ui.api.get(route, as_user=user).json())


@pytest.mark.parametrize("page", OWN_PAGES)
def test_without_a_session_every_page_leads_to_the_sign_in_and_back(ui: Ui, page: str) -> None:
    browser = ui.browser()
    answer = browser.get(f"{PREFIX}{page}")
    assert answer.status_code == 303
    sign_in = browser.follow(answer)
    entered = browser.send(sign_in, f"{PREFIX}/sign-in/key", fill={"username": "user1", "apikey": "key-user1"})
    assert entered.headers["location"] == f"{PREFIX}{page}"


def test_a_private_app_is_for_its_owner(ui: Ui) -> None:
    """`secret` belongs to user1."""
    for user, status in (("user1", 200), ("admin1", 200), ("user2", 404)):
        browser = ui.browser(user)
        assert browser.get(f"{PREFIX}/apps/secret").status_code == status
        assert (f"{PREFIX}/apps/secret" in read_page(browser.get(f"{PREFIX}/apps")).links) is (status == 200)


def test_an_icon_needs_a_session_and_is_of_a_harmless_type() -> None:
    from tests.builders import a_catalog

    ui = Ui()
    ui.api.catalog.catalog = a_catalog(apps=APPS)
    assert ui.browser().get(f"{PREFIX}/apps/forms/icon").status_code == 303
    icon = ui.browser("user1").get(f"{PREFIX}/apps/forms/icon")
    assert icon.headers["content-type"] == "image/png"
    assert icon.content.startswith(b"\x89PNG")
    assert ui.browser("user1").get(f"{PREFIX}/apps/hello/icon").status_code == 404, "it has none"
