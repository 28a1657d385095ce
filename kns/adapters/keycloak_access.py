"""
What the clients of kns in a Keycloak realm have in common: the way to the realm, and words for the library's errors.

python-keycloak takes proxies, certificates and passwords from the environment of the process. Here it does not, and it
repeats no request.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keycloak import KeycloakOpenID
from keycloak.connection import ConnectionManager
from keycloak.exceptions import KeycloakError
from requests.utils import should_bypass_proxies

from kns.model.errors import clip
from kns.model.site import Proxies


@dataclass(frozen=True, slots=True)
class KeycloakAccess:
    """
    The realm, and a client of kns in it; a public client has no secret.

    `url` includes `/auth` if the server uses it. `ca_bundle` is a file of certificate authorities; None means those of
    Python's `certifi`.
    """

    url: str
    realm: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    ca_bundle: Path | None = None
    proxies: Proxies = field(default_factory=Proxies)

    @property
    def root(self) -> str:
        """The library joins paths like a browser: without the slash it drops the path of the address."""
        return f"{self.url.rstrip('/')}/"


def open_client(access: KeycloakAccess, *, timeout_s: int) -> KeycloakOpenID:
    """The library's client for tokens. `timeout_s` is that of each request."""
    openid = KeycloakOpenID(
        server_url=access.root,
        realm_name=access.realm,
        client_id=access.client_id,
        client_secret_key=access.client_secret,
        timeout=timeout_s,
        max_retries=0,
    )
    isolate(openid.connection, access)
    return openid


def isolate(connection: ConnectionManager, access: KeycloakAccess) -> None:
    """Take proxies, certificates and passwords from the settings and not from the environment of the process."""
    connection._s.trust_env = False
    connection._s.proxies.update(_choose_proxy(access))
    # Not in the constructor, which passes it to an asynchronous client too, where a path is deprecated.
    connection.verify = str(access.ca_bundle) if access.ca_bundle else True


def _choose_proxy(access: KeycloakAccess) -> dict[str, str]:
    proxies = access.proxies
    given = {"http": proxies.http, "https": proxies.https}
    if should_bypass_proxies(access.url, no_proxy=proxies.no_proxy or ""):
        return {}
    return {scheme: proxy for scheme, proxy in given.items() if proxy}


def describe_root(error: BaseException) -> str:
    """The message of the innermost error. The outer ones contain memory addresses, which differ each time."""
    seen = error
    while (deeper := seen.__cause__ or seen.__context__) is not None:
        seen = deeper
    return clip(f"{type(seen).__name__}: {seen}")


def describe_error(error: KeycloakError) -> str:
    """Status and body of the answer; the body has the OAuth error code and its description."""
    body: Any = error.response_body or error.error_message
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    return clip(f"{error.response_code} {text}".strip(), 300)
