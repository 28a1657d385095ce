"""
The API server of a job's virtual cluster, for Kubernetes clients: `/kns/cluster/NUMBER/...`.

The path behind the number, the query and the body go to the job's cluster unchanged. Only listed headers go with them:
credentials for kns never do. A tenant controls that cluster, and the live page has its session on the same origin. So
its answers are reduced to what Kubernetes clients read, and requests of browsers are refused, because browsers send
credentials by themselves. Cookies and parameters are no credentials here.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Response, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.requests import HTTPConnection
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from kns import metrics
from kns.api.kns.status import SAFETY, render_status
from kns.http.app import FrontEnd
from kns.http.auth import authenticate
from kns.http.dependencies import Ports, RawBody, Sender, Sent
from kns.http.errors import (
    COMMON_ERRORS,
    INTERNAL,
    ErrorResponse,
    ErrorTable,
    Explained,
    HttpError,
    build_response,
)
from kns.http.middleware import SMALL_BODY_BYTES
from kns.http.routes import Routes
from kns.logs import get_logger
from kns.model.catalog.catalog import User
from kns.model.errors import KnsError, TransientError, UnavailableError, clip
from kns.model.job.location import Location
from kns.ports import ClusterChannel, ClusterRequest, JobClusters, RefusedChannel
from kns.ports.relay import Headers
from kns.service.errors import (
    InactiveAccountError,
    NotOfferedError,
    NotRunningError,
    UnknownJobError,
    WrongCredentialsError,
)
from kns.service.find import JobRef, fetch_job, find_job
from kns.service.lanes import Lanes
from kns.service.ports import ServicePorts
from kns.service.relay import may_still, require_cluster

PREFIX = "/kns/cluster"
METHODS = ("get", "head", "post", "put", "patch", "delete")

RECHECK_S = 30.0  # how often an open request is checked: the job may have ended, the user may have lost the right
IDLE_S = 3600.0  # a watch without changes is silent; Kubernetes ends one after at most an hour
OLDEST_S = 12 * 3600.0  # a day's work in one `kubectl logs -f`; credentials are then checked again
MOST_SUBPROTOCOLS = 10
_SUBPROTOCOL = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z/]{1,100}")  # RFC 6455 has no `/`; Kubernetes does
_MOST_DIGITS = 18

# `impersonate-*` is for the job's cluster, where the user is an administrator.
_SENT = frozenset(
    {
        *("accept", "accept-encoding", "audit-id", "content-type", "if-match", "if-none-match", "user-agent"),
        *("kubectl-command", "kubectl-session"),
    }
)
_IMPERSONATE = "impersonate-"
_RETURNED = frozenset(
    {
        *("audit-id", "content-encoding", "etag", "last-modified", "retry-after", "warning"),
        *("x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"),
    }
)
_TYPES = (
    *("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor", "text/plain"),
    *("application/cbor-seq", "application/openmetrics-text"),
)
_OPENAPI_TYPES = "application/com.github.proto-openapi."
_UNKNOWN_TYPE = "application/octet-stream"
_OF_BROWSERS = ("origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")

_BROWSER = ErrorResponse(403, "this address is for programs such as kubectl, not for browsers")
_NO_CREDENTIALS = ErrorResponse(
    401, "no credentials: use a bearer token, or name and API key by Basic or by X-API-Username and X-API-Key"
)
_AMBIGUOUS = ErrorResponse(401, "there is more than one Authorization header")
_NOT_ASCII = ErrorResponse(400, "the path is not encoded")
_BAD_SUBPROTOCOL = ErrorResponse(400, "the header Sec-WebSocket-Protocol has no list of names, or too many")
_OTHER_UPGRADE = ErrorResponse(
    400, "this works by WebSocket only; use kubectl 1.31 or later, and check that the container runs"
)  # SPDY needs connections that no HTTP proxy passes on. kubectl tries it after any refusal of a WebSocket.
_BAD_ANSWER = ErrorResponse(502, "the job's cluster answered with a redirect, or not with HTTP")

# Not 404 and 403: kubectl's discovery takes them for an API that is not there, and does not show the text.
_ERRORS: ErrorTable = {
    **COMMON_ERRORS,
    WrongCredentialsError: ErrorResponse(401, "the name, the API key or the token is wrong"),
    UnknownJobError: ErrorResponse(410, "there is no such job, or it is not yours"),
    NotOfferedError: Explained(409),
    InactiveAccountError: Explained(409),
    NotRunningError: Explained(410),
    TransientError: Explained(503),
}

log = get_logger(__name__)
routes = Routes(_ERRORS)


@routes.add_relay("{number}/{rest:path}", METHODS)
async def relay(request: Request, ports: Ports, sender: Sent, body: RawBody, number: str) -> Response:
    """One request and its answer."""
    if request.headers.get("upgrade", "h2c").lower() != "h2c":  # some clients offer that with every request
        raise HttpError(_OTHER_UPGRADE)
    visit = await _admit(request, ports, sender, number)
    return _Relayed(visit, ClusterRequest(request.method, _read_target(request, number), _choose_sent(request), body))


async def tunnel(socket: WebSocket, ports: Ports, sender: Sent, number: str) -> None:
    """One WebSocket: exec, attach, port-forward, or a watch."""
    try:
        wanted = _read_subprotocols(socket)
        visit = await _admit(socket, ports, sender, number)
        request = ClusterRequest("GET", _read_target(socket, number), _choose_sent(socket))
        with visit.enter("socket"):
            async with visit.clusters.connect(visit.location, request, wanted) as channel:
                if isinstance(channel, RefusedChannel):
                    await socket.send_denial_response(_pass_refusal(channel, socket.scope))
                    return
                await socket.accept(channel.subprotocol)
                log.info("cluster_socket", job=visit.location.number)
                await _carry(socket, channel, visit)
    except HttpError as error:
        await socket.send_denial_response(render_status(socket.scope, error.response))
    except KnsError as error:
        await socket.send_denial_response(render_status(socket.scope, _explain(error)))
    except WebSocketDisconnect:
        return


routes.router.add_api_websocket_route("/{number}/{rest:path}", tunnel)

FRONT_END = FrontEnd((routes,), prefix=PREFIX, render_error=render_status, relays=True)


@dataclass(frozen=True, slots=True)
class _Visit:
    """A request that was admitted: where it goes, and its limits."""

    ports: ServicePorts
    username: str
    clusters: JobClusters
    location: Location
    lanes: Lanes

    @contextmanager
    def enter(self, kind: str, *, is_large: bool = False) -> Iterator[None]:
        """
        Raises:
            TooManyRequestsError: too many are open.
        """
        try:
            with self.lanes.enter(self.username, self.location.number, is_large=is_large):
                metrics.set_relayed_open(self.lanes.open)
                try:
                    yield
                finally:
                    metrics.count_relayed(kind)
        finally:
            metrics.set_relayed_open(self.lanes.open)

    async def pace(self, size: int) -> None:
        delay_s = self.lanes.delay_s(self.username, size, asyncio.get_running_loop().time())
        if delay_s > 0:
            await asyncio.sleep(delay_s)

    async def guard(self) -> None:
        """Return when the request must end: it is too old, the job's cluster is gone, or the right to use it."""
        for _ in range(int(OLDEST_S / RECHECK_S)):
            await asyncio.sleep(RECHECK_S)
            if not may_still(self.ports, self.username, self.location.number):
                return


