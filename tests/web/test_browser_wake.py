"""
The page in place of a sleeping job, in a real browser: no violation of axe-core's rules, and how it waits.

Needs what `test_browser.py` needs.
"""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from kns.model.errors import UnavailableError
from kns.model.job.conditions import APP_STARTS, CLUSTER_STARTS, Reason
from tests.web.test_browser import TIMEOUT_MS, axe, check_axe, check_reflow, chromium
from tests.web.test_wake_page import BROWSER, Front, _resting

__all__ = ["axe", "chromium"]

URL = "http://kns-job-7.jobs.example.org/lab?token=x"
STEPS = {
    "asleep": _resting(Reason.ASLEEP),
    "cluster starts": _resting(Reason.WAKING, CLUSTER_STARTS, sleep=False),
    "app starts": _resting(Reason.WAKING, APP_STARTS, sleep=False),
}


def ask(front: Front, headers: dict[str, str]) -> httpx.Response:
    """In a thread, because the one of a test in a browser has an event loop already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(front.request, headers=headers).result()


class Visited:
    """A browser whose every request gets what kns would answer, or what the app does once it is there and known."""

    def __init__(self, chromium: Browser) -> None:
        self.front = Front()
        self.has_app = False
        self.gaps: list[int] = []  # the statuses of an ingress controller that does not know the app's pods yet
        self.navigations = 0
        self.page: Page = chromium.new_context(reduced_motion="reduce").new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        self.navigations += route.request.is_navigation_request()
        if self.has_app and self.gaps:
            route.fulfill(status=self.gaps.pop(), content_type="text/html", body="<h1>No endpoints</h1>")
            return
        if self.has_app:
            route.fulfill(status=200, content_type="text/html", body="<title>app</title><h1>The app</h1>")
            return
        mode = "navigate" if route.request.is_navigation_request() else "cors"
        answer = ask(self.front, {**BROWSER, "sec-fetch-mode": mode})
        route.fulfill(status=answer.status_code, headers=dict(answer.headers), body=answer.text)


@pytest.mark.proves("page", "axe-core finds no violation on any page in any state, in the light and the dark scheme")
@pytest.mark.parametrize("step", STEPS)
def test_the_waiting_page_is_accessible(step: str, chromium: Browser, axe: str) -> None:
    page = chromium.new_context().new_page()
    page.set_content(ask(Front(STEPS[step]), BROWSER).text)
    for scheme, width in (("light", 1280), ("dark", 320)):
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        page.set_viewport_size({"width": width, "height": 640})
        check_axe(page, axe)
        check_reflow(page)
    page.context.close()


def test_the_waiting_page_says_each_step_without_a_reload_and_then_shows_the_app(chromium: Browser) -> None:
    visited = Visited(chromium)
    page, mistakes = visited.page, list[str]()
    page.on("console", lambda message: mistakes.append(message.text) if message.type == "error" else None)
    page.goto(URL)
    assert visited.front.woken == [7]
    visited.front.store.add(STEPS["cluster starts"].build())
    expect(page.locator("#step")).to_have_text("Step 2 of 3: Its cluster is starting", timeout=TIMEOUT_MS)
    visited.front.store.add(STEPS["app starts"].build())
    expect(page.locator("[aria-current=step]")).to_have_text("The app is starting", timeout=TIMEOUT_MS)
    assert visited.navigations == 1
    visited.has_app = True
    expect(page.locator("h1")).to_have_text("The app", timeout=TIMEOUT_MS)
    assert page.url == URL
    assert [each for each in mistakes if "the server responded with a status" not in each] == []
    page.context.close()


def test_the_waiting_page_waits_until_the_ingress_controller_knows_the_app(chromium: Browser) -> None:
    """Its page has no script, so whoever gets that in place of the app must know to reload it."""
    visited = Visited(chromium)
    visited.page.goto(URL)
    visited.gaps, visited.has_app = [404, 502, 503], True
    expect(visited.page.locator("h1")).to_have_text("The app", timeout=TIMEOUT_MS)
    assert visited.navigations == 2
    visited.page.context.close()


def test_the_waiting_page_shows_what_is_answered_in_the_long_run(chromium: Browser) -> None:
    visited = Visited(chromium)
    visited.page.goto(URL)
    visited.gaps, visited.has_app = [503] * 100, True
    expect(visited.page.locator("h1")).to_have_text("No endpoints", timeout=TIMEOUT_MS)
    visited.page.context.close()


def test_the_waiting_page_visits_again_if_nobody_was_woken(chromium: Browser) -> None:
    visited = Visited(chromium)
    visited.front.fault = UnavailableError("the host does not answer")
    visited.page.goto(URL)
    visited.front.fault = None
    visited.front.clock.advance(60)
    with visited.page.expect_navigation(timeout=TIMEOUT_MS):
        pass
    assert len(visited.front.woken) >= 2
    visited.page.context.close()
