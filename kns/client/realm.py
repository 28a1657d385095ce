"""
Sign-in of a program without a browser of its own, in a Keycloak realm: the device authorization grant (RFC 8628), by
oauthlib. The user opens a page anywhere, types a code, and signs in there; the program asks the realm until then.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from oauthlib.oauth2 import DeviceClient, OAuth2Error

from kns.client.authorities import choose_authorities
from kns.client.bounds import bound_answers
from kns.client.errors import ClientError, NoResponseError
from kns.client.proxies import checked_proxies
from kns.client.wire import is_loopback
from kns.model.errors import clip

TIMEOUT_S = 20.0
SCOPE = "openid"
OFFLINE_SCOPE = "openid offline_access"
_INTERVAL_S = (1.0, 60.0)  # bounds of what a realm may ask for
_DEFAULT_INTERVAL_S = 5.0  # RFC 8628, 3.2
_LONGEST_S = 1800.0  # for a person to sign in; Keycloak gives ten minutes
_SHORTEST_TOKEN_S = 10.0


class RealmError(ClientError):
    """The realm refused. `code` is its word for it, such as `authorization_pending` (RFC 6749, 5.2; RFC 8628, 3.5)."""

    def __init__(self, what: str, code: str, description: str = "") -> None:
        self.code = code
        super().__init__(f"{what}: {code}{f' ({clip(description)})' if description else ''}")


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What the user types where. `complete_url` has the code in it; None if the realm has no such address."""

    secret: str = field(repr=False)
    user_code: str
    url: str
    complete_url: str | None
    interval_s: float
    lifetime_s: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token until `expires_at` (seconds since the epoch), and the token that renews it."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    expires_at: float

    def to_json(self) -> str:
        return json.dumps({"access": self.access, "refresh": self.refresh, "expires_at": self.expires_at})

    @classmethod
    def from_json(cls, text: str) -> "Tokens":
        """
        Raises:
            ValueError: the text is something else.
        """
        try:
            data = json.loads(text)
            return cls(str(data["access"]), data["refresh"], float(data["expires_at"]))
        except (TypeError, KeyError) as error:
            raise ValueError(f"no tokens: {error}") from error


