"""Sign in with an API key or in the Keycloak realm, and sign out."""

import hmac
import secrets
from dataclasses import replace
from threading import BoundedSemaphore
from urllib.parse import urlencode

from fastapi import Request, Response

from kns.http.dependencies import Ports, Sent
from kns.http.errors import HttpError
from kns.http.routes import GET, POST, Route, Routes
from kns.logs import get_logger
from kns.model.errors import RefusedError, UnavailableError, clip
from kns.ports import SignInProvider
from kns.service.errors import TooManyRequestsError, WrongCredentialsError
from kns.service.identity import Identity, verify_key, verify_token
from kns.service.ports import ServicePorts
from kns.web.errors import ERRORS, FORGED, KEYCLOAK_BUSY, NO_KEYCLOAK
from kns.web.pages import redirect, render_page
from kns.web.session import start_session
from kns.web.site import PREFIX, Web, WebSite
from kns.web.visitor import Form, FromHere, Visited, Visitor, clear_session, read_target, set_session

_BACK = f"{PREFIX}/sign-in/keycloak/back"
_RANDOM_BYTES = 32
_REDEEMING = BoundedSemaphore(4)  # each may hold a thread for the 10 s that the realm has to answer
_WRONG = "The user name or the key is wrong. The key is the API key of your account, not the password of the portal."
_REALM_FAILED = "The sign-in by Keycloak did not work. Try again, or use your API key."
_REALM_UNKNOWN = (
    "Keycloak knows you, but kns does not let you in: your account here is missing or not active, or the realm is not "
    "set up for this page. Ask your administrator."
)
_REALM_DENIED = "Keycloak says that the sign-in was refused. Try again, or use your API key."
_DENIED = "access_denied"  # RFC 6749, 4.1.2.1: the user refused, or the realm does

log = get_logger(__name__)
routes = Routes(ERRORS)


@routes.add(Route("sign-in", "The form to sign in.", methods=GET))
def show_sign_in(request: Request, site: Web, visitor: Visited) -> Response:
    target = read_target(request.query_params.get("to"))
    if visitor.identity is not None:
        return redirect(target)
    notice = "Your session has ended. Sign in again to go on." if "ended" in request.query_params else ""
    return _render(request, site, visitor, target=target, notice=notice)


@routes.add(Route("sign-in/key", "Sign in with an API key.", methods=POST))
def sign_in(request: Request, ports: Ports, sender: Sent, site: Web, visitor: Visited, form: Form) -> Response:
    username, target = form.text("username").strip(), read_target(form.text("to"))
    problem = ""
    try:
        identity = verify_key(ports, username, form.text("apikey").strip(), address=sender.address)
    except WrongCredentialsError:
        problem, status = _WRONG, 401
    except TooManyRequestsError as error:
        problem, status = f"Too many wrong keys. Wait {error.retry_after_s:.0f} seconds, then try again.", 429
    if problem:
        return _render(request, site, visitor, target=target, problem=problem, username=username, status=status)
    return _enter(request, site, visitor, identity, target)


def _enter(request: Request, site: WebSite, visitor: Visitor, identity: Identity, target: str) -> Response:
    """A new session, so that one that somebody else knows is never the session of a user."""
    answer = redirect(target)
    set_session(answer, request, site, visitor.signer, visitor.signer.sign_in(identity))
    return answer


def _render(
    request: Request,
    site: WebSite,
    visitor: Visitor,
    *,
    target: str,
    notice: str = "",
    problem: str = "",
    username: str = "",
    status: int = 200,
) -> Response:
    page = render_page(
        "sign_in.html",
        title="Sign in",
        form_token=visitor.session.form_token,
        status=status,
        target=target,
        notice=notice,
        problem=problem,
        username=username,
        key_refused=bool(problem) and request.method == "POST",
        leave=_build_leave_url(site) if problem == _REALM_UNKNOWN else None,
        keycloak=f"{PREFIX}/sign-in/keycloak?{urlencode({'to': target})}" if site.provider and site.url else None,
    )
    if not visitor.is_known:
        set_session(page, request, site, visitor.signer, visitor.session)
    return page


