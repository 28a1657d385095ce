"""
One HTTP client per cluster. The official client library provides kubeconfig, in-cluster account, token rotation and
TLS. Requests are plain JSON over its connection pool.

Every call has a timeout, no library repeats a call, and every error becomes one of `kns.model.errors`. The library's
typed models, global configuration, proxy variables and `Watch` are not used.
"""

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject

from kns.adapters.kube.errors import error_from_status
from kns.adapters.kube.limits import limit_call, use_limits
from kns.adapters.kube.server_time import ServerTime
from kns.model.errors import UnavailableError, clip
from kns.model.reading.json_text import read_json

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 5.0  # of calls during an HTTP request, which must be answered within 20 s
WATCH_TIMEOUT_S = 300  # the server ends a watch after this time, which limits the age of a silent one
POOL_SIZE = 32

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json"
ANY = "application/json, */*"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
METADATA_OF_ONE = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    The limits of an answer.

    `max_bytes` limits the body, and each line of a watch. `total_s` limits the time from the connection to the last
    byte, so that a server that sends single bytes cannot block a thread; with None, only the timeout per read applies.
    """

    max_bytes: int
    total_s: float | None


HOST_BOUNDS = Bounds(max_bytes=64 * 1024 * 1024, total_s=None)
NESTED_BOUNDS = Bounds(max_bytes=512 * 1024, total_s=5.0)  # the tenant controls the API of a virtual cluster
_CHUNK_BYTES = 65536
_REDIRECT = 300  # the first status that is no success


@dataclass(frozen=True, slots=True)
class _Call:
    """One request. `purpose` names it in errors, if its path does not say what it is for."""

    method: str
    path: str
    query: Mapping[str, str] | None
    read_timeout_s: float
    body: Any = None
    content_type: str = JSON
    accept: str = ANY
    purpose: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (f" ({self.purpose})" if self.purpose else "")


class KubeClient:
    """A connection pool to one API server, safe for use in many threads. The owner closes it."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        files: tempfile.TemporaryDirectory[str] | None = None,
        bounds: Bounds = HOST_BOUNDS,
    ) -> None:
        """`files` contains the files of the configuration and is removed when the client is closed."""
        configuration.retries = False  # otherwise the library repeats GET and DELETE
        configuration.proxy = None  # proxy variables do not apply to the Kubernetes API
        configuration.connection_pool_maxsize = POOL_SIZE
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        self._bounds = bounds
        if bounds.total_s is not None:
            use_limits(self._rest.pool_manager)
        self._files = files
        self.server_time = ServerTime()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        read_timeout_s: float = READ_TIMEOUT_S,
        accept: str = ANY,
        discard: bool = False,
    ) -> Any:
        """
        The decoded JSON answer. With `discard` the body of a success is not read, and its connection is closed.

        Raises:
            KnsError: the subclass that `adapters/kube/errors.py` chooses.
        """
        call = _Call(method, path, query, read_timeout_s, body, content_type, accept)
        raw = self._request(call, discard=discard)
        if not raw and method == "GET":
            raise UnavailableError(f"{call}: the answer is empty")
        try:
            return read_json(raw) if raw else {}
        except (ValueError, RecursionError) as error:  # for example the page of a gateway
            said = clip(raw[:200].decode("utf-8", "replace"))
            raise UnavailableError(f"{call}: the answer is not JSON ({said})") from error

    def walk(
        self,
        path: str,
        *,
        query: Mapping[str, str],
        read_timeout_s: float = READ_TIMEOUT_S,
        accept: str = ANY,
    ) -> Iterator[dict[str, Any]]:
        """The objects of a list, one page of `limit` in memory at a time. Errors as for `request`."""
        while True:
            page = self.request("GET", path, query=query, read_timeout_s=read_timeout_s, accept=accept)
            yield from page["items"] or ()  # null if the list is empty
            token = page["metadata"].get("continue")
            if not token:
                return
            query = {**query, "continue": token}

    def read_bytes(self, path: str, *, query: Mapping[str, str] | None = None, read_timeout_s: float) -> bytes:
        """The bytes of the answer, for example a log. Errors as for `request`."""
        return self._request(_Call("GET", path, query, read_timeout_s))

    def _request(self, call: _Call, *, discard: bool = False) -> bytes:
        with limit_call(self._bounds.total_s, self._bounds.max_bytes) as is_over:
            response = self._send(call)
            self.server_time.observe(response.headers)
            if discard and response.status < _REDIRECT:
                response.close()
                return b""
            data = self._read(call, response)
            if is_over():  # truncated headers look like an answer without a body
                raise UnavailableError(f"{call}: no whole answer within {self._bounds.total_s} s")
        if response.status >= _REDIRECT:
            raise error_from_status(str(call), response.status, data, response.headers)
        return data

    def _read(self, call: _Call, response: Any) -> bytes:
        """
        The body as sent. kns requests no compression, so nothing is decompressed.

        Raises:
            UnavailableError: the connection broke, or the body is too large.
        """
        data = bytearray()
        try:
            for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
                data += chunk
                if len(data) > self._bounds.max_bytes:
                    response.close()
                    raise UnavailableError(f"{call}: the answer is larger than {self._bounds.max_bytes} bytes")
        except urllib3.exceptions.HTTPError as error:
            response.close()
            raise _unavailable(call, error) from error
        finally:
            response.release_conn()
        return bytes(data)

    def stream_lines(self, path: str, *, query: Mapping[str, str], read_timeout_s: float) -> Iterator[bytes]:
        """
        The lines of a long answer as they arrive, until the server ends it.

        Raises:
            KnsError: at the start or later, also for a silent connection.
        """
        stream = self.open_stream(path, query=query, read_timeout_s=read_timeout_s, what="watch")
        try:
            rest = bytearray()
            for chunk in stream:
                *lines, last = chunk.split(b"\n")
                for line in lines:
                    rest += line
                    if rest:
                        yield bytes(rest)
                    rest.clear()
                rest += last
                if len(rest) > self._bounds.max_bytes:
                    raise UnavailableError(f"GET {path} (watch): a line is larger than {self._bounds.max_bytes} bytes")
        finally:
            stream.close()

    def open_stream(self, path: str, *, query: Mapping[str, str], read_timeout_s: float, what: str) -> "ByteStream":
        """
        A long answer, whose bytes are read as they arrive. `what` names it in errors.

        Raises:
            KnsError: the server refused it or did not answer.
        """
        call = _Call("GET", path, query, read_timeout_s, purpose=what)
        response = self._send(call)
        if response.status >= _REDIRECT:
            try:
                raise error_from_status(str(call), response.status, self._read(call, response), response.headers)
            finally:
                response.close()
        return ByteStream(call, response)

    def auth_headers(self) -> dict[str, str]:
        """The headers that identify this client. A token in a file is read again when it may have been rotated."""
        auth: Any = self._configuration.auth_settings()
        return {setting["key"]: setting["value"] for setting in auth.values()}

    @property
    def configuration(self) -> Configuration:
        """For connections of another kind to the same server (`channel`)."""
        return self._configuration

    def close(self) -> None:
        self._rest.pool_manager.clear()
        if self._files is not None:
            self._files.cleanup()

    def _send(self, call: _Call) -> Any:
        headers = {"Accept": call.accept, "User-Agent": "kns", **self.auth_headers()}
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        url = f"{self._configuration.host}{call.path}" + (f"?{urlencode(call.query)}" if call.query else "")
        try:
            return self._rest.pool_manager.request(
                call.method,
                url,
                headers=headers,
                body=None if call.body is None else json.dumps(call.body).encode(),
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, call.read_timeout_s), read=call.read_timeout_s),
                preload_content=False,
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise _unavailable(call, error) from error


class ByteStream:
    """A long answer. Iterate once; `close` may be called by another thread, and ends the iteration."""

    def __init__(self, call: _Call, response: Any) -> None:
        self._call = call
        self._response = response
        self._is_closed = False
        self._is_read = False  # by a thread, which then closes the response itself
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[bytes]:
        with self._lock:
            if self._is_closed:
                return
            self._is_read = True
        try:
            yield from self._response.stream(_CHUNK_BYTES, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if not self._is_closed:
                raise _unavailable(self._call, error) from error
        finally:
            with self._lock:
                self._is_read, self._is_closed = False, True
            self._response.close()

    def close(self) -> None:
        with self._lock:
            is_read, self._is_closed = self._is_read, True
        if is_read:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # the reader closed it meanwhile
                self._response.shutdown()  # wakes the reader; `close` would wait for it
        else:
            self._response.close()


def _unavailable(call: _Call, error: Exception) -> UnavailableError:
    return UnavailableError(f"{call}: no answer ({clip(f'{type(error).__name__}: {error}')})")
