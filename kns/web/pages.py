"""Render pages: the templates, what all pages share, and the headers that protect them."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.types import Scope

from kns.http.errors import (
    BAD_REQUEST,
    INTERNAL,
    NOT_READY,
    TOO_LARGE,
    TOO_LATE,
    UNKNOWN_ROUTE,
    WRONG_METHOD,
    ErrorResponse,
)
from kns.model.reading.duration import describe_duration
from kns.web.site import PREFIX
from kns.web.text import choose_visible
from kns.web.visitor import Member

_HERE = Path(__file__).parent
# No inline script or style, nothing from another host, and no other site may frame a page or receive a form.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types kns"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # not no-referrer: browsers would then send `Origin: null` with our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",  # pages show passwords of jobs
}
STATIC: Mapping[str, tuple[str, bytes]] = {
    name: (media, (_HERE / "static" / name).read_bytes())
    for name, media in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml"))
}
ASSETS = sha256(b"".join(content for _, content in STATIC.values())).hexdigest()[:12]  # changes their addresses

_TITLES = {
    303: "Sign in",
    400: "This request cannot be read",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    408: "Too slow",
    409: "Not possible now",
    413: "Too large",
    429: "Too many",
    500: "kns made a mistake",
    503: "kns cannot answer now",
}
# In place of the texts that all front ends share, which are for programs.
_WORDS = {
    BAD_REQUEST: "The browser sent something that kns cannot read. Go back, reload the page, and try again.",
    UNKNOWN_ROUTE: "There is no page at this address.",
    WRONG_METHOD: "This address is for a form. Go to your jobs or apps and start from there.",
    TOO_LATE: "The request took too long to arrive. Try again.",
    TOO_LARGE: "The form with its files is larger than kns accepts. Choose a smaller file.",
    INTERNAL: "The mistake is in the log of kns. Try again; if it happens again, ask the administrator of this site.",
    NOT_READY: "kns has just started, or its cluster does not answer. Your jobs go on. Try again in a minute.",
}


_OF_URLS = "%:/?#[]@!$&'()*+,;="  # RFC 3986: what has a meaning in a URL, and what is encoded already
MAX_SEARCH = 200  # characters of a search; each word is compared with every text


def _describe_age(moment: datetime | None, now: datetime) -> str:
    return describe_duration((now - moment).total_seconds()) if moment else ""


_TEMPLATES = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES.globals |= {"base": PREFIX, "assets": ASSETS, "max_search": MAX_SEARCH}
_TEMPLATES.filters |= {"duration": describe_duration, "since": _describe_age, "visible": choose_visible}


def render_page(
    template: str,
    *,
    title: str,
    member: Member | None = None,
    current: str = "",
    form_token: str | None = None,
    status: int = 200,
    **values: Any,
) -> Response:
    """
    A page as HTML. `current` is the entry of the navigation that it belongs to. `form_token` is that of the visitor's
    session, for a page without a member.
    """
    text = _TEMPLATES.get_template(template).render(
        title=title,
        me=member.user if member else None,
        form_token=member.session.form_token if member else form_token,
        current=current,
        **values,
    )
    return Response(text, status_code=status, media_type="text/html", headers=HEADERS)


def render_text(template: str, **values: Any) -> str:
    """A template that shares nothing with the pages."""
    return _TEMPLATES.get_template(template).render(**values)


def redirect(url: str) -> Response:
    """
    After a form, so that a reload does not send it again; or to a job's address. An app's author may write any
    characters into that, and a header can have only some.
    """
    return Response(status_code=303, headers={**HEADERS, "Location": quote(url, safe=_OF_URLS)})


def render_error(_scope: Scope, response: ErrorResponse) -> Response:
    """A page about an error. It does not name the visitor, who is not known here."""
    title = _TITLES.get(response.status, "Something went wrong")
    words = _WORDS.get(response, response.error)
    page = render_page("error.html", title=title, words=words, status=response.status)
    if response.retry_after_s is not None:
        page.headers["Retry-After"] = str(response.retry_after_s)
    return page
