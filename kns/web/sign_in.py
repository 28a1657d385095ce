"""Sign in with an API key or in the Keycloak realm, and sign out."""

import hmac
import secrets
from urllib.parse import urlencode

from fastapi import Request, Response

from kns.http.dependencies import Ports, Sent
from kns.http.errors import HttpError
from kns.http.routes import GET, POST, Route, Routes
from kns.logs import get_logger
from kns.model.errors import RefusedError, UnavailableError, clip
from kns.service.errors import TooManyRequestsError, WrongCredentialsError
from kns.service.identity import Identity, verify_key, verify_token
from kns.web.errors import ERRORS, NO_KEYCLOAK
from kns.web.pages import redirect, render_page
from kns.web.session import start_session
from kns.web.site import PREFIX, Web, WebSite
from kns.web.visitor import Form, Visited, Visitor, clear_session, read_target, set_session

_BACK = f"{PREFIX}/sign-in/keycloak/back"
_RANDOM_BYTES = 32
_WRONG = "The user name or the key is wrong. The key is the API key of your account, not the password of the portal."
_REALM_FAILED = "The sign-in by Keycloak did not work. Try again, or use your API key."
_REALM_UNKNOWN = "Keycloak knows you, but your account here is missing or not active. Ask your administrator."

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
        keycloak=f"{PREFIX}/sign-in/keycloak?{urlencode({'to': target})}" if site.provider and site.url else None,
    )
    if not visitor.is_known:
        set_session(page, request, site, visitor.signer, visitor.session)
    return page


@routes.add(Route("sign-in/keycloak", "Go to the realm to sign in.", methods=GET))
def go_to_realm(request: Request, site: Web, visitor: Visited) -> Response:
    if site.provider is None or site.url is None:
        raise HttpError(NO_KEYCLOAK)
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
    token is checked like any token that a client sends to the API.
    """
    if site.provider is None or site.url is None:
        raise HttpError(NO_KEYCLOAK)
    pending, query = visitor.session.pending or {}, request.query_params
    target, code = read_target(pending.get("to")), query.get("code", "")
    problem, guesser = _REALM_FAILED, ("page", "keycloak", sender.address)  # three parts: no key of `verify_key`
    wait_s = ports.limits.failed_logins.wait_s(*guesser)
    if wait_s > 0:
        raise TooManyRequestsError(wait_s)
    if pending and code and hmac.compare_digest(query.get("state", "").encode(), pending["state"].encode()):
        try:
            token = site.provider.redeem(code, redirect_url=f"{site.url}{_BACK}", verifier=pending["verifier"])
            identity = verify_token(ports, token)
            if identity.may_read:
                return _enter(request, site, visitor, identity, target)
            problem = _REALM_UNKNOWN
        except WrongCredentialsError:
            problem = _REALM_UNKNOWN
        except (RefusedError, UnavailableError) as error:
            log.warning("web_sign_in_failed", error=clip(str(error)))
    ports.limits.failed_logins.take(*guesser)
    return _render(request, site, visitor, target=target, problem=problem, status=401)


@routes.add(Route("sign-out", "End the session.", methods=POST))
def sign_out(request: Request, site: Web, _form: Form) -> Response:
    page = render_page("signed_out.html", title="Signed out")
    clear_session(page, request, site)
    return page
