"""
Requests of users to virtual clusters, with the credentials of the job's cluster (`ports.JobClusters`).

Asynchronous, because most of these requests are watches and logs that stay open for hours, and a thread for each would
be too many. All methods are called on one event loop. Certificates are verified against the authority in the job's
Secret; nothing else than the address, certificates and a token are taken from the kubeconfig.
"""

import asyncio
import base64
import json
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.datastructures import Headers as AnswerHeaders
from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError, WebSocketException
from websockets.http11 import Request
from websockets.typing import Subprotocol

from kns.adapters.kube.client import CONNECT_TIMEOUT_S
from kns.model.errors import KnsError, NotFoundError, TransientError, UnavailableError, clip
from kns.model.job.location import Location
from kns.ports import ClusterAnswer, ClusterChannel, ClusterRequest, RefusedChannel
from kns.ports.relay import Headers

HEAD_S = 65.0  # until an answer begins; Kubernetes' own limit for requests other than watches is 60 s
READ_ACCESS_S = 12.0  # to read the Secret and the Service of a job
MOST_LINKS = 200  # jobs whose connections stay open; about 100 KiB each
MAX_AGE_S = 300.0  # after which Secret and Service are read again: an administrator may renew the certificates
MAX_MESSAGE_BYTES = 256 * 1024  # of a WebSocket; kubectl and the kubelet send at most some 32 KiB at a time
AGAIN_S = (
    2.0  # between two readings for one job: a hostile cluster that refuses all must not make kns read all the time
)
_CONNECTIONS = 64  # to one job
_IDLE_CONNECTIONS = 4
_IDLE_S = 30.0
_MOST_QUEUED = 2  # messages
_THREADS = 4  # read access; a slow host blocks only other first requests
_UNAUTHORIZED = 401

FindAccess = Callable[[Location], str | None]


