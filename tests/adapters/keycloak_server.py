"""
A small Keycloak on 127.0.0.1: the token endpoint and the clients of one realm, answering as release 26 does.

It was held against the real server: statuses, bodies and what it adds to a client are copied from there.
"""

import base64
import hashlib
import itertools
import ssl
import threading
from collections.abc import Mapping
from typing import Any

from tests.adapters.faulty_server import Answer, FaultyServer, Seen

REALM, CLIENT_ID, CLIENT_SECRET = "jarvice", "kns", "s3cr3t-of-kns"


class KeycloakServer(FaultyServer):
    """
    `may_manage` is kns's right; `clients` are by their `id`; `prefix` stands before all paths, as `/auth` did. `codes`
    has for each code of a sign-in the address it is for, the S256 challenge, and the token that it gives.
    """

    def __init__(self, prefix: str = "", *, tls: ssl.SSLContext | None = None) -> None:
        self.clients: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, tuple[str, str, str]] = {}
        self.may_manage = True
        self.prefix = prefix
        self._keys = itertools.count(1)
        self._tokens: dict[str, bool] = {}  # token -> whether it may manage clients
        self._lock = threading.Lock()
        super().__init__(tls=tls)

    @property
    def url(self) -> str:
        return f"{super().url}{self.prefix}"

    def forget_tokens(self) -> None:
        """Change the keys, as after a restart."""
        self._tokens.clear()

    def answer(self, seen: Seen) -> Answer:
        clients = f"{self.prefix}/admin/realms/{REALM}/clients"
        with self._lock:
            if seen.path == f"{self.prefix}/realms/{REALM}/protocol/openid-connect/token":
                return self._answer_token(seen.body)
            if seen.path.endswith("/token") and seen.path.startswith(f"{self.prefix}/realms/"):
                return Answer(404, {"error": "Realm does not exist"})
            if not seen.path.startswith(clients):
                return Answer(404, {"error": "Unable to find matching target resource method"})
            token = seen.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in self._tokens:
                return Answer(401, {"error": "HTTP 401 Unauthorized"})
            if not self._tokens[token]:
                return Answer(403, {"error": "HTTP 403 Forbidden"})
            key = seen.path.removeprefix(clients).strip("/")
            return self._answer_object(seen, key) if key else self._answer_collection(seen)

    def _answer_token(self, form: Mapping[str, str]) -> Answer:
        if form.get("grant_type") == "authorization_code":
            return self._answer_code(form)
        if form.get("grant_type") != "client_credentials":
            return Answer(400, {"error": "unsupported_grant_type"})
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            error = "unauthorized_client" if form.get("client_id") == CLIENT_ID else "invalid_client"
            return Answer(401, {"error": error, "error_description": "Invalid client or Invalid client credentials"})
        token = f"token-{next(self._keys)}"
        self._tokens[token] = self.may_manage
        return Answer(200, {"access_token": token, "expires_in": 300, "refresh_expires_in": 0, "token_type": "Bearer"})

    def _answer_code(self, form: Mapping[str, str]) -> Answer:
        """A code is valid once, whether or not the rest of the request is right."""
        redirect_url, challenge, token = self.codes.pop(form.get("code", ""), ("", "", ""))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if not token:
            return _refuse_grant("Code not valid")
        if form.get("redirect_uri") != redirect_url:
            return _refuse_grant("Incorrect redirect_uri")
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != challenge:
            return _refuse_grant("PKCE verification failed: Code mismatch")
        return Answer(200, {"access_token": token, "expires_in": 300, "token_type": "Bearer"})

    def _answer_collection(self, seen: Seen) -> Answer:
        if seen.method == "GET":
            wanted, searches = seen.query.get("clientId"), seen.query.get("search") == "true"
            found = [
                c
                for c in self.clients.values()
                if wanted in (None, c["clientId"]) or (searches and wanted in c["clientId"])
            ]
            first, most = int(seen.query.get("first", 0)), int(seen.query.get("max", len(found)))
            return Answer(200, found[first : first + most])
        client_id = seen.body["clientId"]
        if any(client["clientId"] == client_id for client in self.clients.values()):
            return Answer(409, {"errorMessage": f"Client {client_id} already exists"})
        if refused := _refuse(seen.body):
            return refused
        key = f"key-{next(self._keys)}"
        attributes = {**seen.body.get("attributes", {}), "realm_client": "false"}
        self.clients[key] = {**seen.body, "id": key, "attributes": attributes}
        return Answer(201, b"", {"Location": f"{self.url}/admin/realms/{REALM}/clients/{key}"})

    def _answer_object(self, seen: Seen, key: str) -> Answer:
        found = self.clients.get(key)
        if found is None:
            return Answer(404, {"error": "Could not find client"})
        if seen.method == "GET":
            return Answer(200, found)
        if seen.method == "DELETE":
            del self.clients[key]
            return Answer(204, b"")
        if refused := _refuse(seen.body):
            return refused
        attributes = {**found["attributes"], **seen.body.get("attributes", {})}
        self.clients[key] = {**found, **seen.body, "attributes": attributes}
        return Answer(204, b"")


def _refuse_grant(description: str) -> Answer:
    return Answer(400, {"error": "invalid_grant", "error_description": description})


def _refuse(client: Mapping[str, Any]) -> Answer | None:
    if any(uri.startswith("javascript:") for uri in client.get("redirectUris", [])):
        return Answer(400, {"error": "invalid_input", "error_description": "A redirect URI uses an illegal scheme"})
    return None
