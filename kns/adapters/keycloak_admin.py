"""
The jobs' OIDC clients in a Keycloak realm, through the admin REST API.

python-keycloak provides the token and the paths. Its retries of POST requests, its timeout of a minute and its use of
proxies and passwords from the environment are turned off. All workers share one connection, with one call at a time, so
a server that hangs blocks one worker. After a failure, calls fail without a request for a few seconds.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from keycloak import KeycloakAdmin, KeycloakOpenID, KeycloakOpenIDConnection
from keycloak.exceptions import (
    KeycloakConnectionError,
    KeycloakError,
    KeycloakGetError,
    raise_error_from_response,
)
from keycloak.urls_patterns import URL_ADMIN_CLIENTS

from kns.adapters.keycloak_access import KeycloakAccess, describe_error, describe_root, isolate, open_client
from kns.model.errors import (
    AlreadyExistsError,
    ForbiddenError,
    KnsError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from kns.ports import Clock, Object

TIMEOUT_S = 10
CLIENT_PAGE = 100
_TURN_S = 2.0  # wait for the call before this one, which normally takes milliseconds
_PAUSE_S = 5.0  # time without requests after a call without an answer

ResultT = TypeVar("ResultT")


class KeycloakClients:
    """Implements `ports.IdentityProvider`."""

    def __init__(self, access: KeycloakAccess, *, clock: Clock, may_work: Callable[[], bool] = lambda: True) -> None:
        """
        `may_work` is checked after the waits for the turn and the token, because the leader may lose its Lease
        meanwhile.
        """
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
        except NotFoundError:  # deleted between the two calls
            return None

    def list_clients(self, prefix: str) -> Sequence[Object]:
        """
        List clients by name, in pages. Keycloak matches parts of names, and attributes only if it is configured to.
        """
        what = f"list clients {prefix}*"
        found: dict[str, Object] = {}
        while True:
            known = len(found)
            page = self._call(what, partial(self._read_page, prefix, known))
            found |= {client["clientId"]: client for client in page}
            if len(page) < CLIENT_PAGE:
                return [client for name, client in found.items() if name.startswith(prefix)]
            if len(found) == known:
                raise UnavailableError(f"{what} in Keycloak realm {self._access.realm}: a page repeats those before it")

    def _read_page(self, prefix: str, first: int) -> list[Object]:
        # The library cannot filter the list.
        path = URL_ADMIN_CLIENTS.format(**{"realm-name": self._access.realm})
        query = {"clientId": prefix, "search": "true", "first": first, "max": CLIENT_PAGE}
        page: Any = raise_error_from_response(self._connection.raw_get(path, **query), KeycloakGetError)
        return [{**client, "clientId": str(client["clientId"])} for client in page]

    def create_client(self, client: Object) -> None:
        # With skip_exists=True, the library fails with a KeyError if another create request is faster.
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
            raise UnavailableError(f"{what}: an earlier call has had no answer yet")
        try:
            if self._clock.monotonic() < self._paused_until:
                raise UnavailableError(self._last_failure)
            self._admit()
            if not self._may_work():
                raise UnavailableError(f"{what}: this process does not lead any more")
            return call()
        except KeycloakConnectionError as error:
            raise self._pause(f"{what}: no answer ({describe_root(error)})") from error
        except KeycloakError as error:
            raise self._translate(what, error) from error
        except (TypeError, KeyError, ValueError) as error:  # the library does not check the type of an answer
            raise self._pause(f"{what}: the answer is not from Keycloak; check JARVICE_KNS_KEYCLOAK_URL") from error
        finally:
            self._turn.release()

    def _admit(self) -> None:
        """Get a token before the call, so that its errors are distinct from those of the call."""
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
                    f"Keycloak at {access.url} has no realm {access.realm}; check JARVICE_KNS_KEYCLOAK_REALM, and add "
                    "/auth to JARVICE_KNS_KEYCLOAK_URL if the server uses it"
                ) from error
            raise UnauthorizedError(
                f"Keycloak at {access.url} refuses client {access.client_id} in realm {access.realm} "
                f"({describe_error(error)}); check JARVICE_KNS_KEYCLOAK_CLIENT_ID and "
                "JARVICE_KNS_KEYCLOAK_CLIENT_SECRET, and that the client has client authentication and a service "
                "account"
            ) from error

    def _pause(self, failure: str) -> UnavailableError:
        self._paused_until = self._clock.monotonic() + _PAUSE_S
        self._last_failure = failure
        return UnavailableError(failure)

    def _translate(self, what: str, error: KeycloakError) -> KnsError:
        status, words = error.response_code or 0, describe_error(error)
        access = self._access
        if status == 401:
            self._connection.drop_token()
            return UnauthorizedError(f"{what}: {words}; the token of kns was refused, check the realm and its keys")
        if status == 403:
            self._connection.drop_token()  # a role that is assigned now appears only in a new token
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
    """
    The library's connection with one request per call. It contains a second connection, configured in the same way.
    """

    def __init__(self, access: KeycloakAccess) -> None:
        self._openid = open_client(access, timeout_s=TIMEOUT_S)
        super().__init__(
            server_url=access.root,
            grant_type="client_credentials",
            realm_name=access.realm,
            client_id=access.client_id,
            client_secret_key=access.client_secret,
            timeout=TIMEOUT_S,
            max_retries=0,
        )
        isolate(self, access)

    @property
    def keycloak_openid(self) -> KeycloakOpenID:
        """The library would create its own object here, which retries requests."""
        return self._openid

    def ensure_token(self) -> None:
        self._refresh_if_required()

    def drop_token(self) -> None:
        self.token = None