class KubeJobClusters:
    """`find_access` returns a job's kubeconfig as JSON, None while there is none. It may block, and raise KnsError."""

    def __init__(
        self,
        find_access: FindAccess,
        *,
        head_s: float = HEAD_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self._find_access = find_access
        self._head_s = head_s
        self._again_s = again_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="relay")
        self._links: OrderedDict[Location, _Link] = OrderedDict()
        self._read_at: OrderedDict[Location, float] = OrderedDict()
        self._making: dict[Location, asyncio.Task[_Link]] = {}

    @asynccontextmanager
    async def open(self, location: Location, request: ClusterRequest) -> AsyncIterator[ClusterAnswer]:
        async with self._link(location) as link:
            what = f"{request.method} in the cluster of job {location.number}"
            try:
                built = link.http.build_request(
                    request.method,
                    httpx.URL(link.server).copy_with(raw_path=request.target.encode("ascii")),
                    headers=[*request.headers, *link.credentials],
                    content=request.body or None,
                    extensions={"trace": _Opening().watch},
                )
                async with asyncio.timeout(self._head_s):
                    response = await link.http.send(built, stream=True)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
                self._forget(location, link)
                raise _unavailable(what, error) from error
            try:
                self._check_credentials(location, link, response.status_code)
                yield _Answer(what, response)
            finally:
                await response.aclose()

    @asynccontextmanager
    async def connect(
        self, location: Location, request: ClusterRequest, subprotocols: Sequence[str]
    ) -> AsyncIterator[ClusterChannel | RefusedChannel]:
        async with self._link(location) as link:
            what = f"WebSocket to the cluster of job {location.number}"
            opening = _connect(link, request, subprotocols, self._head_s)
            try:
                connection = await opening
            except InvalidStatus as error:
                self._check_credentials(location, link, error.response.status_code)
                headers = error.response.headers
                content_type = ", ".join(headers.get_all("content-type"))
                yield RefusedChannel(error.response.status_code, content_type, bytes(error.response.body or b""))
                return
            except (WebSocketException, OSError, ValueError, TimeoutError) as error:
                self._forget(location, link)
                raise _unavailable(what, error) from error
            try:
                yield _Channel(connection)
            finally:
                await connection.close()

    async def close(self) -> None:
        links = [*self._links.values()]
        self._links.clear()
        for link in links:
            await link.http.aclose()
        self._threads.shutdown(wait=False)

    def _check_credentials(self, location: Location, link: "_Link", status: int) -> None:
        """A client that reads 401 would take its own credentials for wrong."""
        if status == _UNAUTHORIZED:
            self._forget(location, link)
            raise UnavailableError(f"the cluster of job {location.number} does not accept the credentials of kns")

    @asynccontextmanager
    async def _link(self, location: Location) -> AsyncIterator["_Link"]:
        link = self._links.get(location)
        if link is not None and asyncio.get_running_loop().time() - link.made_at > MAX_AGE_S:
            self._forget(location, link)
            link = None
        if link is None:
            link = await self._make(location)
        if location in self._links:
            self._links.move_to_end(location)
        link.users += 1
        try:
            yield link
        finally:
            link.users -= 1
            if link.is_retired and not link.users:
                await link.http.aclose()

    async def _make(self, location: Location) -> "_Link":
        """Requests that come at the same time share one reading of the Secret."""
        task = self._making.get(location)
        if task is None:
            now = asyncio.get_running_loop().time()
            if now - self._read_at.get(location, float("-inf")) < self._again_s:
                raise UnavailableError(f"the cluster of job {location.number} did not answer a moment ago; try again")
            self._read_at[location] = now
            self._read_at.move_to_end(location)
            while len(self._read_at) > MOST_LINKS:
                self._read_at.popitem(last=False)
            task = self._making[location] = asyncio.create_task(self._read(location))
            task.add_done_callback(lambda done: self._made(location, done))
        return await asyncio.shield(task)

    def _made(self, location: Location, task: "asyncio.Task[_Link]") -> None:
        self._making.pop(location, None)
        if task.cancelled() or task.exception() is not None:
            return
        self._links[location] = task.result()
        while len(self._links) > MOST_LINKS:
            self._forget(*next(iter(self._links.items())))

    async def _read(self, location: Location) -> "_Link":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READ_ACCESS_S):
                made = await loop.run_in_executor(self._threads, self._read_blocking, location)
        except TimeoutError as error:
            raise UnavailableError("the host cluster did not answer in time") from error
        server, credentials, context = made
        return _Link(server, credentials, context, made_at=loop.time())

    def _read_blocking(self, location: Location) -> tuple[str, Headers, ssl.SSLContext]:
        try:
            found = self._find_access(location)
        except TransientError:
            raise
        except KnsError as error:
            raise UnavailableError(str(error)) from error
        if found is None:
            raise NotFoundError(f"the cluster of job {location.number} has no credentials yet")
        try:
            return read_access(json.loads(found))
        except (ValueError, KeyError, TypeError, IndexError, ssl.SSLError) as error:
            raise UnavailableError(f"the credentials of the cluster of job {location.number} are not usable") from error

    def _forget(self, location: Location, link: "_Link") -> None:
        """Let the next request read the credentials again. Open requests go on."""
        if self._links.get(location) is link:
            del self._links[location]
        link.retire()


class _Link:
    """Connections to one cluster. `users` are the open requests."""

    def __init__(self, server: str, credentials: Headers, context: ssl.SSLContext, *, made_at: float) -> None:
        self.server = server
        self.credentials = credentials
        self.context = context
        self.made_at = made_at
        self.users = 0
        self.is_retired = False
        self.http = httpx.AsyncClient(
            verify=context,
            trust_env=False,
            follow_redirects=False,
            headers={"accept-encoding": "identity", "user-agent": "kns"},  # unless the request has its own
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
            ),
        )

    def retire(self) -> None:
        """Close once nobody uses it."""
        if not self.is_retired:
            self.is_retired = True
            if not self.users:
                self._closing = asyncio.ensure_future(self.http.aclose())


