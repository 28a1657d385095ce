"""
The jobs' OIDC clients in a Keycloak realm, through the admin REST API.

python-keycloak brings the token and the paths. What it would do beyond one request is switched off: repeating POSTs,
waiting for a minute, taking proxies and passwords from the environment. One connection serves all workers, one call at
a time, so a server that hangs holds one of them and not all; for a moment after a failure nobody asks it at all.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from keycloak import KeycloakAdmin, KeycloakOpenID, KeycloakOpenIDConnection
from keycloak.connection import ConnectionManager
from keycloak.exceptions import (
    KeycloakConnectionError,
    KeycloakError,
    KeycloakGetError,
    raise_error_from_response,
)
from keycloak.urls_patterns import URL_ADMIN_CLIENTS
from requests.utils import should_bypass_proxies

from kns.model.errors import (
    AlreadyExistsError,
    ForbiddenError,
    KnsError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    clip,
)
from kns.model.site import Proxies
from kns.ports import Clock, Object

TIMEOUT_S = 10
CLIENT_PAGE = 100
_TURN_S = 2.0  # for the call before this one; with a server that answers it is milliseconds
_PAUSE_S = 5.0  # after a call without an answer

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class KeycloakAccess:
    """
    Where the realm is, and kns's own client in it.

    `url` includes `/auth` if the server has it, `ca_bundle` is a file of certificate authorities (None: those that
    come with Python's `certifi`).
    """

    url: str
    realm: str
    client_id: str
    client_secret: str = field(repr=False)
    ca_bundle: Path | None = None
    proxies: Proxies = field(default_factory=Proxies)


class KeycloakClients:
    """The port `IdentityProvider`."""

    def __init__(self, access: KeycloakAccess, *, clock: Clock, may_work: Callable[[], bool] = lambda: True) -> None:
        """`may_work` is asked after the waits for the turn and the token, which can outlast a lead."""
        self._access = access
        self._may_work = may_work
        self._clock = clock
        self._connection = _Connection(access)
        self._admin = KeycloakAdmin(connection=self._connection)
        self._turn = threading.Lock()
        self._paused_until = 0.0
        self._last_failure = ""

    def find_client(self, client_id: str) -> Object | None:
        def find() -> Object | None:
            key = self._admin.get_client_id(client_id)
            return None if key is None else dict(self._admin.get_client(key))

        try:
            return self._call(f"look up client {client_id}", find)
        except NotFoundError:  # gone between the two
            return None

    def list_clients(self, prefix: str) -> Sequence[Object]:
        """By name and in pages; Keycloak looks for a part of the name, and for attributes only if it is set up to."""
        found: list[Object] = []
        while True:
            page = self._call(f"list clients {prefix}*", partial(self._read_page, prefix, len(found)))
            found += page
            if len(page) < CLIENT_PAGE:
                return [client for client in found if client["clientId"].startswith(prefix)]

    def _read_page(self, prefix: str, first: int) -> list[Object]:
        # The library lists all clients or none.
        path = URL_ADMIN_CLIENTS.format(**{"realm-name": self._access.realm})
        query = {"clientId": prefix, "search": "true", "first": first, "max": CLIENT_PAGE}
        page: Any = raise_error_from_response(self._connection.raw_get(path, **query), KeycloakGetError)
        return [{**client, "clientId": str(client["clientId"])} for client in page]

    def create_client(self, client: Object) -> None:
        # Its own way of tolerating an existing client ends in a KeyError when another create wins the race.
        self._call(f"create client {client['clientId']}", lambda: self._admin.create_client(client, skip_exists=False))

    def update_client(self, key: str, client: Object) -> None:
        with suppress(NotFoundError):
            self._call(f"update client {client['clientId']}", lambda: self._admin.update_client(key, client))

    def delete_client(self, key: str) -> None:
        with suppress(NotFoundError):
            self._call(f"delete client with id {key}", lambda: self._admin.delete_client(key))

    def _call(self, what: str, call: Callable[[], ResultT]) -> ResultT:
        what = f"{what} in Keycloak realm {self._access.realm} at {self._access.url}"
        if not self._turn.acquire(timeout=_TURN_S):
            raise UnavailableError(f"{what}: another call has had no answer for a while")
        try:
            if self._clock.monotonic() < self._paused_until:
                raise UnavailableError(self._last_failure)
            self._admit()
            if not self._may_work():
                raise UnavailableError(f"{what}: this process does not lead any more")
            return call()
        except KeycloakConnectionError as error:
            raise self._pause(f"{what}: no answer ({_root_of(error)})") from error
        except KeycloakError as error:
            raise self._translate(what, error) from error
        except (TypeError, KeyError, ValueError) as error:  # the library takes each answer for what it expects
            raise self._pause(f"{what}: the answer is not Keycloak's; is JARVICE_KNS_KEYCLOAK_URL right?") from error
        finally:
            self._turn.release()

    def _admit(self) -> None:
        """A token first, so that its errors are told from those of the call."""
        try:
            self._connection.ensure_token()
        except KeycloakConnectionError:
            raise
        except KeycloakError as error:
            status = error.response_code or 0
            access = self._access
            if status >= 500 or status == 429:
                raise
            if status == 404:
                raise UnauthorizedError(
                    f"Keycloak at {access.url} has no realm {access.realm}; set JARVICE_KNS_KEYCLOAK_REALM, and give "
                    "JARVICE_KNS_KEYCLOAK_URL its /auth if the server has one"
                ) from error
            raise UnauthorizedError(
                f"Keycloak at {access.url} refuses kns's client {access.client_id} of realm {access.realm} "
                f"({_words_of(error)}); check JARVICE_KNS_KEYCLOAK_CLIENT_ID and JARVICE_KNS_KEYCLOAK_CLIENT_SECRET, "
                "and that the client has client authentication and a service account"
            ) from error

    def _pause(self, failure: str) -> UnavailableError:
        self._paused_until = self._clock.monotonic() + _PAUSE_S
        self._last_failure = failure
        return UnavailableError(failure)

    def _translate(self, what: str, error: KeycloakError) -> KnsError:
        status, words = error.response_code or 0, _words_of(error)
        access = self._access
        if status == 401:
            self._connection.drop_token()
            return UnauthorizedError(f"{what}: {words}; kns's token was not taken, check the realm and its keys")
        if status == 403:
            self._connection.drop_token()  # a right that is given now is in the next token
            return ForbiddenError(
                f"{what}: {words}; give the service account of client {access.client_id} the role manage-clients of "
                "client realm-management"
            )
        if status == 404:
            return NotFoundError(f"{what}: {words}")
        if status == 409:
            return AlreadyExistsError(f"{what}: {words}")
        if 400 <= status < 500 and status not in (408, 429):
            return RefusedError(f"{what}: {words}")
        return self._pause(f"{what}: {words}")


class _Connection(KeycloakOpenIDConnection):
    """The library's connection with one request per call; the two that it makes inside are both treated."""

    def __init__(self, access: KeycloakAccess) -> None:
        # The library joins paths to the address as a browser would: without the slash it drops what is behind the host.
        url = f"{access.url.rstrip('/')}/"
        self._openid = KeycloakOpenID(
            server_url=url,
            realm_name=access.realm,
            client_id=access.client_id,
            client_secret_key=access.client_secret,
            timeout=TIMEOUT_S,
            max_retries=0,
        )
        super().__init__(
            server_url=url,
            grant_type="client_credentials",
            realm_name=access.realm,
            client_id=access.client_id,
            client_secret_key=access.client_secret,
            timeout=TIMEOUT_S,
            max_retries=0,
        )
        for connection in (self, self._openid.connection):
            _close_off(connection, access)

    @property
    def keycloak_openid(self) -> KeycloakOpenID:
        """The library would make one of its own, which repeats what it sends."""
        return self._openid

    def ensure_token(self) -> None:
        self._refresh_if_required()

    def drop_token(self) -> None:
        self.token = None


def _close_off(connection: ConnectionManager, access: KeycloakAccess) -> None:
    """Proxies, certificates and passwords come from the settings, not from what the process's environment holds."""
    connection._s.trust_env = False
    connection._s.proxies.update(_choose_proxy(access))
    # Not to the constructor, which hands it to a second, asynchronous client as well, that deprecates a path.
    connection.verify = str(access.ca_bundle) if access.ca_bundle else True


def _choose_proxy(access: KeycloakAccess) -> dict[str, str]:
    proxies = access.proxies
    given = {"http": proxies.http, "https": proxies.https}
    if should_bypass_proxies(access.url, no_proxy=proxies.no_proxy or ""):
        return {}
    return {scheme: proxy for scheme, proxy in given.items() if proxy}


def _root_of(error: BaseException) -> str:
    """What the innermost library said; those around it add addresses of objects, which differ each time."""
    seen = error
    while (deeper := seen.__cause__ or seen.__context__) is not None:
        seen = deeper
    return clip(f"{type(seen).__name__}: {seen}")


def _words_of(error: KeycloakError) -> str:
    """Status and message, and the error's code and description as OAuth has them."""
    body: Any = error.response_body or error.error_message
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    return clip(f"{error.response_code} {text}".strip(), 300)
