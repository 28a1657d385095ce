"""What strangers write is shown as text: users name jobs, authors name apps, apps print what they like."""

from html.parser import HTMLParser

import pytest

from kns.web.catalog import MAX_ICON_BYTES
from kns.web.site import PREFIX
from kns.web.text import MOST_SHOWN
from tests.builders import a_catalog, a_command, a_job, an_app, an_appdef
from tests.web.states import STATES
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


def test_connect_leads_to_any_address_that_an_author_writes(ui: Ui) -> None:
    """A header has neither line breaks nor characters beyond Latin-1."""
    ui.api.add(a_job().exposed().with_accepted(url="/lab?title=データ%20é&x=[1]\r\nSet-Cookie: a=b"))
    answer = ui.browser("user1").get(f"{PREFIX}/jobs/7/open")
    assert answer.status_code == 303
    assert answer.headers["location"] == (
        "https://kns-job-7.jobs.example.org/lab?title=%E3%83%87%E3%83%BC%E3%82%BF%20%C3%A9&x=[1]%0D%0ASet-Cookie:%20a=b"
    )


def test_an_icon_that_may_contain_script_is_not_shown() -> None:
    ui = Ui()
    image = {"type": "image/svg+xml", "data": "PHN2Zy8+"}
    ui.api.catalog.catalog = a_catalog(apps={"evil": an_app(an_appdef(image=image))})
    assert ui.browser("user1").get(f"{PREFIX}/apps/evil/icon").status_code == 404


@pytest.mark.parametrize(("size", "status"), [(MAX_ICON_BYTES, 200), (MAX_ICON_BYTES + 4, 404)])
def test_a_large_icon_is_not_shown(size: int, status: int) -> None:
    ui = Ui()
    image = {"type": "image/png", "data": "A" * size}
    ui.api.catalog.catalog = a_catalog(apps={"large": an_app(an_appdef(image=image))})
    browser, icon = ui.browser("user1"), f"{PREFIX}/apps/large/icon"
    assert browser.get(icon).status_code == status
    assert (icon in browser.get(f"{PREFIX}/apps").text) is (status == 200)


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


ESCAPES = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07done\x00 \x1b]never ends"


@pytest.mark.proves(
    "security",
    "mislead by names that turn the direction of text or are invisible, or by escape sequences of a terminal",
)
def test_output_is_shown_without_what_only_a_terminal_understands() -> None:
    """And nothing of it can hide the rest. The whole output, as text, is as it was."""
    ui = Ui()
    ui.api.add(a_job().started(), output=f"{ESCAPES}\nlast line\n")
    browser = ui.browser("user1")
    text = browser.get(f"{PREFIX}/jobs/7").text
    assert "red done\ufffd never ends\nlast line" in text
    assert "\x1b" not in text
    assert browser.get(f"{PREFIX}/jobs/7/output").text == f"{ESCAPES}\nlast line\n"


@pytest.mark.proves("security", "make each page of a job megabytes large with one endless line")
def test_a_page_has_a_bounded_part_of_the_output() -> None:
    """A line may have two mebibytes, and a page is sent again whenever the output grows."""
    ui = Ui()
    ui.api.add(a_job().started(), output='"' * 2_000_000 + "the end\n")
    text = ui.browser("user1").get(f"{PREFIX}/jobs/7").text
    assert len(text) < 6 * MOST_SHOWN
    assert "the end" in text
    assert "earlier output is not shown" in text


INVISIBLE = "\u200b \u202e"


@pytest.mark.proves(
    "security",
    "mislead by names that turn the direction of text or are invisible, or by escape sequences of a terminal",
)
def test_a_name_without_anything_to_see_does_not_hide_its_link() -> None:
    ui = Ui()
    ui.api.add(a_job().labelled(INVISIBLE).exposed())
    app = an_app(
        an_appdef(
            name=INVISIBLE, commands={"Run": a_command(name=" ", parameters={"x": {"type": "STR", "name": "\u2060"}})}
        )
    )
    ui.api.catalog.catalog = a_catalog(apps={"blank": app})
    browser = ui.browser("user1")
    assert f'<a href="{PREFIX}/jobs/7"><bdi>hello</bdi></a>' in browser.get(f"{PREFIX}/jobs").text
    assert f'<a href="{PREFIX}/apps/blank"><bdi>blank</bdi></a>' in browser.get(f"{PREFIX}/apps").text
    form = browser.get(f"{PREFIX}/apps/blank").text
    assert "<h1>blank</h1>" in form
    assert "<legend>Run</legend>" in form
    assert '<label for="f-1">x</label>' in form


@pytest.mark.proves(
    "security",
    "mislead by names that turn the direction of text or are invisible, or by escape sequences of a terminal",
)
def test_a_name_that_turns_the_direction_of_text_turns_only_itself() -> None:
    """Otherwise a label could make the page that asks about a stop read as something else."""
    ui = Ui()
    ui.api.add(a_job().labelled("\u202eevil").exposed())
    browser = ui.browser("admin1")
    for page in ("/jobs/7", "/jobs/7/stop", "/admin"):
        text = browser.get(f"{PREFIX}{page}").text.partition("<main")[2]
        assert text.count("\u202e") == text.count("<bdi>\u202eevil</bdi>") > 0


@pytest.mark.proves("security", "burden kns with searches")
def test_a_search_compares_a_bounded_number_of_words() -> None:
    ui = Ui()
    text = ui.browser("user1").get(f"{PREFIX}/apps", params={"q": "e " * 10_000}).text
    assert len(text) < 10_000
    assert 'maxlength="200"' in text


class _Live(HTMLParser):
    """What can have the focus in the parts of a page that are replaced, and whether the script finds it again."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[str] = []
        self._open: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_foreign = any("foreign" in (each.get("class") or "") for each in self._open)
        if any("data-live" in each for each in self._open) and not is_foreign:
            takes_focus = tag in {"a", "button", "select", "textarea", "summary", "details"} or "tabindex" in given
            takes_focus |= tag == "input" and given.get("type") != "hidden"
            owner = self._open[-1] if tag == "summary" else given
            if takes_focus and not owner.get("id") and not given.get("href"):
                self.lost.append(f"{tag} {given}")
        if tag not in {"input", "meta", "link", "br"}:
            self._open.append(given)

    def handle_endtag(self, _tag: str) -> None:
        self._open.pop()


@pytest.mark.parametrize("name", [name for name, state in STATES.items() if not state.press])
def test_what_can_have_the_focus_is_found_again_after_a_renewal(name: str) -> None:
    ui, state = Ui(), STATES[name]
    state.prepare(ui)
    live = _Live()
    live.feed(ui.browser(state.user).get(state.path).text)
    assert live.lost == []
