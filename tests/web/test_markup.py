"""What strangers write is shown as text: users name jobs, authors name apps, apps print what they like."""

import pytest

from kns.web.site import PREFIX
from tests.builders import a_catalog, a_command, a_job, an_app, an_appdef
from tests.web.ui import Ui, read_page

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onmouseover='alert(1)"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
PAGES = (
    "/jobs",
    "/jobs/7",
    "/jobs/7/stop",
    "/apps",
    "/apps/evil",
    "/apps/evil?again=7",
    "/jobs?q=<script>x</script>",
    "/admin",
)


@pytest.fixture
def ui() -> Ui:
    ui = Ui()
    parameters = {
        "x": {"type": "STR", "name": SCRIPT, "description": SCRIPT, "value": SCRIPT},
        "s": {"type": "selection", "values": [SCRIPT, "b"]},
        "b": {"type": "BOOL", "name": SCRIPT},
        "i": {"type": "STR", "if": "b"},
    }
    command = a_command(name=SCRIPT, description=SCRIPT, parameters=parameters)
    appdef = an_appdef(name=SCRIPT, description=SCRIPT, author=SCRIPT, commands={"Run": command})
    users = {"admin1": {"admin": True, "name": SCRIPT}}
    ui.api.catalog.catalog = a_catalog(apps={"evil": an_app(appdef)}, users=users)
    job = a_job().with_spec(app="evil", label=SCRIPT, parameters={"x": SCRIPT, "s": SCRIPT})
    job = job.with_accepted(command="Run", url=f"javascript:{SCRIPT}").exposed(url="https://job.example.org/")
    ui.api.add(job.with_status(message=SCRIPT), output=SCRIPT + "\n")
    return ui


@pytest.mark.proves("security", "run script in the page: names, labels, output, help pages, icons, addresses of apps")
@pytest.mark.parametrize("page", PAGES)
def test_markup_of_strangers_is_text(ui: Ui, page: str) -> None:
    text = ui.browser("admin1").get(f"{PREFIX}{page}").text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert '" onmouseover' not in text
    assert ESCAPED in text or "&lt;script&gt;x" in text


def test_an_address_that_runs_script_is_no_link(ui: Ui) -> None:
    browser = ui.browser("admin1")
    links = read_page(browser.get(f"{PREFIX}/jobs/7")).links
    assert [link for link in links if link.lower().startswith("javascript")] == []
    assert browser.get(f"{PREFIX}/jobs/7/open").headers["location"] == f"{PREFIX}/jobs/7"


def test_an_icon_that_may_contain_script_is_not_shown() -> None:
    ui = Ui()
    image = {"type": "image/svg+xml", "data": "PHN2Zy8+"}
    ui.api.catalog.catalog = a_catalog(apps={"evil": an_app(an_appdef(image=image))})
    assert ui.browser("user1").get(f"{PREFIX}/apps/evil/icon").status_code == 404


def test_a_help_page_is_shown_without_what_could_act(ui: Ui) -> None:
    from dataclasses import replace

    stored = ui.api.outputs.outputs["kns-job-7"]
    ui.api.outputs.outputs["kns-job-7"] = replace(
        stored, help=f"<h1>Help</h1>{SCRIPT}<form action=/ui/x><button>go</button></form>"
    )
    text = ui.browser("admin1").get(f"{PREFIX}/jobs/7").text
    assert "<h1>Help</h1>" in text
    assert "<script>alert" not in text
    assert 'action="/ui/x"' not in text
