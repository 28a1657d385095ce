"""Calls inside a virtual cluster: the readiness check, and a few objects of kns."""

import json
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from kns.adapters.kube.client import APPLY, MERGE, METADATA, METADATA_OF_ONE, NESTED_BOUNDS, Bounds
from kns.adapters.kube.connect import connect_to
from kns.adapters.kube.kinds import KINDS
from kns.model import names
from kns.model.errors import (
    ConflictError,
    ExpiredError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TransientError,
    UnavailableError,
)
from kns.ports import Kind, Object

_TIMEOUT_S = 3.0  # the tenant controls its virtual cluster, so a slow one may block a worker only briefly
_CONNECT_S = 1.0  # the cluster is in the same network; without an answer the next try is a moment away
_HTTPS = 443
Request = Callable[..., Any]  # the method and path of a request, and the options of `KubeClient.request`
_WAITING = "status.phase=Pending,spec.nodeName="
PODS_PER_PAGE = 20  # one request for each, all within `NESTED_BOUNDS.total_s`, and 25 KiB of metadata for each
_LONGEST_TOKEN = 4096  # a token stays in memory, and in the address of the next request
_PROBE = "/api/v1/namespaces/default/serviceaccounts/default"


class KubeVirtualClusters:
    """
    Implements `ports.VirtualClusters`. Each call has its own client, because a job makes few calls after its start.

    `may_work` is checked before each request, because a call may have waited for a thread, and may consist of several
    requests. No request starts after `bounds.total_s`, so a call ends within twice that time.
    """

    def __init__(self, bounds: Bounds = NESTED_BOUNDS, *, may_work: Callable[[], bool] = lambda: True) -> None:
        self._bounds = bounds
        self._may_work = may_work

    def listens(self, namespace: str, server: str) -> bool:
        del namespace
        if not self._may_work():
            raise UnavailableError(f"{server}: this process is no longer the leader")
        address = urlsplit(server)
        try:
            socket.create_connection((address.hostname or "", address.port or _HTTPS), timeout=_CONNECT_S).close()
        except OSError:
            return False
        return True

    def is_ready(self, namespace: str, kubeconfig: str) -> bool:
        del namespace
        with self._connect(kubeconfig) as request:
            try:
                request("GET", _PROBE)
            except TransientError:
                return False
        return True

    def apply(self, namespace: str, kubeconfig: str, objects: Sequence[Object]) -> None:
        del namespace
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        with self._connect(kubeconfig) as request:
            for obj in objects:
                meta = obj["metadata"]
                path = KINDS[Kind(obj["kind"])].path(meta.get("namespace", ""), meta["name"])
                try:  # the answer is without the data, which alone may be larger than the bounds
                    request("PATCH", path, query=query, body=obj, content_type=APPLY, accept=METADATA_OF_ONE)
                except NotFoundError:
                    continue

    def find_namespaces(
        self, namespace: str, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]
    ) -> frozenset[str]:
        del namespace
        # One request for each, and only for metadata: a list of all namespaces is as long as the tenant makes it.
        with self._connect(kubeconfig) as request:
            return frozenset(each for each in sorted(namespaces) if _exists(request, KINDS[kind].path(each, name)))

    def retry_pods(self, namespace: str, kubeconfig: str, mark: str, page: str) -> str:
        del namespace
        query = {"fieldSelector": _WAITING, "limit": str(PODS_PER_PAGE), **({"continue": page} if page else {})}
        with self._connect(kubeconfig) as request:
            try:
                paths, token = _read_page(request("GET", KINDS[Kind.POD].path(""), query=query, accept=METADATA))
            except ExpiredError:  # a tenant's API decides how long a token is valid
                return ""
            body = {"metadata": {"annotations": {names.RETRIED_ANNOTATION: mark}}}
            for path in paths:
                try:
                    request("PATCH", path, body=body, content_type=MERGE, accept=METADATA_OF_ONE)
                except (NotFoundError, RefusedError, ForbiddenError, ConflictError):
                    continue  # it is gone, or a webhook of the tenant refuses the change
        return token

    @contextmanager
    def _connect(self, kubeconfig: str) -> Iterator[Request]:
        """A function that makes one request, with the limits of this class."""
        client = connect_to(json.loads(kubeconfig), bounds=self._bounds)
        began = time.monotonic()

        def request(method: str, path: str, **rest: Any) -> Any:
            if not self._may_work():
                raise UnavailableError(f"{method} {path}: this process is no longer the leader")
            if self._bounds.total_s is not None and time.monotonic() - began > self._bounds.total_s:
                raise UnavailableError(f"{method} {path}: the requests before took {self._bounds.total_s} s")
            return client.request(method, path, read_timeout_s=_TIMEOUT_S, **rest)

        try:
            yield request
        finally:
            client.close()


def _read_page(found: Any) -> tuple[list[str], str]:
    """
    The paths of the pods in a list, the oldest first, and the token for the next page.

    Raises:
        UnavailableError: it is no list of objects.
    """
    try:
        pods = [item["metadata"] for item in (found["items"] or ())[:PODS_PER_PAGE]]
        pods.sort(key=lambda meta: str(meta.get("creationTimestamp")))
        paths = [KINDS[Kind.POD].path(meta["namespace"], meta["name"]) for meta in pods]
        token = found["metadata"].get("continue")
    except (KeyError, TypeError, AttributeError) as error:
        raise UnavailableError(f"the list of pods in a virtual cluster is not readable: {error!r}") from error
    is_token = isinstance(token, str) and token.isascii() and len(token) <= _LONGEST_TOKEN
    return paths, token if is_token else ""


def _exists(request: Request, path: str) -> bool:
    try:
        request("GET", path, accept=METADATA_OF_ONE)
    except NotFoundError:
        return False
    return True
