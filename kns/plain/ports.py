"""
The cluster as plain jobs need it: one namespace, and the rights of a namespaced Role.

Objects are decoded JSON with the fields that `kns.plain.kept` keeps. Every method may raise `KnsError`; the
subclass says who can fix it. The Role of the Posit plugin allows all of it: jobs and pods with all verbs, services
without `update`, events with `watch` only, metrics with `get` only; `get` on nodes is optional.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Object = dict[str, Any]
Kept = Mapping[str, Any]
STDOUT, STDERR, MIXED = "Stdout", "Stderr", ""


class LogStream(Protocol):
    """The bytes of a log as they arrive. `close` may be called by another thread and ends the iteration."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Cluster(Protocol):
    """
    `find_` and `list_` methods answer from watch caches, which may be a moment old. They raise `UnavailableError` until
    the caches are filled.
    """

    def list_jobs(self) -> Sequence[Kept]: ...

    def find_job(self, name: str) -> Kept | None:
        """The same object until the cluster reports the job again: what was made of it may be used again."""
        ...

    def read_job(self, name: str) -> Kept | None:
        """The job from the API server itself, which another process may have created a moment ago. It is kept."""
        ...

    def list_pods(self, job: str) -> Sequence[Kept]: ...

    def read_pods(self, job: str) -> Sequence[Kept]:
        """The pods of a job from the API server itself. They are kept."""
        ...

    def find_service(self, name: str) -> Kept | None: ...

    def find_warning(self, names: Sequence[str]) -> str:
        """The text of the newest warning event about an object of one of these names; "" if none is known."""
        ...

    def create_job(self, obj: Object) -> Kept:
        """
        Create a Kubernetes Job and return it as stored.

        Raises:
            RefusedError: the API server does not accept it.
        """
        ...

    def create_service(self, obj: Object) -> None:
        """A Service of that name may exist already."""
        ...

    def delete_service(self, name: str) -> None: ...

    def delete_job(self, name: str, *, uid: str) -> None:
        """Delete the job, its pods and what it owns, unless another job has its name by now."""
        ...

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> None:
        """
        A merge patch.

        Raises:
            NotFoundError: the job was deleted.
            ConflictError: the patch has a resourceVersion, and the job changed since.
        """
        ...

    def patch_pod(self, name: str, patch: Mapping[str, Any]) -> None: ...

    def open_log(self, pod: str, container: str, *, stream: str, since: str, follow: bool) -> LogStream:
        """
        A log with a timestamp before each line. `stream` is STDOUT, STDERR or MIXED. `since` is a time, "" for all.

        Raises:
            NotFoundError: the pod or its log does not exist.
            RefusedError: the container waits to start, or the server cannot separate the streams.
        """
        ...

    def can_split_streams(self) -> bool:
        """Whether the API server may be able to separate stdout from stderr. The node may refuse it nevertheless."""
        ...

    def run_in(self, pod: str, container: str, command: Sequence[str]) -> tuple[int, str]:
        """
        Run a command in a container, at most a few seconds. Returns its exit code and the beginning of its output.

        Raises:
            KnsError: the container does not run, or does not have the program.
        """
        ...

    def send_input(self, pod: str, container: str, data: bytes) -> None:
        """Write to the input of a running container, then close its input."""
        ...

    def read_usage(self, pod: str) -> Mapping[str, Mapping[str, str]] | None:
        """
        What each container uses, as quantities by `cpu` and `memory`; None if it was not measured yet.

        Raises:
            MetricsMissingError: the cluster has no metrics API, or not for us.
        """
        ...

    def read_node(self, name: str) -> Object | None:
        """A node; None if it does not exist or without the right to see it."""
        ...

    def subscribe(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change` with the name of each job that changed. It must not block."""
        ...
