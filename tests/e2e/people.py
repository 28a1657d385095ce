"""A person at a browser who signs in at Keycloak: to the page of kns, or for the command line."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.chromium import FLAGS, find_chromium
from tests.e2e.site import REQUIRE
from tests.e2e.waiting import PATIENCE

TIMEOUT_MS = 30_000 * PATIENCE
_YES, _NO, _SIGN_OUT = "#kc-login", "#kc-cancel", "#kc-logout"  # buttons of every theme of Keycloak


@dataclass(frozen=True, slots=True)
class Person:
    """One browser, with its own cookies."""

    page: Page

    def go(self, url: str) -> None:
        self.page.goto(url)

    def follow(self, link: str) -> None:
        self.page.get_by_role("link", name=link, exact=True).click()

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def log_in(self, username: str, password: str) -> None:
        """Fill in the realm's login form."""
        self.page.locator("#username").fill(username)
        self.page.locator("#password").fill(password)
        self.page.locator(_YES).click()

    def decide(self, *, grant: bool) -> None:
        """On the realm's page that asks what the client may know."""
        self.page.locator(_YES if grant else _NO).click()

    def confirm_logout(self) -> None:
        self.page.locator(_SIGN_OUT).click()

    def expect_title(self, text: str) -> None:
        expect(self.page.locator("h1")).to_contain_text(text, timeout=TIMEOUT_MS)

    def expect_text(self, text: str) -> None:
        expect(self.page.locator("body")).to_contain_text(text, timeout=TIMEOUT_MS)

    def expect_login_form(self) -> None:
        expect(self.page.locator("#username")).to_be_visible(timeout=TIMEOUT_MS)


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = find_chromium(required_by=REQUIRE)
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS), headless=True)
        with contextlib.closing(browser):
            yield browser


@contextlib.contextmanager
def somebody(browser: Browser) -> Iterator[Person]:
    """A person who was never here before."""
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        yield Person(page)
