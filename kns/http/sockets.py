"""
The server's WebSockets, which leave the choice of a subprotocol to the application.

`kubectl port-forward` names the subprotocol `SPDY/3.1+portforward.k8s.io`. The library refuses a request with it,
because RFC 6455 allows no `/` in such a name. The application checks the names instead.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol


class _Handshake(ServerProtocol):
    def process_subprotocol(self, headers: Headers) -> Subprotocol | None:  # noqa: ARG002 - the library's signature
        """None: uvicorn hands all names to the application, and sends the one that it accepts."""
        return None


class Sockets(WebSocketsSansIOProtocol):
    """One WebSocket."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if config.ws_per_message_deflate:
            raise ValueError("this handshake negotiates no compression")
        self.conn = _Handshake(max_size=config.ws_max_size, logger=self.conn.logger)
