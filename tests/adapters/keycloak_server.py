"""
A small Keycloak on 127.0.0.1: the token endpoint and the clients of one realm, answering as release 26 does.

It was held against the real server: statuses, bodies and what it adds to a client are copied from there. `script` puts
a fault before the next request that matches.
"""

import itertools
import json
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.adapters.api_server import Answer, Fault, Hang, LostAnswer, Reset, Seen

REALM, CLIENT_ID, CLIENT_SECRET = "jarvice", "kns", "s3cr3t-of-kns"


class KeycloakServer:
    """`may_manage` is kns's right; `clients` are by their `id`; `prefix` stands before all paths, as `/auth` did."""

    def __init__(self, prefix: str = "", *, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.clients: dict[str, dict[str, Any]] = {}
        self.may_manage = True
        self.prefix = prefix
        self.arrived = threading.Event()  # the first request was read
        self.closing = threading.Event()
        self._faults: list[tuple[str, str, Fault]] = []
        self._keys = itertools.count(1)
        self._tokens: dict[str, bool] = {}  # token -> whether it may manage clients
        self._lock = threading.Lock()
        self._http = _Http(self)
        self._scheme = "https" if tls else "http"
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}{self.prefix}"

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def script(self, method: str, path: str, *faults: Fault) -> None:
        """Script faults for the next requests with this method whose path ends with `path`, one each."""
        self._faults += [(method, path, fault) for fault in faults]

    def count(self, method: str, path: str = "") -> int:
        return sum(seen.method == method and seen.path.endswith(path) for seen in list(self.seen))

    def forget_tokens(self) -> None:
        """Change the keys, as after a restart."""
        self._tokens.clear()

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for index, (wanted, end, fault) in enumerate(self._faults):
                if wanted == method and path.endswith(end):
                    del self._faults[index]
                    return fault
        return None

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
        if form.get("grant_type") != "client_credentials":
            return Answer(400, {"error": "unsupported_grant_type"})
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            error = "unauthorized_client" if form.get("client_id") == CLIENT_ID else "invalid_client"
            return Answer(401, {"error": error, "error_description": "Invalid client or Invalid client credentials"})
        token = f"token-{next(self._keys)}"
        self._tokens[token] = self.may_manage
        return Answer(200, {"access_token": token, "expires_in": 300, "refresh_expires_in": 0, "token_type": "Bearer"})

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


def _refuse(client: Mapping[str, Any]) -> Answer | None:
    if any(uri.startswith("javascript:") for uri in client.get("redirectUris", [])):
        return Answer(400, {"error": "invalid_input", "error_description": "A redirect URI uses an illegal scheme"})
    return None


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, keycloak: KeycloakServer) -> None:
        self.keycloak = keycloak
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        keycloak, parts = self.server.keycloak, urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_form = "form" in self.headers.get("Content-Type", "")
        seen = Seen(
            self.command,
            parts.path,
            _flatten(parts.query),
            {k.lower(): v for k, v in self.headers.items()},
            _flatten(raw.decode()) if is_form else json.loads(raw) if raw else None,
        )
        keycloak.seen.append(seen)
        keycloak.arrived.set()
        fault = keycloak.take_fault(seen.method, seen.path)
        if isinstance(fault, Hang):
            keycloak.closing.wait()
            self.close_connection = True
        elif isinstance(fault, Reset | LostAnswer):
            if isinstance(fault, LostAnswer):
                keycloak.answer(seen)
            self.close_connection = True
        else:
            self._send(fault if isinstance(fault, Answer) else keycloak.answer(seen))

    def _send(self, answer: Answer) -> None:
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for key, value in {"Content-Length": str(len(raw)), **answer.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep the output of the tests clean."""


def _flatten(text: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(text).items()}
