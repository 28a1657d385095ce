"""Virtual clusters: the chart that makes one, and the API inside."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from kns.model.job.location import Location
from kns.ports.cluster import Kind, Object


class Renderer(Protocol):
    def render(self, location: Location, build_values: Callable[[Location], Mapping[str, Any]]) -> list[Object]:
        """
        The chart's objects for the virtual cluster at `location`, in the order in which to apply them.

        `build_values` returns the chart's values for any location. Jobs of one shape have the same values for the same
        location, so the renderer can reuse one rendering for all of them.

        Raises:
            RenderError: helm refused the values.
            UnavailableError: helm was killed, timed out or could not be started.
        """
        ...


class VirtualClusters(Protocol):
    """
    Each call takes the job's namespace on the host and a kubeconfig. The namespace identifies the cluster, because a
    tenant can change what the kubeconfig is made from.
    """

    def listens(self, namespace: str, server: str) -> bool:
        """Whether something accepts connections at the address of this URL (`https://10.96.0.7:443`)."""
        ...

    def is_ready(self, namespace: str, kubeconfig: str) -> bool:
        """Whether the virtual cluster's API answers and its default ServiceAccount exists."""
        ...

    def apply(self, namespace: str, kubeconfig: str, objects: Sequence[Object]) -> None:
        """
        Server-side apply in the virtual cluster. Objects whose namespace does not exist are skipped.

        Raises:
            RefusedError: the virtual cluster refused an object, for example by a webhook of the tenant.
        """
        ...

    def find_namespaces(
        self, namespace: str, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]
    ) -> frozenset[str]:
        """Those of `namespaces` in the virtual cluster that contain an object of this kind and name."""
        ...

    def retry_pods(self, namespace: str, kubeconfig: str, mark: str, page: str) -> str:
        """
        Make the syncer try pods again that have no node yet, the oldest of a page first.

        Each gets `mark` as an annotation, because any change of a pod ends the syncer's delay. `page` is "" for the
        first page of these pods, else what the call for the page before returned. Returns "" after the last page. A pod
        that the virtual cluster does not let kns change is left out.
        """
        ...
