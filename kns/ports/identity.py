"""Who somebody is: the realm's clients of jobs, its tokens, and the sign-in to the page."""

from collections.abc import Sequence
from typing import Protocol

from kns.model.submit.token_claims import TokenClaims
from kns.ports.cluster import Object


class IdentityProvider(Protocol):
    """
    The realm that contains the jobs' OIDC clients. A client is a Keycloak `ClientRepresentation` as decoded JSON.

    Every method may raise `UnavailableError`, `UnauthorizedError` (kns's credentials or the realm are wrong) and
    `ForbiddenError` (the credentials lack a role). Repeated tries give the same error text.
    """

    def find_client(self, client_id: str) -> Object | None:
        """The client with this `clientId`, including its `secret`; None if absent."""
        ...

    def list_clients(self, prefix: str) -> Sequence[Object]:
        """All clients whose `clientId` starts with `prefix`."""
        ...

    def create_client(self, client: Object) -> None:
        """
        Raises:
            AlreadyExistsError: a client with its `clientId` exists.
            RefusedError: the server refused the client.
        """
        ...

    def update_client(self, key: str, client: Object) -> None:
        """
        Set the keys of `client` in the client whose `id` is `key`. Other keys keep their values. If there is no such
        client, nothing happens.

        Raises:
            RefusedError: as above.
        """
        ...

    def delete_client(self, key: str) -> None:
        """Delete the client whose `id` is `key`. An absent client is a success."""
        ...


class Bearer(Protocol):
    def verify(self, token: str) -> TokenClaims:
        """
        The claims of a token.

        Raises:
            TokenError: the realm did not sign it, it is for another audience, or it is not valid at this time.
        """
        ...


class SessionKeys(Protocol):
    """The keys that sign the sessions of the page. All replicas have the same ones."""

    def read(self) -> tuple[str, ...]:
        """
        The accepted keys; the last one signs.

        Raises:
            UnavailableError: the host cluster did not answer.
        """
        ...


class SignInProvider(Protocol):
    """The realm in which people sign in to the page: the authorization code flow of OAuth 2 with PKCE."""

    def build_url(self, *, redirect_url: str, state: str, verifier: str) -> str:
        """The realm's page to which a browser goes first. It comes back to `redirect_url` with `state` and a code."""
        ...

    def build_sign_out_url(self, *, redirect_url: str) -> str:
        """The realm's page that ends the browser's session in the realm, and then leads back to `redirect_url`."""
        ...

    def redeem(self, code: str, *, redirect_url: str, verifier: str) -> str:
        """
        The access token for a code.

        Raises:
            RefusedError: the realm does not accept the code.
            UnavailableError: the realm does not answer.
        """
        ...
