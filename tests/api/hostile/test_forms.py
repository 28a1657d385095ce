"""Forms of the page that anybody can send without a login: too large, in costly charsets, slow to decode."""

import logging
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any
from urllib.parse import parse_qsl

import pytest
from starlette.formparsers import MultiPartParser

from kns.web import visitor
from kns.web.visitor import MAX_FORM_BYTES
from tests.api.client import Api
from tests.api.hostile.served import Answer, Served, get, serve
from tests.web.ui import Ui

pytestmark = [
    pytest.mark.proves(
        "main", "Hostile HTTP requests store nothing, cause no fault, and leave a log that is safe to show"
    ),
    pytest.mark.proves("security", "forms of the page that are slow to decode, without a login"),
]

ANYBODYS = ["/ui/sign-out", "/ui/sign-in/key"]
SUBMIT = "/ui/apps/hello"
URLENCODED = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'


@pytest.fixture(scope="module")
def _page() -> Iterator[Served]:
    ui = Ui(Api(failed_logins=10**9))
    with serve(ui.api, app=ui.app) as served:
        yield served


@pytest.fixture
def page(_page: Served, observed: StringIO, caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    _page.log, _page.libraries = observed, caplog
    caplog.set_level(logging.INFO)
    yield _page
    _page.assert_unharmed()


def send(page: Served, path: str, body: bytes, *headers: str) -> Answer:
    return page.ask(get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body)


@pytest.mark.parametrize("path", ANYBODYS)
@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_a_form_of_short_texts_is_small(page: Served, path: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger one is not decoded at all."""
    monkeypatch.setattr(visitor, "_decode_form", lambda *_: pytest.fail("it was decoded"))
    assert send(page, path, b"%" * (MAX_FORM_BYTES + 1), kind).status == 413
    assert send(page, path, b"%" * 4 * 1024 * 1024, kind).status == 413


@pytest.mark.parametrize("path", [*ANYBODYS, SUBMIT])
@pytest.mark.parametrize(
    "charset",
    [
        "; charset=punycode",
        '; CHARSET = "punycode"',
        "; charset*=utf-8''punycode",
        "; charset*0=puny; charset*1=code",
        "; charset=utf-8; charset=punycode",
        "; charset=utf-8-sig",
        "; charset=utf-7",
        "; charset=idna",
    ],
)
@pytest.mark.parametrize(("kind", "body"), [(MULTIPART, PART), (URLENCODED, b"a=b")], ids=["multipart", "urlencoded"])
def test_a_form_is_in_utf_8(page: Served, path: str, charset: str, kind: str, body: bytes) -> None:
    answer = send(page, path, body, kind + charset)
    assert (answer.status, b"The form could not be read" in answer.body) == (400, True)


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", '; charset="UTF-8"'])
def test_a_form_may_say_that_it_is_in_utf_8(page: Served, charset: str) -> None:
    assert send(page, "/ui/sign-out", PART, MULTIPART + charset).status == 200


@pytest.mark.parametrize("path", [*ANYBODYS, SUBMIT])
def test_no_form_is_decoded_where_all_requests_wait_for_it(
    page: Served, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def parse_noted(*given: Any, **options: Any) -> list[tuple[str, str]]:
        threads.append(threading.current_thread().name)
        return parse_qsl(*given, **options)

    class Noted(MultiPartParser):
        def on_part_begin(self) -> None:
            threads.append(threading.current_thread().name)
            super().on_part_begin()

    monkeypatch.setattr(visitor, "parse_qsl", parse_noted)
    monkeypatch.setattr(visitor, "MultiPartParser", Noted)
    for body, kind in ((b"%" * MAX_FORM_BYTES, URLENCODED), (PART, MULTIPART)):
        assert send(page, path, body, kind).status < 500
    assert threads == ["AnyIO worker thread"] * 2


def test_a_form_of_an_app_may_have_a_file(page: Served) -> None:
    """Its bound is that of all bodies, as that of a submission to the API."""
    assert send(page, SUBMIT, b"a=" + b"b" * 10 * MAX_FORM_BYTES, URLENCODED).status == 303
