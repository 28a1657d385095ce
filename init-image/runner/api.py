"""
The runner's own requests to the API of the virtual cluster.

They are few and small, and are made while a job's user waits: the start of a kubectl for each would take longer than
the request. The items of the plan use kubectl.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runner.outcome import printable

CONNECT_TIMEOUT_S = 1.0
"""Short, because an address without a pod behind it may not answer at all, and the next try may reach one."""
ANSWER_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 1024 * 1024
"""The tenant controls the API. An object has at most this size in etcd."""

_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class ApiError(Exception):
    """A request failed. `status` is the HTTP status, 0 without an answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NestedApi:
    """Requests with the pod's kubeconfig, over one connection that stays open."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._connection: http.client.HTTPConnection | None = None

    def read_metadata(self, path: str) -> Mapping[str, Any]:
        """
        The metadata of the object at `path`.

        Raises:
            ApiError: the request failed, with status 404 if there is no such object.
        """
        metadata: Mapping[str, Any] = self._ask("GET", path, accept=_METADATA).get("metadata") or {}
        return metadata

    def read(self, path: str) -> Mapping[str, Any]:
        """
        The object at `path`.

        Raises:
            ApiError: as above.
        """
        return self._ask("GET", path)

    def apply(self, path: str, manifest: Mapping[str, Any], *, manager: str) -> None:
        """
        Server-side apply, forced.

        Raises:
            ApiError: the request failed.
        """
        self._ask(
            "PATCH",
            f"{path}?fieldManager={manager}&force=true",
            body=json.dumps(manifest),
            content_type="application/apply-patch+yaml",
        )

    def _ask(
        self, method: str, path: str, *, body: str = "", content_type: str = "", accept: str = "application/json"
    ) -> Mapping[str, Any]:
        what = f"{method} {path.partition('?')[0]}"
        headers = {"Accept": accept, **({"Content-Type": content_type} if content_type else {})}
        try:
            connection = self._connect()
            connection.request(method, path, body=body or None, headers=headers)
            answer = connection.getresponse()
            content = answer.read(MAX_ANSWER_BYTES)  # what is cut is no JSON any more
            document = json.loads(content)
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as err:
            self.close()
            raise ApiError(f"{what}: {printable(str(err) or type(err).__name__, limit_bytes=300)}") from err
        if not answer.isclosed():
            self.close()
        if not isinstance(document, dict):
            raise ApiError(f"{what}: the answer is not an object", status=answer.status)
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            said = printable(str(document.get("message", "")), limit_bytes=300)
            raise ApiError(f"{what}: {answer.status} {said}".rstrip(), status=answer.status)
        return document

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = _open(self._kubeconfig)
            self._connection.connect()
            self._connection.sock.settimeout(ANSWER_TIMEOUT_S)
        return self._connection

    def close(self) -> None:
        """Close the connection. The next request opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _open(kubeconfig: Path) -> http.client.HTTPConnection:
    """
    A connection to the server of a kubeconfig in JSON, as kns writes it: one cluster and one user with a certificate.

    Raises:
        ValueError: the file has another content.
        OSError: it is not readable.
    """
    try:
        document = json.loads(kubeconfig.read_bytes())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        address = urlsplit(cluster["server"])
        host = address.hostname or ""
        if address.scheme == "http":
            return http.client.HTTPConnection(host, address.port, timeout=CONNECT_TIMEOUT_S)
        context = ssl.create_default_context(cadata=_decode(cluster, "certificate-authority-data"))
        _load_certificate(context, _decode(user, "client-certificate-data") + "\n" + _decode(user, "client-key-data"))
    except (KeyError, IndexError, TypeError) as err:
        raise ValueError(f"kubeconfig {kubeconfig} has unexpected content: {err!r}") from err
    return http.client.HTTPSConnection(host, address.port, timeout=CONNECT_TIMEOUT_S, context=context)


def _decode(section: Mapping[str, str], key: str) -> str:
    return base64.b64decode(section[key]).decode()


def _load_certificate(context: ssl.SSLContext, pem: str) -> None:
    """The ssl module reads certificates from files only. This one is in memory and has no name."""
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
