"""
One HTTP client per cluster. The official client library provides kubeconfig, in-cluster account, token rotation and
TLS. Requests are plain JSON over its connection pool.

Every call has a timeout, no library repeats a call, and every error becomes one of `kns.model.errors`. The library's
typed models, global configuration, proxy variables and `Watch` are not used.
"""

import base64
import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config, load_kube_config_from_dict

from kns.adapters.kube.deadline import deadline, use_deadlines
from kns.adapters.kube.errors import error_from_status
from kns.adapters.kube.server_time import ServerTime
from kns.model.errors import KnsError, UnavailableError, clip

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 5.0  # of calls during an HTTP request, which must be answered within 20 s
WATCH_TIMEOUT_S = 300  # the server ends a watch after this time, which limits the age of a silent one
POOL_SIZE = 32
_ALLOWED_KEYS = {
    "cluster": {"server", "certificate-authority-data"},
    "user": {"client-certificate-data", "client-key-data", "token"},
}

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
            use_deadlines(self._rest.pool_manager)
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
        The decoded JSON answer.

        Raises:
            KnsError: the subclass that `adapters/kube/errors.py` chooses.
        """
        raw = self.request_raw(
            method,
            path,
            query=query,
            body=body,
            content_type=content_type,
            read_timeout_s=read_timeout_s,
            accept=accept,
            discard=discard,
        )
        if not raw and method == "GET":
            raise UnavailableError(f"{method} {path}: the answer is empty")
        try:
            return json.loads(raw) if raw else {}
        except (ValueError, RecursionError) as error:  # for example the page of a gateway
            said = clip(raw[:200].decode("utf-8", "replace"))
            raise UnavailableError(f"{method} {path}: the answer is not JSON ({said})") from error

    def request_raw(
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
    ) -> bytes:
        """
        Like `request`, but returns the bytes of the answer, for example a log.

        With `discard` the body of a success is not read and b"" is returned. Its connection is closed.
        """
        what = f"{method} {path}"
        with deadline(self._bounds.total_s) as is_over:
            response = self._send(what, method, path, query, body, content_type, read_timeout_s, accept)
            self.server_time.observe(response.headers)
            if discard and response.status < 400:
                response.close()
                return b""
            data = self._read(what, response)
            if is_over():  # truncated headers look like an answer without a body
                raise UnavailableError(f"{what}: no whole answer within {self._bounds.total_s} s")
        if response.status >= 400:
            raise error_from_status(what, response.status, data, response.headers)
        return data

    def _read(self, what: str, response: Any) -> bytes:
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
                    raise UnavailableError(f"{what}: the answer is larger than {self._bounds.max_bytes} bytes")
        except urllib3.exceptions.HTTPError as error:
            response.close()
            raise _unavailable(what, error) from error
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
        said = f"GET {path} ({what})"
        response = self._send(said, "GET", path, query, None, JSON, read_timeout_s, ANY)
        if response.status >= 400:
            try:
                raise error_from_status(said, response.status, self._read(said, response), response.headers)
            finally:
                response.close()
        return ByteStream(said, response)

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

    def _send(
        self,
        what: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        read_timeout_s: float,
        accept: str,
    ) -> Any:
        headers = {"Accept": accept, "User-Agent": "kns", **self.auth_headers()}
        if body is not None:
            headers["Content-Type"] = content_type
        url = f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            return self._rest.pool_manager.request(
                method,
                url,
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, read_timeout_s), read=read_timeout_s),
                preload_content=False,
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise _unavailable(what, error) from error


class ByteStream:
    """A long answer. Iterate once; `close` may be called by another thread, and ends the iteration."""

    def __init__(self, what: str, response: Any) -> None:
        self._what = what
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
                raise _unavailable(self._what, error) from error
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


def _unavailable(what: str, error: Exception) -> UnavailableError:
    return UnavailableError(f"{what}: no answer ({clip(f'{type(error).__name__}: {error}')})")


def find_administrators_kubeconfig() -> Path | None:
    """The first file of KUBECONFIG, for commands that an administrator calls. The scheduler never reads it."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else None


