"""The addresses that the server listens on, and the address that a client has for it, in both families."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest
import uvicorn

from kns.http.server import ServerConfig, listen

TIMEOUT_S = 60
pytestmark = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="NOT TESTED: this machine has no IPv6")


async def show_client(scope: Any, _receive: Any, send: Any) -> None:
    """Answers with the client's address as the application sees it."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(scope["client"][0]).encode()})


@contextmanager
def serve(host: str, *, trusted_proxies: str = "127.0.0.1") -> Iterator[int]:
    with listen(host, 0) as listener:
        port: int = listener.getsockname()[1]
        config = ServerConfig(
            show_client, host=host, port=port, trusted_proxies=trusted_proxies, request_limit_s=TIMEOUT_S
        )
        config.lifespan = "off"
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(TIMEOUT_S)


def ask(address: str, port: int, **headers: str) -> str:
    connection = HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/", headers=headers)
        return str(json.loads(connection.getresponse().read()))
    finally:
        connection.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_all_addresses_are_those_of_both_families(address: str) -> None:
    """A client has the same address as on a socket of its own family."""
    with serve("::") as port:
        assert ask(address, port) == address


def test_one_address_of_ipv6_is_that_address_only() -> None:
    with serve("::1") as port:
        assert ask("::1", port) == "::1"
        with pytest.raises(ConnectionRefusedError):
            ask("127.0.0.1", port)


@pytest.mark.parametrize(
    ("address", "trusted"), [("127.0.0.1", "127.0.0.0/8"), ("::1", "fd00::/8,::1"), ("::1", "::/64")]
)
def test_a_trusted_proxy_is_known_in_either_family(address: str, trusted: str) -> None:
    with serve("::", trusted_proxies=trusted) as port:
        assert ask(address, port, **{"X-Forwarded-For": "fd00::42"}) == "fd00::42"
    with serve("::", trusted_proxies="192.0.2.1") as port:
        assert ask(address, port, **{"X-Forwarded-For": "fd00::42"}) == address
