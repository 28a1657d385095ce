"""
The page in a real browser: no violation of axe-core's rules in any state, everything by keyboard, and what the script
adds.

Needs Debian's Chromium (`make browser`) and axe-core, whose file is in `KNS_AXE`.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from kns.model.job.conditions import ConditionType
from kns.model.job.job import JobState, StopReason
from tests.builders import a_catalog, a_command, a_job, a_submission, an_app, an_appdef
from tests.chromium import FLAGS, find_chromium
from tests.patience import PATIENCE_S
from tests.web.serving import serving
from tests.web.states import PICTURED, STATES, State
from tests.web.ui import Ui

TIMEOUT_MS = 90_000
_LOOK_MS = 50
REQUIRED = "KNS_WEB_TESTS_REQUIRED"
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = find_chromium(required_by=REQUIRED)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS), headless=True)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe() -> str:
    path = os.environ.get("KNS_AXE")
    if not path:
        reason = "NOT TESTED for accessibility: set KNS_AXE to axe.min.js of axe-core; `make browser` fetches it"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def served(ui: Ui) -> Iterator[str]:
    with serving(ui) as address:
        yield address


def open_page(
    chromium: Browser, address: str, ui: Ui, state: State, *, mistakes: list[str] | None = None, **options: Any
) -> Page:
    """The page of that state, in a browser of its own. What the browser complains about is added to `mistakes`."""
    state.prepare(ui)
    context = chromium.new_context(base_url=address, reduced_motion="reduce", **options)
    if state.user is not None:
        signed_in = ui.browser(state.user).cookies
        context.add_cookies([{"name": name, "value": value, "url": address} for name, value in signed_in.items()])
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    if mistakes is not None:
        page.on("console", lambda message: mistakes.append(message.text) if message.type == "error" else None)
    answer = page.goto(state.path)
    assert answer is not None
    assert answer.status == state.status
    if state.press:
        press(page, ui, state)
    return page


def press(page: Page, ui: Ui, state: State) -> None:
    for label, text in state.fill.items():
        page.get_by_label(label).first.fill(text)
    page.evaluate("for (const form of document.forms) form.noValidate = true")
    state.meanwhile(ui)
    with page.expect_navigation():
        page.get_by_role("button", name=state.press, exact=True).click()


def check_axe(page: Page, axe: str) -> None:
    page.evaluate(axe)
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    found = [
        f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in result["violations"]
    ]
    assert found == []


def check_reflow(page: Page) -> None:
    """WCAG 1.4.10: at 320 px, which is 400 % of 1280, nothing but tables and output scrolls sideways."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0


@pytest.mark.proves("page", "axe-core finds no violation on any page in any state, in the light and the dark scheme")
@pytest.mark.parametrize("name", STATES)
def test_a_page_is_accessible(name: str, chromium: Browser, axe: str, ui: Ui, served: str) -> None:
    state, mistakes = STATES[name], list[str]()
    desktop = {"width": 1280, "height": 900}
    page = open_page(chromium, served, ui, state, mistakes=mistakes, color_scheme="light", viewport=desktop)
    assert state.heading in page.locator("h1").first.inner_text()
    check_axe(page, axe)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 320, "height": 640})
    check_axe(page, axe)
    check_reflow(page)
    page.context.close()
    assert [each for each in mistakes if "the server responded with a status" not in each] == []


FOCUSED = """() => {
  const at = document.activeElement;
  return ((at.labels && at.labels[0]) || at).innerText.trim();
}"""
MOST_TABS = 60


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is on the control or link of that name. It must be visible there."""
    seen = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
        if seen[-1].split("\n")[0] == name:
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none", f"nothing shows that the focus is on {name!r}"
            return
    raise AssertionError(f"{name!r} cannot be reached by Tab: {seen}")


def go_on(page: Page) -> None:
    """Press Enter, and wait for the next page."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


@pytest.mark.proves("page", "From the sign-in to a stopped job by keyboard alone, and the page says what happens")
def test_everything_works_by_keyboard(chromium: Browser, ui: Ui, served: str) -> None:
    page = open_page(chromium, served, ui, State("/ui/sign-in?to=/ui/apps", "Sign in", None, STATES["app"].prepare))
    tab_to(page, "User name")
    page.keyboard.type("user1")
    tab_to(page, "API key")
    page.keyboard.type("key-user1")
    go_on(page)
    tab_to(page, "Search by name, description or kind")
    page.keyboard.type("field of every")
    go_on(page)
    tab_to(page, "Forms")
    go_on(page)
    tab_to(page, "Title (required)")
    page.keyboard.type("By keyboard")
    tab_to(page, "Debug")
    expect(page.get_by_label("Debug level")).to_be_hidden()
    page.keyboard.press("Space")
    expect(page.get_by_label("Debug level")).to_be_visible()
    tab_to(page, "Submit")
    go_on(page)
    (job,) = ui.api.jobs.list_jobs()
    assert job.spec.parameters["title"] == "By keyboard"
    assert job.spec.parameters["debug"] is True
    tab_to(page, "Stop")
    go_on(page)
    tab_to(page, "Stop")
    go_on(page)
    expect(page.locator("#state")).to_have_text("Ending")
    stopping = ui.api.jobs.find(job.number or 0)
    assert stopping is not None
    assert stopping.stop_reason is StopReason.TERMINATE
    status = a_job().ended(JobState.CANCELED).status
    ui.api.jobs.write_status(stopping, status)
    expect(page.locator("#state")).to_have_text("Canceled")
    expect(page.locator("#announce")).to_contain_text("Canceled")
    page.context.close()


