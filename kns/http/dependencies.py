"""What routes receive from the request and the application: the ports, the sender, the body."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection

from kns.service.ports import ServicePorts


async def _get_ports(request: HTTPConnection) -> ServicePorts:
    ports: ServicePorts = request.app.state.ports
    return ports


Ports = Annotated[ServicePorts, Depends(_get_ports)]

USERNAME_HEADER = "X-API-Username"
APIKEY_HEADER = "X-API-Key"


@dataclass(frozen=True, slots=True)
class Sender:
    """
    The sender of a request. `token` is None without a Bearer header, and `""` if there is more than one. `username` and
    `apikey` are the headers of those credentials, None if absent or empty.
    """

    token: str | None = field(repr=False)
    address: str
    username: str | None = None
    apikey: str | None = field(repr=False, default=None)


async def _read_sender(request: HTTPConnection) -> Sender:
    headers = [value.strip().partition(" ") for value in request.headers.getlist("authorization")]
    # Other schemes are ignored: a proxy may send its own Basic credentials. Two tokens are ambiguous, so none is used.
    tokens = [token.strip() for scheme, _, token in headers if scheme.lower() == "bearer"]
    return Sender(
        token=(tokens[0] if len(tokens) == 1 else "") if tokens else None,
        address=request.client.host if request.client else "",
        username=_read_header(request, USERNAME_HEADER),
        apikey=_read_header(request, APIKEY_HEADER),
    )


def _read_header(request: HTTPConnection, name: str) -> str | None:
    """
    A repeated header is one list with commas, as in RFC 9110 5.3, so it is nobody's name or key. Bytes that are not
    UTF-8 become U+FFFD and match nothing.
    """
    text = ", ".join(request.headers.getlist(name))
    return text.encode("latin-1").decode("utf-8", "replace") or None


Sent = Annotated[Sender, Depends(_read_sender)]


async def _get_body(request: Request) -> bytes:
    """The body that the middleware has read. The body of a GET is ignored."""
    body: bytes = request.state.body
    return body


RawBody = Annotated[bytes, Depends(_get_body)]
