"""
The page over the in-memory stores, and a browser without script.

The browser keeps cookies and reads forms as a person does: it sends the fields that the page has, with what it fills
in.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any

import httpx
from fastapi import FastAPI

from kns.http.app import build_app
from kns.service.overview import UsualDurations
from kns.web import build_front_end
from kns.web.live import LivePages
from kns.web.site import WebSite
from tests.api.client import VERSION, Api
from tests.fakes.web import StaticKeys

HOST = "http://kns.example.org"


class Ui:
    """The app with the page and the public API. `api` has the stores."""

    def __init__(self, api: Api | None = None, **changes: Any) -> None:
        from kns.api.front_ends import list_front_ends

        self.api = api or Api()
        self.keys = StaticKeys()
        self.live = LivePages(read_job=self.api.jobs.get, read_mark=lambda job: self.api.outputs.read(job).log)
        self.api.jobs.wake.append(self.live.wake)
        self.web = WebSite(**{"keys": self.keys, "live": self.live, "usual": UsualDurations(self.api.clock), **changes})
        front_ends = (*list_front_ends(server_key=None), build_front_end(self.web))
        self.app: FastAPI = build_app(self.api.ports, front_ends, version=VERSION)

    def browser(self, user: str | None = None) -> "Browser":
        """A browser, signed in as that user."""
        browser = Browser(self)
        if user is not None:
            browser.sign_in(user)
        return browser


class _Forms(HTMLParser):
    """The forms of a page: address, method, and the fields with the values that they have."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self._select: str | None = None
        self._text: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given.get("href", ""))
        if tag == "form":
            self.forms.append(Form(given["action"], given.get("method", "get")))
        if not self.forms or "name" not in given:
            if tag == "option" and self._select is not None and self.forms:
                fields = self.forms[-1].fields
                if "selected" in given or self._select not in fields:
                    fields[self._select] = given["value"]
            return
        name = given["name"]
        if tag == "input" and given.get("type") == "checkbox":
            if "checked" in given:
                self.forms[-1].fields[name] = given["value"]
        elif tag == "input" and given.get("type") != "file":
            self.forms[-1].fields[name] = given.get("value", "")
        elif tag == "select":
            self._select = name
        elif tag == "textarea":
            self._text = name
            self.forms[-1].fields[name] = ""

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self.forms[-1].fields[self._text] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
        if tag == "textarea" and self._text is not None:
            fields = self.forms[-1].fields
            fields[self._text] = fields[self._text].removeprefix("\n")
            self._text = None


@dataclass
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


def read_page(page: httpx.Response) -> _Forms:
    parser = _Forms()
    parser.feed(page.text)
    return parser


@dataclass
class Browser:
    ui: Ui
    cookies: dict[str, str] = field(default_factory=dict)
    host: str = HOST
    left_s: dict[str, int] = field(default_factory=dict)  # of each cookie with an age

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self._call("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self._call("POST", path, **options)

    def follow(self, answer: httpx.Response) -> httpx.Response:
        """The page that a redirect leads to."""
        while answer.status_code == 303:
            answer = self.get(answer.headers["location"])
        return answer

    def send(self, page: httpx.Response, action: str, **options: Any) -> httpx.Response:
        """Send the page's form with that address. `fill` replaces fields; None leaves one out. `files` as in httpx."""
        (form,) = [each for each in read_page(page).forms if each.action == action and each.method == "post"]
        filled = {**form.fields, **options.pop("fill", {})}
        return self.post(action, data={key: value for key, value in filled.items() if value is not None}, **options)

    def grow_older(self, seconds: int) -> None:
        """Drop the cookies whose time is over, as a browser does by itself."""
        self.left_s = {name: left_s - seconds for name, left_s in self.left_s.items()}
        for name in [name for name, left_s in self.left_s.items() if left_s <= 0]:
            del self.left_s[name]
            self.cookies.pop(name, None)

    def sign_in(self, user: str, *, key: str | None = None, to: str = "") -> httpx.Response:
        page = self.get("/ui/sign-in", params={"to": to} if to else None)
        return self.send(page, "/ui/sign-in/key", fill={"username": user, "apikey": key or f"key-{user}"})

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.ui.app, client=("192.0.2.1", 50000))
            async with httpx.AsyncClient(transport=transport, base_url=self.host) as client:
                cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
                headers = {**({"Cookie": cookies} if cookies else {}), **options.pop("headers", {})}
                answer = await client.request(method, path, headers=headers, **options)
                for line in answer.headers.get_list("set-cookie"):
                    self._keep(line)
                return answer

        with ThreadPoolExecutor(1) as thread:  # the thread of a test in a browser has a loop of its own
            return thread.submit(asyncio.run, send()).result()

    def _keep(self, line: str) -> None:
        for name, cookie in SimpleCookie(line).items():
            if cookie["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = cookie.value
                if cookie["max-age"]:
                    self.left_s[name] = int(cookie["max-age"])