def connect(kubeconfig: Path | None) -> KubeClient:
    """
    A client for the host cluster, configured by `kubeconfig` or by the pod's ServiceAccount.

    Raises:
        KnsError: the configuration is not usable.
    """
    configuration = Configuration()
    try:
        if kubeconfig is not None:
            load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        else:
            load_incluster_config(client_configuration=configuration)
    except Exception as error:  # the library does not translate the errors of its YAML parser
        source = f"kubeconfig {kubeconfig}" if kubeconfig else "the pod's ServiceAccount"
        raise KnsError(f"cannot reach the host cluster by {source}: {error}") from error
    return KubeClient(configuration)


def connect_with_token(
    api_url: str,
    *,
    read_token: Callable[[], str],
    authority_file: Path | None,
    verify: bool = True,
) -> KubeClient:
    """
    A client for the API at `api_url`, with a token that `read_token` returns for each request.

    Without `authority_file` the system's certificate authorities are used. `read_token` may raise `KnsError`.
    """
    return connect_with_header(
        api_url, read_header=lambda: f"Bearer {read_token()}", authority_file=authority_file, verify=verify
    )


def connect_with_header(
    api_url: str,
    *,
    read_header: Callable[[], str],
    authority_file: Path | None,
    verify: bool = True,
    bounds: Bounds = HOST_BOUNDS,
) -> KubeClient:
    """As `connect_with_token`, with the whole value of `Authorization`."""
    configuration = Configuration()
    configuration.host = api_url.rstrip("/")
    configuration.verify_ssl = verify
    configuration.ssl_ca_cert = None if authority_file is None else str(authority_file)
    configuration.api_key = {"authorization": ""}

    def refresh(own: Configuration) -> None:
        own.api_key["authorization"] = read_header()

    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]  # the library declares None alone
    return KubeClient(configuration, bounds=bounds)


def connect_to(kubeconfig: Mapping[str, Any], *, bounds: Bounds = NESTED_BOUNDS) -> KubeClient:
    """
    A client for the cluster of a decoded kubeconfig.

    Its certificates are in a temporary folder. The library would keep a file of each until the process ends.

    Raises:
        KnsError: the kubeconfig is not usable, or has other keys than address, certificates and token. Such a key could
            name a program to run.
    """
    configuration = Configuration()
    files = tempfile.TemporaryDirectory(prefix="kns-kube-")
    try:
        _check_keys(kubeconfig)
        plain = _write_certificates(kubeconfig, Path(files.name))
        load_kube_config_from_dict(plain, client_configuration=configuration, persist_config=False)
    except (ConfigException, KeyError, TypeError, ValueError) as error:
        files.cleanup()
        raise KnsError(f"unusable kubeconfig of a virtual cluster: {error}") from error
    return KubeClient(configuration, files=files, bounds=bounds)


def _check_keys(kubeconfig: Mapping[str, Any]) -> None:
    for kind, allowed in _ALLOWED_KEYS.items():
        for entry in kubeconfig[f"{kind}s"]:
            if unknown := sorted(entry[kind].keys() - allowed):
                raise ValueError(f"{kind} {entry['name']} has {', '.join(unknown)}")


def _write_certificates(kubeconfig: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write each `...-data` value to a file in `folder`. Returns the kubeconfig with the paths in their place."""
    plain: dict[str, Any] = json.loads(json.dumps(kubeconfig))
    entries = [
        *(entry["cluster"] for entry in plain.get("clusters") or ()),
        *(entry["user"] for entry in plain.get("users") or ()),
    ]
    for index, entry in enumerate(entries):
        for key in ("certificate-authority", "client-certificate", "client-key"):
            if f"{key}-data" in entry:
                path = folder / f"{index}-{key}"
                path.write_bytes(base64.b64decode(entry.pop(f"{key}-data")))
                entry[key] = str(path)
    return plain
