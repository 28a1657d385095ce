"""Who sends a request to the page, and whether a form came from it."""

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from kns.http.dependencies import Ports, RawBody
from kns.http.errors import TOO_LARGE, ErrorResponse, HttpError
from kns.http.middleware import MAX_BODY_BYTES
from kns.http.parameters import MAX_FIELDS
from kns.model.catalog.catalog import User
from kns.service.catalog import require_admin
from kns.service.identity import Identity
from kns.web.errors import FORGED, UNREADABLE_FORM
from kns.web.session import Session, SessionSigner, start_session
from kns.web.site import COOKIE_S, PREFIX, SESSION_S, Web, WebSite

FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field
MAX_PATH = 500  # characters of an address to return to after the sign-in
MAX_FORM_BYTES = 16 * 1024  # of a form that has only short texts. Anybody may send it, with or without a session
MAX_FIELD_BYTES = 64 * 1024  # of one field of a form with files, as of a text in an AppDef

_COOKIE, _SECURE_COOKIE = "kns_session", "__Host-kns_session"  # a host cannot set the second one for another host
_OWN_SITE = frozenset({"same-origin", "none"})  # "none": the user typed the address
_OF_JOB = re.compile(rf"({PREFIX}/jobs/[0-9]{{1,18}})/([a-z]+)")
_NO_PAGES = frozenset({"open", "live"})  # what a job has below its page to which nobody can be led back
_OTHER_CHARSET = re.compile(r'charset(?!\s*=\s*"?utf-8"?\s*(?:;|$))', re.IGNORECASE)  # also `charset*` of RFC 2231
_SIGN_IN_FIRST = ErrorResponse(303, "Sign in first.")


@dataclass(frozen=True, slots=True)
class Visitor:
    """The sender of a request. `identity` is None before the sign-in and after the end of the session."""

    session: Session
    signer: SessionSigner = field(repr=False)
    identity: Identity | None
    is_known: bool  # whether the browser sent a valid cookie
    had_cookie: bool

    @property
    def member(self) -> "Member | None":
        return Member(self.identity, self.session) if self.identity else None


def _read_visitor(request: Request, ports: Ports, site: Web) -> Visitor:
    """In a thread: the keys may have to be read from the host."""
    signer = SessionSigner(site.keys.read(), max_age_s=SESSION_S, clock=ports.clock)
    cookie = request.cookies.get(_name_cookie(request, site))
    session = signer.read(cookie)
    identity = signer.identify(session, ports.catalog.current()) if session else None
    return Visitor(session or start_session(), signer, identity, session is not None, cookie is not None)


Visited = Annotated[Visitor, Depends(_read_visitor)]


@dataclass(frozen=True, slots=True)
class Member:
    """A user who is signed in."""

    identity: Identity
    session: Session

    @property
    def user(self) -> User:
        return self.identity.user


def _require_member(request: Request, visitor: Visited) -> Member:
    if visitor.member is None:
        raise sign_in_first(request, visitor)
    return visitor.member


def sign_in_first(request: Request, visitor: Visitor) -> HttpError:
    """The way to the sign-in, which leads back to the page."""
    return HttpError(_SIGN_IN_FIRST, headers={"Location": _sign_in_path(request, visitor)})


def _sign_in_path(request: Request, visitor: Visitor) -> str:
    back = quote(_find_page(request), safe="")
    ended = "&ended=1" if visitor.had_cookie else ""
    return f"{PREFIX}/sign-in?to={back if len(back) <= MAX_PATH else ''}{ended}"


def _find_page(request: Request) -> str:
    """The page to return to. For a form it is the page that had it, because the form itself was not done."""
    path: str = request.scope["path"]
    if request.method != "GET":
        of_job = _OF_JOB.fullmatch(path)
        return of_job[1] if of_job else path if path.startswith(f"{PREFIX}/apps/") else f"{PREFIX}/jobs"
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


SignedIn = Annotated[Member, Depends(_require_member)]


def _require_admin(member: SignedIn) -> Member:
    require_admin(member.user)
    return member


Administrator = Annotated[Member, Depends(_require_admin)]


@dataclass(frozen=True, slots=True)
class PostedForm:
    """The fields of a form, and the contents of the files that were chosen. If a name appears twice, the last wins."""

    texts: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict)

    def text(self, key: str) -> str:
        """The text of a field; `""` if it is absent."""
        return self.texts.get(key, "")


@dataclass(frozen=True, slots=True)
class SentForm:
    """
    A form that came from this site. It may be shown to its sender again. What it asks for may be done only if it
    `is_current`: made for this session.
    """

    form: PostedForm
    is_current: bool


