"""A headless browser at a job's web shell: the system's Chromium, which resolves the jobs' names to the controller."""

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from playwright.sync_api import Page, WebSocket, sync_playwright

from tests.chromium import FLAGS, find_chromium
from tests.e2e.site import REQUIRE
from tests.e2e.waiting import PATIENCE

_TIMEOUT_MS = 60_000 * PATIENCE


@dataclass(frozen=True, slots=True)
class Terminal:
    """A page of gotty with its websocket open."""

    page: Page
    socket: WebSocket

    def run(self, command: str, *, until: str) -> str:
        """Type the command. Returns what the terminal shows up to `until`, which must not be part of the command."""
        shown = ""

        def shows_it(message: str | bytes) -> bool:
            nonlocal shown
            if isinstance(message, str) and message.startswith("1"):
                shown += base64.b64decode(message[1:]).decode("utf-8", "replace")
            return until in shown

        with self.socket.expect_event("framereceived", shows_it, timeout=_TIMEOUT_MS):
            self.page.keyboard.type(f"{command}\n")
        return shown


@contextlib.contextmanager
def open_terminal(url: str, *, ingress_url: str, user: str, password: str) -> Iterator[Terminal]:
    """The shell's page as a person opens it. `ingress_url`: the address of the URL's host, "" if the name resolves."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(required_by=REQUIRE), args=[*FLAGS, *_lead(url, ingress_url)], headless=True
        )
        with contextlib.closing(browser):
            context = browser.new_context(
                http_credentials={"username": user, "password": password}, ignore_https_errors=bool(ingress_url)
            )
            page = context.new_page()
            page.set_default_timeout(_TIMEOUT_MS)
            with page.expect_websocket() as opened:
                page.goto(url)
            page.locator("#terminal").click()
            yield Terminal(page, opened.value)


def _lead(url: str, ingress_url: str) -> list[str]:
    if not ingress_url:
        return []
    place = urlsplit(ingress_url)
    port = place.port or {"http": 80, "https": 443}[place.scheme]
    return [f"--host-resolver-rules=MAP {urlsplit(url).hostname} {place.hostname}:{port}"]
