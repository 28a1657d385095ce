"""A realm in memory."""

import copy
import itertools
from collections.abc import Sequence

from kns.model.errors import AlreadyExistsError
from kns.ports import Object


class MemoryRealm:
    """
    Implements `ports.IdentityProvider`. `calls` lists every change; with `fault` set, every call raises it.

    Like Keycloak it gives every client an `id`, adds its own attributes, and does not keep the order of URIs.
    """

    def __init__(self) -> None:
        self.clients: dict[str, Object] = {}  # by clientId
        self.calls: list[str] = []
        self.fault: Exception | None = None
        self._keys = itertools.count(1)

    def find_client(self, client_id: str) -> Object | None:
        self._fail()
        return copy.deepcopy(self.clients.get(client_id))

    def list_clients(self, prefix: str) -> Sequence[Object]:
        self._fail()
        return [copy.deepcopy(found) for client_id, found in self.clients.items() if client_id.startswith(prefix)]

    def create_client(self, client: Object) -> None:
        self._fail()
        client_id = client["clientId"]
        if client_id in self.clients:
            raise AlreadyExistsError(f"create client {client_id}: 409, already exists")
        self.calls.append(f"create {client_id}")
        self.clients[client_id] = {
            **copy.deepcopy(client),
            "id": f"key-{next(self._keys)}",
            "redirectUris": client["redirectUris"][::-1],
            "attributes": {**client["attributes"], "realm_client": "false"},
        }

    def update_client(self, key: str, client: Object) -> None:
        self._fail()
        for client_id, found in self.clients.items():
            if found["id"] == key:
                self.calls.append(f"update {client_id}")
                attributes = {**found["attributes"], **client["attributes"]}
                self.clients[client_id] = {**found, **copy.deepcopy(client), "attributes": attributes}

    def delete_client(self, key: str) -> None:
        self._fail()
        for client_id, found in list(self.clients.items()):
            if found["id"] == key:
                self.calls.append(f"delete {client_id}")
                del self.clients[client_id]

    def _fail(self) -> None:
        if self.fault:
            raise self.fault