class _SentFormReader:
    """The dependency that reads a form of at most `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    async def __call__(self, request: Request, raw: RawBody, visitor: Visited, site: Web) -> SentForm:
        """
        Raises:
            HttpError: it came from another site, is too large, or cannot be read.
        """
        if not _is_from_here(request, site):
            raise HttpError(FORGED)
        if len(raw) > self._most_bytes:
            raise HttpError(TOO_LARGE)
        form = await run_in_threadpool(_decode_form, request.headers, raw)  # a large one takes a second
        own, token = visitor.session.form_token.encode(), form.text(FORM_TOKEN).encode("utf-8", "surrogatepass")
        return SentForm(form, visitor.is_known and hmac.compare_digest(token, own))


FromHere = Annotated[SentForm, Depends(_SentFormReader(MAX_FORM_BYTES))]
FromHereWithFiles = Annotated[SentForm, Depends(_SentFormReader(MAX_BODY_BYTES))]


async def _read_form(sent: FromHere) -> PostedForm:
    """
    The fields of a form that this page made for this session.

    Raises:
        HttpError: it was made for another session.
    """
    if not sent.is_current:
        raise HttpError(FORGED)
    return sent.form


Form = Annotated[PostedForm, Depends(_read_form)]


def _is_from_here(request: Request, site: WebSite) -> bool:
    """
    As the browser says. Jobs may have sibling names of this host, and for SameSite they are the same site, so this and
    the token of the form are what stops their pages.
    """
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site in _OWN_SITE
    origin = request.headers.get("origin")
    if origin is None:
        return True
    host = request.headers.get("host", "")
    return origin in (site.url, f"https://{host}", f"http://{host}")


def _decode_form(headers: Headers, raw: bytes) -> PostedForm:
    """
    Browsers send the page's forms in UTF-8. Another charset is refused: Python has codecs whose time is quadratic.

    Raises:
        HttpError: the form cannot be read.
    """
    kind = headers.get("content-type", "")
    if _OTHER_CHARSET.search(kind):
        raise HttpError(UNREADABLE_FORM)
    try:
        if kind.startswith("multipart/form-data"):
            return asyncio.run(_read_parts(headers, raw))
        pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except (MultiPartException, HTTPException, ValueError) as error:
        raise HttpError(UNREADABLE_FORM) from error
    return PostedForm(dict(pairs))


async def _read_parts(headers: Headers, raw: bytes) -> PostedForm:
    parser = MultiPartParser(headers, _stream(raw), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    async with _closing(await parser.parse()) as data:
        texts = {key: value for key, value in data.multi_items() if isinstance(value, str)}
        chosen = [(key, value) for key, value in data.multi_items() if isinstance(value, UploadFile)]
        return PostedForm(texts, {key: await value.read() for key, value in chosen if value.filename})


async def _stream(raw: bytes) -> AsyncGenerator[bytes, None]:
    yield raw


@asynccontextmanager
async def _closing(data: FormData) -> AsyncIterator[FormData]:
    """Large files are in temporary files, which must be closed."""
    try:
        yield data
    finally:
        await data.close()


def read_target(text: str | None) -> str:
    """
    A page of this site to go to, from a parameter that anybody can write into a link; else the list of jobs.

    A job's address is not one: browsers forbid that a form of this page leads to another site, also by way of a
    redirect, so the sign-in leads to the job's page.

    >>> read_target("/ui/jobs/7"), read_target("//evil.example/ui/"), read_target("/ui/../x"), read_target(None)
    ('/ui/jobs/7', '/ui/jobs', '/ui/jobs', '/ui/jobs')
    >>> read_target("/ui/jobs/7/open")
    '/ui/jobs/7'
    """
    text = text or ""
    of_job = _OF_JOB.match(text)
    if of_job and of_job[2] in _NO_PAGES:
        return of_job[1]
    is_own = text.startswith(f"{PREFIX}/") and len(text) <= MAX_PATH and text.isprintable() and text.isascii()
    if not is_own or "\\" in text or ".." in text or text.startswith(f"{PREFIX}/sign-"):
        return f"{PREFIX}/jobs"
    return text


def set_session(answer: Response, request: Request, site: WebSite, signer: SessionSigner, session: Session) -> None:
    answer.set_cookie(
        _name_cookie(request, site),
        signer.write(session),
        max_age=COOKIE_S if session.username else SESSION_S,
        path="/",
        secure=_is_secure(request, site),
        httponly=True,
        samesite="lax",  # not strict: the realm leads the browser back here, with the values of the sign-in
    )


def clear_session(answer: Response, request: Request, site: WebSite) -> None:
    answer.delete_cookie(
        _name_cookie(request, site), path="/", secure=_is_secure(request, site), httponly=True, samesite="lax"
    )


def _name_cookie(request: Request, site: WebSite) -> str:
    return _SECURE_COOKIE if _is_secure(request, site) else _COOKIE


def _is_secure(request: Request, site: WebSite) -> bool:
    """Whether browsers reach the page over TLS: as configured, or else as a trusted proxy says."""
    if site.url is not None:
        return site.url.startswith("https://")
    return bool(request.scope["scheme"] == "https")
