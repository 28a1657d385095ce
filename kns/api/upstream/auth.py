"""The server key, which upstream sends as Basic credentials."""

import base64
import binascii

from fastapi import Request

from kns.http.dependencies import Ports, Sent
from kns.http.errors import UNAUTHORIZED, HttpError
from kns.service.errors import WrongCredentialsError
from kns.service.identity import verify_server_key


class ServerKey:
    """A dependency that requires the server key."""

    def __init__(self, server_key: str) -> None:
        self._server_key = server_key

    async def __call__(self, request: Request, sender: Sent, ports: Ports) -> None:
        """
        Raises:
            HttpError: no credentials, or wrong ones; the answer asks for them.
            TooManyRequestsError: too many failures of this user from this address in the last minute.
        """
        given = _read_basic(request)
        if not given:
            raise _ask_for_key()
        try:
            verify_server_key(ports, given, server_key=self._server_key, address=sender.address)
        except WrongCredentialsError as error:
            raise _ask_for_key() from error


def _ask_for_key() -> HttpError:
    return HttpError(UNAUTHORIZED, headers={"www-authenticate": 'Basic realm="kns"'})


def _read_basic(request: Request) -> bytes:
    """The decoded credentials; empty if there are none."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""
