"""What the page needs beside the use cases: keys, addresses and limits. Routes find it in `app.state.web`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from kns.ports import SessionKeys, SignInProvider
from kns.service.overview import UsualDurations
from kns.web.live import LivePages

PREFIX = "/ui"
SESSION_S = 12 * 3600  # a working day. A session cannot be revoked one by one, so it does not last for weeks
# How long a browser keeps the cookie of somebody who signed in. If it dropped the cookie together with the session, the
# page could not tell who was signed in from who never was. What they typed would be lost, and nobody would say why.
COOKIE_S = SESSION_S + 7 * 86_400


@dataclass(frozen=True, slots=True)
class WebSite:
    """
    `url` is the address of kns as browsers have it, without a path, or None if it is not configured. `provider` is None
    on a site without sign-in by Keycloak.
    """

    keys: SessionKeys
    live: LivePages
    usual: UsualDurations
    url: str | None = None
    provider: SignInProvider | None = None


async def _get_site(request: Request) -> WebSite:
    site: WebSite = request.app.state.web
    return site


Web = Annotated[WebSite, Depends(_get_site)]