async def _admit(connection: HTTPConnection, ports: ServicePorts, sender: Sender, number: str) -> _Visit:
    """
    Raises:
        HttpError, KnsError: the request is refused.
    """
    if any(name in connection.headers for name in _OF_BROWSERS):
        raise HttpError(_BROWSER)
    user = _identify(connection, ports, sender)
    if not (number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS):
        raise UnknownJobError("the path has no number of a job")
    ref = JobRef(int(number))
    job = find_job(ports, user, ref)
    if job is None:
        job = await run_in_threadpool(fetch_job, ports, user, ref)
    access, location = require_cluster(ports, user, job)
    return _Visit(ports, user.username, access.clusters, location, access.lanes)


def _identify(connection: HTTPConnection, ports: ServicePorts, sender: Sender) -> User:
    given = connection.headers.getlist("authorization")
    if len(given) > 1:
        raise HttpError(_AMBIGUOUS)
    username, apikey = sender.username, sender.apikey
    scheme, _, value = given[0].strip().partition(" ") if given else ("", "", "")
    if scheme.lower() == "basic" and username is None and apikey is None:
        username, apikey = _decode_basic(value)
    if sender.token is None and (username is None or apikey is None):
        raise HttpError(_NO_CREDENTIALS)
    return authenticate(ports, sender, username, apikey)


def _decode_basic(value: str) -> tuple[str | None, str | None]:
    try:
        username, _, apikey = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None, None
    return username or None, apikey or None


