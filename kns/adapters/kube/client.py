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
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config, load_kube_config_from_dict

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


class KubeClient:
    """A connection pool to one API server. Safe to use from many threads; its owner closes it."""

    def __init__(self, configuration: Configuration, *, files: tempfile.TemporaryDirectory[str] | None = None) -> None:
        """`files` holds what the configuration points at; it goes when the client is closed."""
        configuration.retries = False  # the library would repeat GET and DELETE by itself
        configuration.proxy = None  # a proxy variable is for the world outside, never for the API
        configuration.connection_pool_maxsize = POOL_SIZE
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
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
        try:
            return json.loads(raw) if raw else {}
        except ValueError as error:  # a gateway in between, in its own words
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
        response = self._send(what, method, path, query, body, content_type, read_timeout_s, accept)
        try:
            data: bytes = response.read()
        except urllib3.exceptions.HTTPError as error:
            raise _unavailable(what, error) from error
        finally:
            response.release_conn()
        if response.status >= 400:
            raise error_from_status(what, response.status, data, response.headers)
        return data

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
                raise error_from_status(what, response.status, response.read(), response.headers)
            rest = b""
            for chunk in response.stream(65536, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line for line in lines if line)
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


def connect_to(kubeconfig: Mapping[str, Any]) -> KubeClient:
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
    return KubeClient(configuration, files=files)


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
