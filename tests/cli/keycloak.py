"""
A Keycloak realm as far as the device flow and refresh tokens go. Like the real one it counts polls: one that comes
before the interval is over gets `slow_down`, whatever the client has been told before.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx

from tests.fakes.stores import FakeClock
from tests.tokens import a_token

ISSUER = "https://kc.example.org/realms/lab"
CLIENT = "kns-cli"
TOKEN_S, CODE_S, INTERVAL_S = 300, 600, 5


@dataclass
class FakeKeycloak(httpx.BaseTransport):
    """`approve` and `deny` are what the user does in the browser."""

    clock: FakeClock
    allows_device_flow: bool = True
    allows_offline: bool = True
    rotates: bool = False  # the realm's "Revoke Refresh Token": each one can be used once
    issuer: str = ISSUER
    claims: dict[str, Any] = field(default_factory=lambda: {"azp": CLIENT, "aud": "jarvice"})
    unreachable: int = 0  # next requests without an answer
    failing: int = 0  # next polls with status 503
    state: str = "pending"
    ended: bool = False  # the session in the realm
    seen: list[str] = field(default_factory=list)
    _began: float = 0.0
    _polled: float | None = None
    _valid: set[str] = field(default_factory=set)
    _issued: int = 0

    def approve(self) -> None:
        self.state = "approved"

    def deny(self) -> None:
        self.state = "denied"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.unreachable:
            self.unreachable -= 1
            raise httpx.ConnectError("connection refused")
        path = request.url.path.removeprefix("/realms/lab")
        form = dict(parse_qsl(request.read().decode()))
        self.seen.append(f"{request.method} {path} {form.get('grant_type', '')}".strip())
        match request.method, path:
            case "GET", "/.well-known/openid-configuration":
                return self._describe()
            case "POST", "/protocol/openid-connect/auth/device":
                return self._begin(form)
            case "POST", "/protocol/openid-connect/token":
                return self._give(form)
            case "POST", "/protocol/openid-connect/revoke":
                return self._revoke(form)
        return httpx.Response(404, text="<html>")

    def _describe(self) -> httpx.Response:
        base = f"{ISSUER}/protocol/openid-connect"
        found = {
            "issuer": self.issuer,
            "token_endpoint": f"{base}/token",
            "revocation_endpoint": f"{base}/revoke",
            "device_authorization_endpoint": f"{base}/auth/device",
        }
        return httpx.Response(200, json=found)

    def _begin(self, form: dict[str, str]) -> httpx.Response:
        if form.get("client_id") != CLIENT:
            return _refuse("invalid_client", "Invalid client or Invalid client credentials", status=401)
        if not self.allows_device_flow:
            return _refuse("unauthorized_client", "Client is not allowed to initiate OAuth 2.0 Device Authorization")
        if "offline_access" in form["scope"] and not self.allows_offline:
            return _refuse("invalid_scope", "Invalid scopes: openid offline_access")
        self._began, self._polled, self.state = self.clock.monotonic(), None, "pending"
        return httpx.Response(
            200,
            json={
                "device_code": "device-secret",
                "user_code": "ABCD-EFGH",
                "verification_uri": f"{ISSUER}/device",
                "verification_uri_complete": f"{ISSUER}/device?user_code=ABCD-EFGH",
                "expires_in": CODE_S,
                "interval": INTERVAL_S,
            },
        )

    def _give(self, form: dict[str, str]) -> httpx.Response:
        if self.failing:
            self.failing -= 1
            return httpx.Response(503, text="upstream connect error")
        if form.get("client_id") != CLIENT:
            return _refuse("invalid_client", "Invalid client or Invalid client credentials", status=401)
        if form["grant_type"] == "refresh_token":
            return self._renew(form["refresh_token"])
        if form.get("device_code") != "device-secret" or self.state == "used":
            return _refuse("invalid_grant", "Device code not valid")
        now = self.clock.monotonic()
        if now >= self._began + CODE_S:
            return _refuse("expired_token", "Device code is expired")
        if self._polled is not None and now < self._polled + INTERVAL_S:
            return _refuse("slow_down", "Slow down")
        self._polled = now
        if self.state == "denied":
            return _refuse("access_denied", "The end user denied the authorization request")
        if self.state == "pending":
            return _refuse("authorization_pending", "The authorization request is still pending")
        self.state = "used"
        return self._issue()

    def _renew(self, token: str) -> httpx.Response:
        if self.ended or token not in self._valid:
            return _refuse("invalid_grant", "Token is not active")
        if self.rotates:
            self._valid.remove(token)
        return self._issue()

    def _revoke(self, form: dict[str, str]) -> httpx.Response:
        """A token that it does not know is revoked already (RFC 7009, 2.2)."""
        if form.get("client_id") != CLIENT:
            return _refuse("invalid_client", "Invalid client or Invalid client credentials", status=401)
        self._valid.discard(form["token"])
        return httpx.Response(200)

    def _issue(self) -> httpx.Response:
        self._issued += 1
        refresh = f"refresh-{self._issued}"
        self._valid.add(refresh)
        token = a_token(jti=str(self._issued), **self.claims)
        answer = {"access_token": token, "expires_in": TOKEN_S, "refresh_token": refresh, "refresh_expires_in": 1800}
        return httpx.Response(200, json={**answer, "token_type": "Bearer", "scope": "openid"})


def _refuse(error: str, description: str, *, status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"error": error, "error_description": description})