def _read_target(connection: HTTPConnection, number: str) -> str:
    """Path and query behind the number, exactly as the client encoded them."""
    try:
        raw = connection.scope["raw_path"].decode("ascii")
        query = connection.scope["query_string"].decode("ascii")
    except UnicodeDecodeError as error:
        raise HttpError(_NOT_ASCII) from error
    prefix = f"{PREFIX}/{number}/"
    if not raw.startswith(prefix):  # a part of the prefix is encoded
        raise HttpError(_NOT_ASCII)
    target = f"/{raw.removeprefix(prefix)}"
    return f"{target}?{query}" if query else target


def _read_subprotocols(socket: WebSocket) -> list[str]:
    wanted: list[str] = socket.scope.get("subprotocols") or []
    if len(wanted) > MOST_SUBPROTOCOLS or not all(_SUBPROTOCOL.fullmatch(each) for each in wanted):
        raise HttpError(_BAD_SUBPROTOCOL)
    return wanted


def _choose_sent(connection: HTTPConnection) -> Headers:
    return tuple(
        (name, value) for name, value in connection.headers.items() if name in _SENT or name.startswith(_IMPERSONATE)
    )


def _choose_returned(headers: Headers) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name in _RETURNED]
    types = [value for name, value in headers if name == "content-type"]
    if types:
        kept.append(("content-type", _choose_type(types[0])))
    kept += SAFETY.items()
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept]


def _choose_type(given: str) -> str:
    """
    A type that no browser renders or runs.

    >>> _choose_type("application/json;as=Table"), _choose_type("text/html; charset=utf-8")
    ('application/json;as=Table', 'application/octet-stream')
    """
    kind = given.partition(";")[0].strip().lower()
    is_known = kind in _TYPES or kind.startswith(_OPENAPI_TYPES)
    return given if is_known else _UNKNOWN_TYPE


def _pass_refusal(refused: RefusedChannel, scope: Scope) -> Response:
    headers = (("content-type", refused.content_type),) if refused.content_type else ()
    is_error = 400 <= refused.status < 600
    if not is_error:
        return render_status(scope, _BAD_ANSWER)
    answer = Response(refused.body, refused.status)
    answer.raw_headers = [*_choose_returned(headers), (b"content-length", str(len(refused.body)).encode())]
    return answer


def _explain(error: KnsError) -> ErrorResponse:
    return build_response(_ERRORS, error) or INTERNAL


class _Relayed(Response):
    """
    The answer of a job's cluster, as it arrives.

    If the cluster breaks off, the last part of the body is not sent, so the server closes the connection and the client
    sees that something is missing.
    """

    def __init__(self, visit: _Visit, request: ClusterRequest) -> None:
        super().__init__()
        self._visit = visit
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._visit.enter("request", is_large=len(self._request.body) > SMALL_BODY_BYTES):
                await _run_until_first(self._pump(scope, receive, send), self._visit.guard(), _await_end(receive))
        except KnsError as error:
            await render_status(scope, _explain(error))(scope, receive, send)

    async def _pump(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = self._visit
        async with visit.clusters.open(visit.location, self._request) as answer:
            if not (200 <= answer.status < 300 or answer.status == 304 or 400 <= answer.status < 600):
                await render_status(scope, _BAD_ANSWER)(scope, receive, send)
                return
            headers = _choose_returned(answer.headers)
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            parts = answer.parts()
            try:
                while (part := await asyncio.wait_for(anext(parts, None), IDLE_S)) is not None:
                    await visit.pace(len(part))
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except (UnavailableError, TimeoutError) as error:
                log.info("relay_cut", job=visit.location.number, error=clip(str(error), 200))
                return
            await send({"type": "http.response.body", "body": b""})


async def _carry(socket: WebSocket, channel: ClusterChannel, visit: _Visit) -> None:
    """Pass messages on in both directions until one side ends."""

    async def inward() -> None:
        while True:
            message = await asyncio.wait_for(socket.receive(), IDLE_S)
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            await _forward(channel.send, message["text"] if data is None else data, visit)

    async def outward() -> None:
        while (message := await asyncio.wait_for(channel.receive(), IDLE_S)) is not None:
            await _forward(socket.send_text if isinstance(message, str) else socket.send_bytes, message, visit)

    try:
        await _run_until_first(inward(), outward(), visit.guard())
        await socket.close()
    except (WebSocketDisconnect, RuntimeError, TimeoutError):  # RuntimeError: the client has closed it
        return


async def _forward(send: Callable[[Any], Coroutine[Any, Any, None]], message: str | bytes, visit: _Visit) -> None:
    await visit.pace(len(message))
    await send(message)


async def _await_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _run_until_first(*runs: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends, then cancel the others. An error of the first is raised."""
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [end for end in ends if isinstance(end, Exception)]
    if errors:
        raise errors[0]
