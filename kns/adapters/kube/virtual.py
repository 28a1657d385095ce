"""Calls inside a virtual cluster: the readiness check, and a few objects of kns."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kns.adapters.kube.client import APPLY, NESTED_BOUNDS, Bounds, KubeClient, connect_to
from kns.adapters.kube.kinds import KINDS
from kns.model import names
from kns.model.errors import NotFoundError, TransientError
from kns.ports import Kind, Object

_TIMEOUT_S = 3.0  # the tenant controls its virtual cluster, so a slow one may block a worker only briefly
_PROBE = "/api/v1/namespaces/default/serviceaccounts/default"


class KubeVirtualClusters:
    """
    Implements `ports.VirtualClusters`. Each call has its own client, because a job makes few calls after its start.
    """

    def __init__(self, bounds: Bounds = NESTED_BOUNDS) -> None:
        self._bounds = bounds

    def is_ready(self, kubeconfig: str) -> bool:
        with self._connect(kubeconfig) as client:
            try:
                client.request("GET", _PROBE, read_timeout_s=_TIMEOUT_S)
            except TransientError:
                return False
        return True

    def apply(self, kubeconfig: str, objects: Sequence[Object]) -> None:
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        with self._connect(kubeconfig) as client:
            for obj in objects:
                meta = obj["metadata"]
                path = KINDS[Kind(obj["kind"])].path(meta.get("namespace", ""), meta["name"])
                try:
                    client.request("PATCH", path, query=query, body=obj, content_type=APPLY, read_timeout_s=_TIMEOUT_S)
                except NotFoundError:
                    continue

    def list_namespaces(self, kubeconfig: str, kind: Kind, name: str) -> frozenset[str]:
        with self._connect(kubeconfig) as client:
            found = client.request(
                "GET",
                KINDS[kind].path(),
                query={"fieldSelector": f"metadata.name={name}"},
                read_timeout_s=_TIMEOUT_S,
            )
        return frozenset(item["metadata"]["namespace"] for item in found["items"])

    @contextmanager
    def _connect(self, kubeconfig: str) -> Iterator[KubeClient]:
        client = connect_to(json.loads(kubeconfig), bounds=self._bounds)
        try:
            yield client
        finally:
            client.close()