class _Opening:
    """
    Closes a connection whose TLS handshake does not end well.

    The library leaves it to the garbage collector if the request is cancelled, because its client leaves or its time is
    over. A job's cluster that never answers could hold as many sockets of kns as clients leave.
    """

    def __init__(self) -> None:
        self._stream: Any = None

    async def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """A callback of the library, which documents these events as its extension `trace`."""
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.failed":
            await self._stream.aclose()


class _Answer:
    def __init__(self, what: str, response: httpx.Response) -> None:
        self._what = what
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Headers:
        return tuple(
            (key.decode("latin-1").lower(), value.decode("latin-1")) for key, value in self._response.headers.raw
        )

    async def parts(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._response.aiter_raw():
                yield part
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise _unavailable(self._what, error) from error


class _Channel:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    async def receive(self) -> str | bytes | None:
        try:
            return await self._connection.recv()
        except ConnectionClosed:
            return None

    async def send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed:
            return


class _Straight(connect):
    """Follows no redirect: the credentials are for this server."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Handshake(ClientProtocol):
    """
    Asks for subprotocols of any name. The library allows no `/` in one, but the API server's for `kubectl port-forward`
    is `SPDY/3.1+portforward.k8s.io`.
    """

    wanted: Sequence[str] = ()

    def connect(self) -> Request:
        request = super().connect()
        if self.wanted:
            request.headers["Sec-WebSocket-Protocol"] = ", ".join(self.wanted)
        return request

    def process_subprotocol(self, headers: AnswerHeaders) -> Subprotocol | None:
        chosen = headers.get_all("Sec-WebSocket-Protocol")
        if not chosen:
            return None
        if len(chosen) > 1 or chosen[0] not in self.wanted:
            raise NegotiationError("the server chose a subprotocol that was not asked for")
        return Subprotocol(chosen[0])


def _build_connection(wanted: Sequence[str]) -> type[ClientConnection]:
    class Connection(ClientConnection):
        def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
            handshake = _Handshake(protocol.uri, max_size=MAX_MESSAGE_BYTES, logger=protocol.logger)
            handshake.wanted = wanted
            super().__init__(handshake, **options)

    return Connection


def _connect(link: _Link, request: ClusterRequest, subprotocols: Sequence[str], head_s: float) -> _Straight:
    agents = [value for key, value in request.headers if key == "user-agent"]
    return _Straight(
        f"{'wss' if link.server.startswith('https') else 'ws'}://{link.server.partition('://')[2]}{request.target}",
        ssl=link.context if link.server.startswith("https") else None,
        create_connection=_build_connection(subprotocols),
        additional_headers=[*((k, v) for k, v in request.headers if k != "user-agent"), *link.credentials],
        user_agent_header=agents[0] if agents else "kns",
        compression=None,  # kubectl's data is compressed already, or small
        proxy=None,
        open_timeout=head_s,
        close_timeout=CONNECT_TIMEOUT_S,
        max_queue=_MOST_QUEUED,
    )


def read_access(kubeconfig: Mapping[str, Any]) -> tuple[str, Headers, ssl.SSLContext]:
    """
    Address, headers and TLS of a kubeconfig.

    Raises:
        ValueError, KeyError, TypeError, IndexError, ssl.SSLError: it is not usable.
    """
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    server = str(cluster["server"]).rstrip("/")
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    # Certificates of kubeadm and vcluster lack extensions that Python 3.13 asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if "token" in user:
        return server, (("authorization", f"Bearer {user['token']}"),), context
    with tempfile.TemporaryDirectory(prefix="kns-relay-") as folder:  # the library reads files only
        certificate, key = Path(folder) / "certificate", Path(folder) / "key"
        certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
        key.write_bytes(base64.b64decode(user["client-key-data"]))
        context.load_cert_chain(certificate, key)
    return server, (), context


def _unavailable(what: str, error: Exception) -> UnavailableError:
    return UnavailableError(f"{what}: no answer ({clip(f'{type(error).__name__}: {error}', 200)})")
