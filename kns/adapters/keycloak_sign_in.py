"""
Sign-in to the page in the Keycloak realm: the authorization code flow with PKCE (RFC 7636), by python-keycloak.

The addresses are those of every Keycloak realm. They are not read from its discovery document, so that the way to the
realm needs no request.
"""

from typing import Any
from urllib.parse import quote, urlencode

from keycloak.exceptions import KeycloakConnectionError, KeycloakError
from keycloak.pkce_utils import generate_code_challenge

from kns.adapters.keycloak_access import KeycloakAccess, describe_error, describe_root, open_client
from kns.model.errors import RefusedError, UnavailableError

TIMEOUT_S = 10
_SCOPE = "openid"


class KeycloakSignIn:
    """Implements `ports.SignInProvider`. Each sign-in has a connection of its own, because they run in many threads."""

    def __init__(self, access: KeycloakAccess) -> None:
        self._access = access

    def build_url(self, *, redirect_url: str, state: str, verifier: str) -> str:
        challenge, method = generate_code_challenge(verifier)
        query = {
            "client_id": self._access.client_id,
            "response_type": "code",
            "scope": _SCOPE,
            "redirect_uri": redirect_url,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": method,
        }
        return f"{self._endpoint}/auth?{urlencode(query)}"

    def build_sign_out_url(self, *, redirect_url: str) -> str:
        """
        The logout of OpenID Connect, started by the client. Keycloak asks the user first, because kns does not keep the
        ID token that would prove who asks. Without addresses of their own for the logout, clients may use those of the
        sign-in.
        """
        query = {"client_id": self._access.client_id, "post_logout_redirect_uri": redirect_url}
        return f"{self._endpoint}/logout?{urlencode(query)}"

    @property
    def _endpoint(self) -> str:
        return f"{self._access.root}realms/{quote(self._access.realm, safe='')}/protocol/openid-connect"

    def redeem(self, code: str, *, redirect_url: str, verifier: str) -> str:
        access = self._access
        what = f"redeem a code of client {access.client_id} in Keycloak realm {access.realm} at {access.url}"
        try:
            answer: Any = open_client(access, timeout_s=TIMEOUT_S).token(
                grant_type="authorization_code", code=code, redirect_uri=redirect_url, code_verifier=verifier
            )
            token = answer["access_token"]
        except KeycloakConnectionError as error:
            raise UnavailableError(f"{what}: no answer ({describe_root(error)})") from error
        except KeycloakError as error:
            if (error.response_code or 0) >= 500:
                raise UnavailableError(f"{what}: {describe_error(error)}") from error
            raise RefusedError(f"{what}: {describe_error(error)}") from error
        except (TypeError, KeyError, ValueError) as error:  # the library does not check the type of an answer
            raise UnavailableError(
                f"{what}: the answer is not from Keycloak; check JARVICE_KNS_KEYCLOAK_URL"
            ) from error
        if not isinstance(token, str):
            raise UnavailableError(f"{what}: the answer has no access token")
        return token