def test_a_page_renews_itself_and_leaves_the_reader_alone(chromium: Browser, ui: Ui, served: str) -> None:
    """The focus, and what the reader has opened, stay where they are."""
    page = open_page(chromium, served, ui, STATES["job-waits"])
    page.locator("#warnings summary").focus()
    page.keyboard.press("Enter")
    ui.api.add(a_job().started(), output="first line\n")
    expect(page.locator("#lines pre")).to_contain_text("first line")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert page.evaluate("document.getElementById('warnings').open") is True
    ui.api.add(a_job().started(), output="first line\nsecond line\n")
    expect(page.locator("#lines pre")).to_contain_text("second line")
    ui.api.add(a_job().exposed())
    expect(page.locator("#state")).to_have_text("Ready")
    expect(page.locator("#announce")).to_contain_text("Job 7: Ready")
    page.context.close()


@pytest.mark.parametrize("where", ["#steps-table", "#sleep", "#help summary", ".foreign summary", "#kubectl-commands"])
def test_the_focus_stays_where_it_is_at_a_renewal(where: str, chromium: Browser, ui: Ui, served: str) -> None:
    """On a table, a button, and in the help of an app, which has no ids. What is open there stays open."""

    def help_page(ui: Ui) -> None:
        STATES["job-can-sleep"].prepare(ui)
        stored = ui.api.outputs.outputs["kns-job-7"]
        page = "<details><summary>first</summary>1</details><details><summary>second</summary>2</details>"
        ui.api.outputs.outputs["kns-job-7"] = replace(stored, help=page)

    page = open_page(chromium, served, ui, replace(STATES["job-can-sleep"], prepare=help_page))
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    count = page.locator("details[open]").count()
    page.locator(where).last.focus()
    name = page.evaluate(FOCUSED)
    renew(page, ui)
    assert page.evaluate(FOCUSED) == name
    assert page.evaluate("document.activeElement.id") != "main"
    assert page.locator("details[open]").count() == count > 4
    page.context.close()


def test_a_table_stays_scrolled_at_a_renewal(chromium: Browser, ui: Ui, served: str) -> None:
    page = open_page(chromium, served, ui, STATES["job-serves"])
    page.evaluate("document.styleSheets[0].insertRule('.steps { min-width: 200vw }')")
    page.evaluate("document.getElementById('steps-table').scrollLeft = 60")
    assert page.evaluate("document.getElementById('steps-table').scrollLeft") == 60
    renew(page, ui)
    assert page.evaluate("document.getElementById('steps-table').scrollLeft") == 60
    page.context.close()


def renew(page: Page, ui: Ui) -> None:
    """Everything live in the page is replaced: its parts have a mark that the fresh ones lack."""
    page.evaluate("for (const each of document.querySelectorAll('[data-live]')) each.append('old')")
    await_stream(page)
    job = ui.api.jobs.find(7)
    assert job is not None
    ui.live.wake(job.record)
    expect(page.locator("#use")).not_to_contain_text("old")


def test_a_session_that_ends_is_said_in_words(chromium: Browser, ui: Ui, served: str) -> None:
    page = open_page(chromium, served, ui, STATES["job-waits"])
    ui.keys.keys = ("another key of this installation",)
    ui.api.add(a_job().started())
    expect(page.locator("#connection")).to_contain_text("Your session has ended")
    expect(page.get_by_role("link", name="Sign in again")).to_be_visible()
    page.context.close()


def test_a_server_that_is_gone_is_said_in_words_until_it_is_back(chromium: Browser, ui: Ui) -> None:
    with serving(ui) as address:
        page = open_page(chromium, address, ui, STATES["job-waits"])
        page.route("**/ui/jobs/7", lambda route: route.abort())
        ui.api.add(a_job().started())
        expect(page.locator("#connection")).to_contain_text("kns does not answer")
        page.unroute("**/ui/jobs/7")
        expect(page.locator("#connection")).to_be_hidden(timeout=TIMEOUT_MS)
        expect(page.locator("#lines")).to_contain_text("There is no output yet")
        page.context.close()


