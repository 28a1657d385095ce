"""The page on loopback, behind the real server with its limits."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from kns.http.server import ServerConfig, listen
from tests.web.ui import Ui

STOP_S = 60.0


@contextmanager
def serving(ui: Ui, *, request_limit_s: float = 30) -> Iterator[str]:
    """The address of the server, until the block ends."""
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        config = ServerConfig(
            ui.app, host="127.0.0.1", port=port, trusted_proxies="127.0.0.1", request_limit_s=request_limit_s
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            ui.live.close()
            server.should_exit = True
            thread.join(STOP_S)
            assert not thread.is_alive(), "open streams must not hold up a server that stops"