@routes.add(Route("sign-in/keycloak", "Go to the realm to sign in.", methods=GET))
def go_to_realm(request: Request, site: Web, visitor: Visited) -> Response:
    if site.provider is None or site.url is None:
        raise HttpError(NO_KEYCLOAK)
    if visitor.identity is not None:  # a link of another site must not replace the session by an empty one
        return redirect(read_target(request.query_params.get("to")))
    pending = {
        "state": secrets.token_urlsafe(_RANDOM_BYTES),
        "verifier": secrets.token_urlsafe(_RANDOM_BYTES),
        "to": read_target(request.query_params.get("to")),
    }
    url = site.provider.build_url(
        redirect_url=f"{site.url}{_BACK}", state=pending["state"], verifier=pending["verifier"]
    )
    answer = redirect(url)
    set_session(answer, request, site, visitor.signer, start_session(pending=pending))
    return answer


@routes.add(Route("sign-in/keycloak/back", "The realm leads the browser back here.", methods=GET))
def come_back(request: Request, ports: Ports, sender: Sent, site: Web, visitor: Visited) -> Response:
    """
    The state is in the cookie of the browser that began, so nobody can send a victim here with a code of their own. The
    token is checked like any token that a client sends to the API. The realm also leads the browser here, without any
    parameter, after it has ended its own session.
    """
    if site.provider is None or site.url is None:
        raise HttpError(NO_KEYCLOAK)
    pending, query = visitor.session.pending or {}, request.query_params
    target, code = read_target(pending.get("to")), query.get("code", "")
    if visitor.identity is not None or not query:
        return redirect(target if visitor.identity is not None else f"{PREFIX}/sign-in")
    if not pending or not hmac.compare_digest(query.get("state", "").encode(), pending["state"].encode()):
        return _render(request, site, visitor, target=target, problem=_REALM_FAILED, status=401)
    if not code:
        problem = _REALM_DENIED if query.get("error") == _DENIED else _REALM_FAILED
        return _render(request, site, visitor, target=target, problem=problem, status=401)
    if not _REDEEMING.acquire(blocking=False):
        raise HttpError(KEYCLOAK_BUSY)
    try:
        identity = _redeem(
            ports,
            site.provider,
            code=code,
            redirect_url=f"{site.url}{_BACK}",
            verifier=pending["verifier"],
            address=sender.address,
        )
    except WrongCredentialsError as error:
        log.info("web_sign_in_refused", reason=str(error))
        problem = _REALM_UNKNOWN
    except (RefusedError, UnavailableError) as error:
        log.warning("web_sign_in_failed", error=clip(str(error)))
        problem = _REALM_FAILED
    else:
        return _enter(request, site, visitor, identity, target)
    finally:
        _REDEEMING.release()
    page = _render(request, site, visitor, target=target, problem=problem, status=401)
    set_session(page, request, site, visitor.signer, replace(visitor.session, pending=None))  # a code works only once
    return page


def _redeem(
    ports: ServicePorts, provider: SignInProvider, *, code: str, redirect_url: str, verifier: str, address: str
) -> Identity:
    """
    The user who signed in in the realm.

    A wrong code counts as a failed login from that address. It counts before the realm is asked, because it may take
    long to answer, and is given back if nobody has guessed.

    Raises:
        TooManyRequestsError, WrongCredentialsError.
        RefusedError, UnavailableError: as `SignInProvider.redeem`.
    """
    failures, guesser = ports.limits.failed_logins, ("page", "keycloak", address)  # three parts: no key of `verify_key`
    wait_s = failures.take(*guesser)
    if wait_s > 0:
        raise TooManyRequestsError(wait_s)
    try:
        token = provider.redeem(code, redirect_url=redirect_url, verifier=verifier)
    except UnavailableError:
        failures.give_back(*guesser)
        raise
    identity = verify_token(ports, token)
    if not identity.may_read:
        raise WrongCredentialsError("the account is not active")
    failures.give_back(*guesser)
    return identity


def _build_leave_url(site: WebSite) -> str | None:
    """Where a browser ends its session in the realm. Without it the next sign-in needs no password, as anybody."""
    if site.provider is None or site.url is None:
        return None
    return site.provider.build_sign_out_url(redirect_url=f"{site.url}{_BACK}")


@routes.add(Route("sign-out", "End the session.", methods=POST))
def sign_out(request: Request, site: Web, visitor: Visited, sent: FromHere) -> Response:
    """A session that has ended already can be left without the token of its forms."""
    if visitor.identity is not None and not sent.is_current:
        raise HttpError(FORGED)
    leave = _build_leave_url(site) if visitor.session.claims is not None else None
    page = render_page("signed_out.html", title="Signed out", leave=leave)
    clear_session(page, request, site)
    return page