class Realm:
    """
    One realm, as a public client of it. `issuer` is its address, such as `https://kc.example.org/realms/lab`.

    Raises:
        ClientError: the issuer is not an address with TLS, which loopback does not need; or the authorities in
            SSL_CERT_FILE cannot be read, or the proxies of the environment cannot be used.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        *,
        now: Callable[[], float] = time.time,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._issuer, self._client_id, self._now = issuer.rstrip("/"), client_id, now
        _check_address(self._issuer, "the issuer")
        with checked_proxies():
            self._http = httpx.Client(
                timeout=TIMEOUT_S,
                trust_env=not is_loopback(self._issuer),
                verify=choose_authorities(self._issuer),
                transport=transport,
                **bound_answers(),
            )
        self._known: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def begin(self, scope: str = SCOPE) -> DeviceCode:
        """
        Raises:
            RealmError: the realm refuses the client.
            ClientError: the realm does not answer, or has no such sign-in.
        """
        what = f"sign in with {self._issuer}"
        answer = self._post(what, "device_authorization_endpoint", {"client_id": self._client_id, "scope": scope})
        found = self._decode(what, answer)
        try:
            url, complete = str(found["verification_uri"]), found.get("verification_uri_complete")
            code = DeviceCode(
                secret=str(found["device_code"]),
                user_code=str(found["user_code"]),
                url=url,
                complete_url=None if complete is None else str(complete),
                interval_s=limit_interval(float(found.get("interval") or _DEFAULT_INTERVAL_S)),
                lifetime_s=min(float(found["expires_in"]), _LONGEST_S),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ClientError(f"{what}: the answer is not that of a realm") from error
        for address in (url, *([code.complete_url] if code.complete_url else [])):
            _check_address(address, "the sign-in page")
        return code

    def redeem(self, code: DeviceCode) -> Tokens:
        """
        Raises:
            RealmError: `authorization_pending` and `slow_down` ask to try again later; others are final.
            NoResponseError: the realm does not answer.
        """
        body = DeviceClient(self._client_id).prepare_request_body(code.secret, scope="", include_client_id=True)
        return self._read_tokens(f"sign in with {self._issuer}", body)

    def renew(self, tokens: Tokens) -> Tokens:
        """
        Raises:
            RealmError: the session in the realm has ended.
            NoResponseError: the realm does not answer.
        """
        what = f"renew the sign-in with {self._issuer}"
        if tokens.refresh is None:
            raise RealmError(what, "invalid_grant", "the realm gave no refresh token")
        body = DeviceClient(self._client_id, refresh_token=tokens.refresh).prepare_refresh_body(
            refresh_token=tokens.refresh, client_id=self._client_id
        )
        found = self._read_tokens(what, body)
        return found if found.refresh is not None else Tokens(found.access, tokens.refresh, found.expires_at)

    def revoke(self, tokens: Tokens) -> None:
        """
        End the sign-in (RFC 7009): the realm renews these tokens no more. One that has ended already is a success.

        Raises:
            RealmError: the realm refuses.
            NoResponseError: the realm does not answer.
        """
        if tokens.refresh is None:
            return
        what = f"end the sign-in with {self._issuer}"
        body = {"client_id": self._client_id, "token": tokens.refresh, "token_type_hint": "refresh_token"}
        answer = self._post(what, "revocation_endpoint", body)
        if answer.status_code != httpx.codes.OK:
            raise RealmError(what, f"status {answer.status_code}")

    def _read_tokens(self, what: str, body: str) -> Tokens:
        answer = self._post(what, "token_endpoint", body)
        if answer.status_code >= 500:
            raise NoResponseError(what, ConnectionError(f"status {answer.status_code}"))
        try:
            found = DeviceClient(self._client_id).parse_request_body_response(answer.text)
            lifetime_s = max(_SHORTEST_TOKEN_S, float(found.get("expires_in") or 0))
            refresh = found.get("refresh_token")
            return Tokens(
                str(found["access_token"]), None if refresh is None else str(refresh), self._now() + lifetime_s
            )
        except OAuth2Error as error:
            raise RealmError(what, str(error.error), str(error.description or "")) from error
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ClientError(f"{what}: the answer is not that of a realm") from error

    def _post(self, what: str, endpoint: str, body: Any) -> httpx.Response:
        address = self._discover().get(endpoint)
        if not isinstance(address, str):
            raise ClientError(f"{what}: the realm has no {endpoint}; is it one of Keycloak?")
        _check_address(address, endpoint)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        options = {"content": body, "headers": headers} if isinstance(body, str) else {"data": body}
        return self._send(what, "POST", address, **options)

    def _discover(self) -> dict[str, Any]:
        if self._known is None:
            what, path = f"read the addresses of {self._issuer}", "/.well-known/openid-configuration"
            found = self._decode(what, self._send(what, "GET", f"{self._issuer}{path}"))
            if str(found.get("issuer")).rstrip("/") != self._issuer:
                raise ClientError(f"{what}: it calls itself {clip(str(found.get('issuer')))}; use that address")
            self._known = found
        return self._known

    def _send(self, what: str, method: str, address: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, address, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoResponseError(what, error) from error

    def _decode(self, what: str, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except (ValueError, RecursionError):
            found = None
        if answer.status_code >= 400 and isinstance(found, dict) and isinstance(found.get("error"), str):
            raise RealmError(what, clip(found["error"], 100), str(found.get("error_description") or ""))
        if answer.status_code != httpx.codes.OK or not isinstance(found, dict):
            raise ClientError(f"{what}: status {answer.status_code}; is that the address of a realm?")
        return found


def limit_interval(seconds: float) -> float:
    """
    >>> limit_interval(0), limit_interval(5.0), limit_interval(1e9)
    (1.0, 5.0, 60.0)
    """
    return min(max(seconds, _INTERVAL_S[0]), _INTERVAL_S[1])


def _check_address(url: str, what: str) -> None:
    """Tokens and passwords go there."""
    if url.startswith("https://") or (url.startswith("http://") and is_loopback(url)):
        return
    raise ClientError(f"{what} is {clip(url)}; it must begin with https://")
