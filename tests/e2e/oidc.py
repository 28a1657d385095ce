"""A person at Keycloak's login page, and Keycloak's administrator, both over plain HTTP."""

import html
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from kns.model.submit.token_claims import AUDIENCE
from tests.e2e.waiting import PATIENCE

_FORM = re.compile(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"')
TIMEOUT_S = 30.0 * PATIENCE
AUDIENCE_MAPPER = {
    "name": "audience of kns",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-audience-mapper",
    "config": {"included.custom.audience": AUDIENCE, "access.token.claim": "true"},
}


@dataclass(frozen=True, slots=True)
class Login:
    """What an app knows of its client, and where Keycloak sends its users after the login."""

    url: str
    realm: str
    client_id: str
    client_secret: str
    redirect_uri: str

    @property
    def endpoint(self) -> str:
        return f"{self.url}/realms/{self.realm}/protocol/openid-connect"


def log_in(login: Login, username: str, password: str) -> dict[str, Any]:
    """The user's own data as the app would read it after a login: `userinfo`."""
    token = obtain_token(login, username, password)
    who = httpx.get(
        f"{login.endpoint}/userinfo",
        headers={"Authorization": f"Bearer {token}"},
        timeout=TIMEOUT_S,
        trust_env=False,
    )
    assert who.status_code == 200, who.text
    return dict(who.json())


def obtain_token(login: Login, username: str, password: str) -> str:
    """
    The authorization-code flow from the first redirect to the app's access token.

    Cookies are handled by hand: Keycloak marks them secure; browsers accept that at a loopback address, httpx does not.
    """
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as http:
        page = http.get(f"{login.endpoint}/auth", params=_ask(login))
        assert page.status_code == 200, f"no login page: {page.status_code} {_text_of(page)}"
        form = _FORM.search(page.text)
        assert form is not None, _text_of(page)
        cookies = "; ".join(line.partition(";")[0] for line in page.headers.get_list("set-cookie"))
        answer = http.post(
            html.unescape(form[1]),
            data={"username": username, "password": password, "credentialId": ""},
            headers={"Cookie": cookies},
        )
        assert answer.status_code == 302, f"not logged in: {answer.status_code} {_text_of(answer)}"
        back = answer.headers["location"]
        assert back.startswith(f"{login.redirect_uri}?"), back
        query = parse_qs(urlsplit(back).query)
        assert query["state"] == ["state-of-test"]
        tokens = _redeem(http, login, query["code"][0])
        assert tokens.status_code == 200, tokens.text
        return str(tokens.json()["access_token"])


def obtain_token_by_password(url: str, realm: str, client_id: str, username: str, password: str) -> str:
    """An access token of a public client that takes a user's password."""
    answer = httpx.post(
        f"{url}/realms/{realm}/protocol/openid-connect/token",
        data={"grant_type": "password", "client_id": client_id, "username": username, "password": password},
        timeout=TIMEOUT_S,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def ask_login_page(login: Login) -> httpx.Response:
    """Only the first step: Keycloak's answer to an app that sends somebody to log in."""
    return httpx.get(f"{login.endpoint}/auth", params=_ask(login), timeout=TIMEOUT_S, trust_env=False)


def redeem_nothing(login: Login) -> dict[str, Any]:
    """Redeem a code that does not exist: `invalid_grant` shows that the client's id and secret are right."""
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as http:
        return dict(_redeem(http, login, "no-such-code").json())


def _ask(login: Login) -> dict[str, str]:
    return {
        "client_id": login.client_id,
        "redirect_uri": login.redirect_uri,
        "response_type": "code",
        "scope": "openid",
        "state": "state-of-test",
    }


def _redeem(http: httpx.Client, login: Login, code: str) -> httpx.Response:
    return http.post(
        f"{login.endpoint}/token",
        data={"grant_type": "authorization_code", "code": code, "redirect_uri": login.redirect_uri},
        auth=(login.client_id, login.client_secret),
    )


def _text_of(page: httpx.Response) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())[:400]


class RealmAdmin:
    """The realm as its administrator (of realm `master`) manages it."""

    def __init__(self, url: str, realm: str, *, password: str, username: str = "admin") -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self._realm = realm
        self._credentials = {"username": username, "password": password}

    def close(self) -> None:
        self._http.close()

    def find_client(self, client_id: str) -> dict[str, Any] | None:
        """A client by its `clientId`."""
        found = self._send("GET", "clients", params={"clientId": client_id}).json()
        return dict(found[0]) if found else None

    def add_client(self, client_id: str, **attributes: str) -> None:
        """Create a client that nobody can log in with."""
        self._send("POST", "clients", json={"clientId": client_id, "enabled": False, "attributes": attributes})

    def delete_client(self, key: str) -> None:
        """Delete a client by its `id`."""
        self._send("DELETE", f"clients/{key}")

    def ensure_user(self, username: str, password: str) -> None:
        """Create a user who can log in at once: the profile is complete, the password is not temporary."""
        if self._send("GET", "users", params={"username": username, "exact": "true"}).json():
            return
        self._send(
            "POST",
            "users",
            json={
                "username": username,
                "enabled": True,
                "email": f"{username}@example.org",
                "emailVerified": True,
                "firstName": "Ana",
                "lastName": "Example",
                "credentials": [{"type": "password", "value": password, "temporary": False}],
            },
        )

    def ensure_realm(self, *, address: str) -> None:
        """Create the realm, or change its address: browsers and programs reach it there, and its tokens name it."""
        self._send("POST", "", json={"realm": self._realm, "enabled": True}, of_realm=False, exists=True)
        self._send("PUT", "", json={"attributes": {"frontendUrl": address}})

    def sign_with(self, private_key: str) -> None:
        """Sign tokens with this key (PEM) from now on. Its public key may be in a service's settings already."""
        name, kind = "key-of-test", "org.keycloak.keys.KeyProvider"
        if self._send("GET", "components", params={"name": name, "type": kind}).json():
            return
        config = {"priority": ["200"], "privateKey": [private_key], "algorithm": ["RS256"]}
        self._send(
            "POST", "components", json={"name": name, "providerId": "rsa", "providerType": kind, "config": config}
        )

    def ensure_client(self, client_id: str, **fields: Any) -> None:
        """Create a client (`ClientRepresentation`), or change the one that exists."""
        found, client = self.find_client(client_id), {"clientId": client_id, **fields}
        if found is None:
            self._send("POST", "clients", json=client)
        else:
            self._send("PUT", f"clients/{found['id']}", json={"id": found["id"], **client})

    def revoke_consents(self, username: str) -> None:
        """Forget what a user has granted, so that the realm asks again."""
        user = self._send("GET", "users", params={"username": username, "exact": "true"}).json()[0]["id"]
        for consent in self._send("GET", f"users/{user}/consents").json():
            self._send("DELETE", f"users/{user}/consents/{consent['clientId']}")

    def make_realm_admin(self, username: str) -> None:
        """Give a user the role `realm-admin`: all of the realm's Admin API."""
        user = self._send("GET", "users", params={"username": username, "exact": "true"}).json()[0]["id"]
        management = self._find_key("realm-management")
        role = self._send("GET", f"clients/{management}/roles/realm-admin").json()
        self._send("POST", f"users/{user}/role-mappings/clients/{management}", json=[role])

    def ensure_portal_client(self, client_id: str) -> None:
        """Create a portal's public client: Keycloak's defaults, full scope included, and kns's audience `jarvice`."""
        if self.find_client(client_id) is None:
            client = {"clientId": client_id, "publicClient": True, "directAccessGrantsEnabled": True}
            self._send("POST", "clients", json={**client, "protocolMappers": [AUDIENCE_MAPPER]})

    def read_public_key(self) -> str:
        """The key that the realm signs tokens with, PEM."""
        answer = self._http.get(f"/realms/{self._realm}")
        assert answer.status_code == 200, answer.text
        return f"-----BEGIN PUBLIC KEY-----\n{answer.json()['public_key']}\n-----END PUBLIC KEY-----\n"

    def list_users_as(self, token: str) -> int:
        """The status with which the realm's Admin API answers to this token."""
        path = f"/admin/realms/{self._realm}/users"
        return self._http.get(path, headers={"Authorization": f"Bearer {token}"}).status_code

    def list_roles(self, client_id: str) -> dict[str, list[str]]:
        """The roles of a client's service account, per client, without those that every user of the realm has."""
        account = self._find_account(client_id)
        mappings = self._send("GET", f"users/{account}/role-mappings").json().get("clientMappings", {})
        return {client: [role["name"] for role in found["mappings"]] for client, found in mappings.items()}

    def set_right(self, client_id: str, *, may_manage: bool) -> None:
        """Grant or revoke the one role of a client's service account."""
        account = self._find_account(client_id)
        management = self._find_key("realm-management")
        role = self._send("GET", f"clients/{management}/roles/manage-clients").json()
        path = f"users/{account}/role-mappings/clients/{management}"
        self._send("POST" if may_manage else "DELETE", path, json=[role])

    def limit_tokens(self, seconds: int) -> None:
        """Set how long an access token is valid. The roles in it stay effective that long after they were revoked."""
        self._send("PUT", "", json={"accessTokenLifespan": seconds})

    def _find_account(self, client_id: str) -> str:
        name = f"service-account-{client_id}"
        return str(self._send("GET", "users", params={"username": name, "exact": "true"}).json()[0]["id"])

    def _find_key(self, client_id: str) -> str:
        found = self.find_client(client_id)
        assert found is not None, f"no client {client_id} in realm {self._realm}"
        return str(found["id"])

    def _send(
        self, method: str, path: str, *, of_realm: bool = True, exists: bool = False, **options: Any
    ) -> httpx.Response:
        """
        Each call gets a token of its own: those of `admin-cli` are valid for a minute. `exists`: what is to be created
        may exist already.
        """
        answer = self._http.post(
            "/realms/master/protocol/openid-connect/token",
            data={"grant_type": "password", "client_id": "admin-cli", **self._credentials},
        )
        assert answer.status_code == 200, answer.text
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        realm = f"/{self._realm}/{path}" if of_realm else ""
        done = self._http.request(method, f"/admin/realms{realm}", headers=headers, **options)
        assert done.status_code < 300 or (exists and done.status_code == 409), (
            f"{method} {path}: {done.status_code} {done.text}"
        )
        return done
