"""
Calls about the jobs of one namespace, with the rights of a namespaced Role: what `kns.plain.ports.Cluster` asks of an
API server itself. Nothing of the answers stays in memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from kns.adapters.kube.channel import run_command, send_input
from kns.adapters.kube.client import MERGE, ByteStream, KubeClient
from kns.adapters.kube.kinds import KindRow
from kns.model.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    KnsError,
    MetricsMissingError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from kns.ports import Object

Kept = Mapping[str, Any]
LogStream: TypeAlias = "ByteStream | _QuietStream"

JOBS, PODS, SERVICES = "jobs", "pods", "services"
ROWS: Mapping[str, KindRow] = {
    JOBS: KindRow("/apis/batch/v1", JOBS),
    PODS: KindRow("/api/v1", PODS),
    SERVICES: KindRow("/api/v1", SERVICES),
}
POD_JOB_LABEL = "job-name"
_CALL_S = 15.0  # the read timeout of a call, below the 120 s after which the Launcher gives up
_COMMAND_S = 10.0  # of a command in a container, which sends a signal
_INPUT_S = 15.0
_LOG_SILENCE_S = 60.0  # a log may be silent for hours; a new connection continues where the old one ended
_MOST_PODS = 50  # of one job, which has one unless somebody deletes it again and again
_SPLIT_SINCE = (1, 32)  # the first release of Kubernetes with `stream` in the options of a log
_METRICS = "/apis/metrics.k8s.io/v1beta1"


class NamespaceCalls:
    """Safe for use in many threads. A subclass may keep what the API server returns."""

    def __init__(self, client: KubeClient, *, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._splits: bool | None = None

    def _take(self, kind: str, obj: Object) -> Kept:
        """An object as the API server has just returned it; the result is what the caller gets."""
        del kind
        return obj

    def read_job(self, name: str) -> Kept | None:
        try:
            obj: Object = self._call("GET", self._path(JOBS, name))
        except NotFoundError:
            return None
        return self._take(JOBS, obj)

    def read_pods(self, job: str) -> Sequence[Kept]:
        query = {"labelSelector": f"{POD_JOB_LABEL}={job}", "limit": str(_MOST_PODS)}
        found = self._client.request("GET", self._path(PODS), query=query, read_timeout_s=_CALL_S)
        pods: list[Object] = found.get("items") or []
        return [self._take(PODS, pod) for pod in pods]

    def create_job(self, obj: Object) -> Kept:
        stored: Object = self._call("POST", self._path(JOBS), body=obj)
        return self._take(JOBS, stored)

    def create_service(self, obj: Object) -> None:
        try:
            self._take(SERVICES, self._call("POST", self._path(SERVICES), body=obj))
        except AlreadyExistsError:
            return

    def delete_service(self, name: str) -> None:
        try:
            self._call("DELETE", self._path(SERVICES, name))
        except NotFoundError:
            return

    def delete_job(self, name: str, *, uid: str) -> None:
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            self._call("DELETE", self._path(JOBS, name), body=body)
        except (NotFoundError, ConflictError):
            return

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> None:
        self._take(JOBS, self._call("PATCH", self._path(JOBS, name), body=dict(patch), content_type=MERGE))

    def patch_pod(self, name: str, patch: Mapping[str, Any]) -> None:
        self._call("PATCH", self._path(PODS, name), body=dict(patch), content_type=MERGE)

    def open_log(
        self, pod: str, container: str, *, stream: str, since: str, follow: bool
    ) -> "ByteStream | _QuietStream":
        query = {"container": container, "timestamps": "true"}
        if follow:
            query["follow"] = "true"
        if since:
            query["sinceTime"] = since
        if stream:
            query["stream"] = stream
        path = f"{self._path(PODS, pod)}/log"
        opened = self._client.open_stream(path, query=query, read_timeout_s=_LOG_SILENCE_S, what="log")
        return _QuietStream(opened) if follow else opened

    def can_split_streams(self) -> bool:
        """An API server before 1.32 ignores the unknown option, and would send both streams as each of them."""
        if self._splits is None:
            try:
                said = self._call("GET", "/version")
                version = (int(said["major"]), int("".join(c for c in said["minor"] if c.isdigit())))
            except (KnsError, KeyError, ValueError, TypeError):
                return False
            self._splits = version >= _SPLIT_SINCE
        return self._splits

    def run_in(self, pod: str, container: str, command: Sequence[str]) -> tuple[int, str]:
        path = self._path(PODS, pod)
        return run_command(self._client, path, container=container, command=command, timeout_s=_COMMAND_S)

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        send_input(self._client, self._path(PODS, pod), container=container, data=data, timeout_s=_INPUT_S)

    def read_usage(self, pod: str) -> Mapping[str, Mapping[str, str]] | None:
        try:
            found = self._call("GET", f"{_METRICS}/namespaces/{self._namespace}/pods/{pod}")
        except NotFoundError:
            self._require_metrics()
            return None
        except ForbiddenError as error:
            raise MetricsMissingError(f"the metrics of pods may not be read; grant `get` on them: {error}") from error
        return {each["name"]: each.get("usage") or {} for each in found.get("containers") or ()}

    def _require_metrics(self) -> None:
        """A pod without metrics is new, or the cluster has none at all."""
        try:
            self._call("GET", _METRICS)
        except (NotFoundError, UnavailableError) as error:
            raise MetricsMissingError(f"the cluster has no metrics API; install metrics-server ({error})") from error

    def read_node(self, name: str) -> Object | None:
        try:
            node: Object = self._call("GET", f"/api/v1/nodes/{name}")
        except (NotFoundError, ForbiddenError, RefusedError):
            return None
        return node

    def _path(self, kind: str, name: str = "") -> str:
        return ROWS[kind].path(self._namespace, name)

    def _call(self, method: str, path: str, *, body: Any = None, content_type: str = "application/json") -> Any:
        return self._client.request(method, path, body=body, content_type=content_type, read_timeout_s=_CALL_S)


class _QuietStream:
    """A log that is followed. Its silent connection ends instead of failing, so that the reader opens the next one."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Any:
        try:
            yield from self._stream
        except UnavailableError as error:
            if "ReadTimeoutError" not in str(error):
                raise

    def close(self) -> None:
        self._stream.close()
