"""
One HTTP client per cluster. The official client library brings kubeconfig, in-cluster account, token rotation and TLS;
requests themselves are plain JSON over its connection pool.

Every call has a timeout, no call is repeated by a library, and every error leaves as ours. The library's typed models,
global configuration, proxy variables and `Watch` are left alone on purpose (docs/architecture.md says why).
"""

import base64
import json
import tempfile
from collections.abc import Iterator, Mapping
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
from kns.model.errors import KnsError, UnavailableError, clip

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 5.0  # of calls that an HTTP answer waits for: it must come within 20 s, whatever the host does
WATCH_TIMEOUT_S = 300  # the server ends a watch after this, so a silent one is never older
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


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    How much of an answer is read, and for how long.

    `max_bytes` counts the body; a line of a watch has the same bound. `total_s` counts from the connection to the last
    byte, so that a server that sends one byte now and then holds no thread; None leaves the timeout per read alone.
    """

    max_bytes: int
    total_s: float | None


HOST_BOUNDS = Bounds(max_bytes=64 * 1024 * 1024, total_s=None)
NESTED_BOUNDS = Bounds(max_bytes=512 * 1024, total_s=5.0)  # the API of a virtual cluster is the tenant's
_CHUNK_BYTES = 65536


class KubeClient:
    """A connection pool to one API server. Safe to use from many threads; its owner closes it."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        files: tempfile.TemporaryDirectory[str] | None = None,
        bounds: Bounds = HOST_BOUNDS,
    ) -> None:
        """`files` holds what the configuration points at; it goes when the client is closed."""
        configuration.retries = False  # the library would repeat GET and DELETE by itself
        configuration.proxy = None  # a proxy variable is for the world outside, never for the API
        configuration.connection_pool_maxsize = POOL_SIZE
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        self._bounds = bounds
        if bounds.total_s is not None:
            use_deadlines(self._rest.pool_manager)
        self._files = files

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
    ) -> Any:
        """
        The decoded JSON answer.

        Raises:
            KnsError: as `adapters/kube/errors.py` translates it.
        """
        raw = self.request_raw(
            method,
            path,
            query=query,
            body=body,
            content_type=content_type,
            read_timeout_s=read_timeout_s,
            accept=accept,
        )
        if not raw and method == "GET":
            raise UnavailableError(f"{method} {path}: the answer is empty")
        try:
            return json.loads(raw) if raw else {}
        except (ValueError, RecursionError) as error:  # a gateway in between, in its own words
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
    ) -> bytes:
        """As `request`, with the answer's bytes (logs are text)."""
        what = f"{method} {path}"
        with deadline(self._bounds.total_s) as is_over:
            response = self._send(what, method, path, query, body, content_type, read_timeout_s, accept)
            data = self._read(what, response)
            if is_over():  # a head that ends early reads like an answer without a body
                raise UnavailableError(f"{what}: no whole answer within {self._bounds.total_s} s")
        if response.status >= 400:
            raise error_from_status(what, response.status, data, response.headers)
        return data

    def _read(self, what: str, response: Any) -> bytes:
        """
        The body as sent. kns asks for no compression, so nothing is unpacked.

        Raises:
            UnavailableError: the connection broke, or the body is larger than the bound.
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
        The lines of a long answer as they come; ends when the server ends it.

        Raises:
            KnsError: at the start or in between, a silent connection included.
        """
        what = f"GET {path} (watch)"
        response = self._send(what, "GET", path, query, None, JSON, read_timeout_s, ANY)
        try:
            if response.status >= 400:
                raise error_from_status(what, response.status, self._read(what, response), response.headers)
            rest = bytearray()
            for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
                *lines, last = chunk.split(b"\n")
                for line in lines:
                    rest += line
                    if rest:
                        yield bytes(rest)
                    rest.clear()
                rest += last
                if len(rest) > self._bounds.max_bytes:
                    raise UnavailableError(f"{what}: a line is larger than {self._bounds.max_bytes} bytes")
        except urllib3.exceptions.HTTPError as error:
            raise _unavailable(what, error) from error
        finally:
            response.close()

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
        headers = {"Accept": accept, "User-Agent": "kns"}
        auth: Any = self._configuration.auth_settings()
        for setting in auth.values():
            headers[setting["key"]] = setting["value"]
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


def _unavailable(what: str, error: Exception) -> UnavailableError:
    return UnavailableError(f"{what}: no answer ({clip(f'{type(error).__name__}: {error}')})")


def connect(kubeconfig: Path | None) -> KubeClient:
    """
    A client for the host cluster: from `kubeconfig`, or from the pod's own ServiceAccount.

    Raises:
        KnsError: neither is usable.
    """
    configuration = Configuration()
    try:
        if kubeconfig is not None:
            load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        else:
            load_incluster_config(client_configuration=configuration)
    except Exception as error:  # the library lets those of its YAML reader through
        source = f"kubeconfig {kubeconfig}" if kubeconfig else "the pod's ServiceAccount"
        raise KnsError(f"cannot reach the host cluster by {source}: {error}") from error
    return KubeClient(configuration)


def connect_to(kubeconfig: Mapping[str, Any], *, bounds: Bounds = NESTED_BOUNDS) -> KubeClient:
    """
    A client for the cluster of a decoded kubeconfig.

    Its certificates lie in a folder of their own: the library would keep a file of each for the life of the process.

    Raises:
        KnsError: the kubeconfig is not usable, or says more than where the cluster is and by which certificate or token
            to enter: it could name programs to run.
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
    """The kubeconfig with each `...-data` written to a file in `folder` and replaced by its path."""
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