def await_stream(page: Page) -> None:
    """Not with `wait_for_function`: if it looks again, the page's own policy forbids it to evaluate a text."""
    deadline = time.monotonic() + PATIENCE_S
    while not page.evaluate("stream !== null && stream.readyState === EventSource.OPEN"):
        assert time.monotonic() < deadline, "the stream is not open"
        page.wait_for_timeout(_LOOK_MS)


def test_a_page_is_live_again_after_a_proxy_had_no_kns(chromium: Browser, ui: Ui) -> None:
    """An ingress controller answers 502 while kns restarts. A browser gives such a stream up for good."""
    with serving(ui) as address:
        page = open_page(chromium, address, ui, STATES["job-waits"])
        await_stream(page)
        for path in ("**/ui/jobs/7/live", "**/ui/jobs/7"):
            page.route(path, lambda route: route.fulfill(status=502, body="bad gateway"))
        with page.expect_response("**/ui/jobs/7/live"):
            ui.live.close()
        ui.live._closed = False
        expect(page.locator("#connection")).to_contain_text("kns does not answer")
        page.unroute("**/ui/jobs/7/live")
        page.unroute("**/ui/jobs/7")
        expect(page.locator("#connection")).to_be_hidden()
        ui.api.add(a_job().exposed())
        expect(page.locator("#state")).to_have_text("Ready")
        page.context.close()


COUNT_RETRIES = """() => {
  const [set, clear] = [window.setTimeout, window.clearTimeout];
  window.retries = new Set();
  let last = 0;
  window.setTimeout = (what, ...rest) => (what === renew ? (retries.add(--last), last) : set(what, ...rest));
  window.clearTimeout = (id) => (retries.delete(id), clear(id));
}"""


def test_a_page_that_gets_no_answer_plans_one_attempt_whatever_made_it_look(
    chromium: Browser, ui: Ui, served: str
) -> None:
    """Each look in vain plans the next; two of them at a time would be two for the rest of the outage."""
    page = open_page(chromium, served, ui, STATES["job-waits"])
    await_stream(page)
    page.evaluate(COUNT_RETRIES)
    page.route("**/ui/jobs/7", lambda route: route.fulfill(status=502, body="bad gateway"))
    page.evaluate("close()")
    page.evaluate("renew()")
    expect(page.locator("#connection")).to_contain_text("kns does not answer")
    for _ in range(3):  # a stream that broke, a reader who comes back to the tab
        page.evaluate("(async () => { while (renewing) await new Promise(requestAnimationFrame); await renew(); })()")
    assert page.evaluate("retries.size") == 1
    page.context.close()


def test_a_page_without_a_stream_says_so(chromium: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """kns answers, and refuses the stream: the page is as it was loaded, and its reader knows."""
    monkeypatch.setattr("kns.web.live.MAX_STREAMS_OF_USER", 0)
    ui = Ui()
    with serving(ui) as address:
        page = open_page(chromium, address, ui, STATES["job-waits"])
        expect(page.locator("#connection")).to_contain_text("Live updates are off")
        page.context.close()


def test_what_was_typed_survives_the_end_of_the_session(chromium: Browser, ui: Ui, served: str) -> None:
    """By way of a new tab, in which the visitor signs in again."""
    page = open_page(chromium, served, ui, STATES["app-session-ended"])
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Sign in in a new tab").click()
    other = opened.value
    other.get_by_label("User name").fill("user1")
    other.get_by_role("textbox", name="API key").fill("key-user1")
    other.get_by_role("button", name="Sign in").click()
    expect(other.locator("h1")).to_have_text("Jobs")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_label("Title")).to_have_value("Mine")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#state")).to_be_visible()
    (job,) = ui.api.jobs.list_jobs()
    assert job.spec.parameters["title"] == "Mine"
    page.context.close()


def test_a_field_that_is_not_used_does_not_hold_up_the_form(chromium: Browser, ui: Ui, served: str) -> None:
    page = open_page(chromium, served, ui, STATES["app"])
    page.get_by_label("Title").fill("Mine")
    page.get_by_label("Debug", exact=True).check()
    page.get_by_label("Debug level").fill("0")
    page.get_by_label("Debug", exact=True).uncheck()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#state")).to_be_visible()
    page.context.close()


CHAIN: dict[str, Any] = {
    "a": {"type": "BOOL", "name": "Outer box"},
    "b": {"type": "BOOL", "name": "Inner box", "value": True, "if": "a"},
    "n": {"type": "INT", "name": "Number", "value": 3, "required": True, "if": "b"},
}


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_box_counts_while_it_is_not_used(script: bool, chromium: Browser, ui: Ui, served: str) -> None:
    """Whatever depends on it is the same in the page, with script or without, and in the API."""

    def offer_chain(ui: Ui) -> None:
        app = an_app(an_appdef(name="Forms", commands={"Run": a_command(parameters=CHAIN)}))
        ui.api.catalog.catalog = a_catalog(apps={"forms": app})

    state = State("/ui/apps/forms", "Forms", prepare=offer_chain)
    page = open_page(chromium, served, ui, state, java_script_enabled=script)
    expect(page.get_by_label("Inner box")).to_be_visible(visible=not script)
    page.get_by_label("Number").fill("5")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#state")).to_be_visible()
    page.context.close()
    body = a_submission(app="forms", application={"command": "Run", "parameters": {"n": 5}})
    assert ui.browser().post("/jarvice/submit", json=body).status_code == 200
    values = [job.spec.accepted.parameters for job in ui.api.jobs.list_jobs() if job.spec.accepted]
    assert [[(each.key, each.value) for each in given] for given in values] == [[("a", False), ("n", 5)]] * 2


def test_a_file_that_is_too_large_is_refused_before_the_form_is_sent(
    chromium: Browser, ui: Ui, served: str, tmp_path: Path
) -> None:
    page = open_page(chromium, served, ui, STATES["app"])
    page.get_by_label("Title").fill("Mine")
    large = tmp_path / "large.ini"
    large.write_bytes(b"x" * 1001)
    field = page.get_by_label("Settings file")
    field.set_input_files(large)
    page.get_by_role("button", name="Submit").click()
    message = field.evaluate("each => each.validationMessage")
    assert message == "The file has 1001 bytes. At most 1000 are accepted."
    small = tmp_path / "small.ini"
    small.write_bytes(b"x" * 1000)
    field.set_input_files(small)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#state")).to_be_visible()
    page.context.close()


def test_what_a_starting_job_does_is_not_announced_again_and_again(chromium: Browser, ui: Ui, served: str) -> None:
    """Its times change with each renewal, and a screen reader would read them all."""
    page = open_page(chromium, served, ui, STATES["job-deploys"])
    page.evaluate(
        "window.said = []; new MutationObserver(() => said.push(document.getElementById('announce').textContent))"
        ".observe(document.getElementById('announce'), {childList: true})"
    )
    for line in ("one", "two", "three"):
        ui.api.clock.advance(7)
        ui.api.add(a_job().started().condition(ConditionType.NAMESPACE_READY, at_s=2), output=f"{line}\n")
        expect(page.locator("#lines pre")).to_contain_text(line)
    assert len(page.evaluate("said")) <= 1
    page.context.close()


def test_without_script_everything_is_there(chromium: Browser, ui: Ui, served: str) -> None:
    page = open_page(chromium, served, ui, STATES["app"], java_script_enabled=False)
    expect(page.get_by_label("Debug level")).to_be_visible()
    page.get_by_label("Title").fill("Without script")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("link", name="Stop").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#state")).to_have_text("Ending")
    page.context.close()


def test_at_twice_the_size_nothing_is_cut_off(chromium: Browser, ui: Ui, served: str) -> None:
    """WCAG 1.4.4: 200 % of 1280 px are 640 px of twice the density."""
    page = open_page(
        chromium, served, ui, STATES["job-serves"], viewport={"width": 640, "height": 480}, device_scale_factor=2
    )
    check_reflow(page)
    page.context.close()


SHOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "web-machines.png": ("machines-free", {"viewport": {"width": 900, "height": 420}}),
    "web-job-asleep.png": ("job-sleeps", {"viewport": {"width": 900, "height": 620}}),
    "web-job.png": ("job-shown", {"viewport": {"width": 900, "height": 760}}),
    "web-job-phone.png": ("job-shown", {"viewport": {"width": 360, "height": 640}, "color_scheme": "dark"}),
    "web-admin.png": ("admin", {"viewport": {"width": 900, "height": 620}}),
}
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
LARGEST = 120_000  # bytes of a picture in the documentation


@pytest.mark.parametrize("name", SHOTS)
def test_the_pictures_of_the_documentation_are_made(name: str, chromium: Browser, ui: Ui, served: str) -> None:
    """`KNS_WEB_PICTURES=1` writes them. Without it the test only checks that they can be made and that they exist."""
    state, options = SHOTS[name]
    page = open_page(chromium, served, ui, PICTURED if state == "job-shown" else STATES[state], **options)
    picture = page.screenshot()
    page.context.close()
    assert len(picture) <= LARGEST
    if os.environ.get("KNS_WEB_PICTURES") == "1":
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / name).write_bytes(picture)
    assert (IMAGES / name).stat().st_size <= LARGEST
