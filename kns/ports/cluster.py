"""The host cluster: its kinds, what stages read and write there, and what HTTP requests list."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from kns.model.job.location import Location
from kns.model.job.member import Member

Object = dict[str, Any]  # a Kubernetes object as decoded JSON
MOST_WARNINGS = 50  # Events in one answer of `list_warnings`; each has up to 2 KiB, and people read a few
MOST_EVENTS = 500  # in one answer of `list_events`; many more than a usual job has, and 1 MiB at most
# Of which these are the newest. The API server lists Events in the order of their names, so all have to be read for
# that; a tenant may cause any number of them.
MOST_EVENTS_READ = 5_000


class Kind(StrEnum):
    """The kinds of the host cluster that kns uses. The adapter's kind table has their paths; a test compares RBAC."""

    NAMESPACE = "Namespace"
    ROLE_BINDING = "RoleBinding"
    LIMIT_RANGE = "LimitRange"
    RESOURCE_QUOTA = "ResourceQuota"
    SERVICE_ACCOUNT = "ServiceAccount"
    SECRET = "Secret"  # noqa: S105 - a kind
    CONFIG_MAP = "ConfigMap"
    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    POD = "Pod"
    JOB = "Job"
    INGRESS = "Ingress"
    POD_DISRUPTION_BUDGET = "PodDisruptionBudget"
    HTTP_ROUTE = "HTTPRoute"
    GATEWAY = "Gateway"
    NETWORK_POLICY = "NetworkPolicy"
    EVENT = "Event"
    POD_METRICS = "PodMetrics"
    STORAGE_CLASS = "StorageClass"
    PERSISTENT_VOLUME = "PersistentVolume"
    PERSISTENT_VOLUME_CLAIM = "PersistentVolumeClaim"
    CSI_DRIVER = "CSIDriver"
    RUNTIME_CLASS = "RuntimeClass"


class Cluster(Protocol):
    """The host cluster."""

    def observe(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """
        One of kns's own objects from the watch cache, which may be a moment old; None if absent.

        Only for watched kinds: Namespace, ResourceQuota, Service (`kns-target` only), Deployment, StatefulSet, Pod,
        Job, Ingress, PersistentVolume and HTTPRoute. Deployment, StatefulSet, Job and Pod have the fields that stages
        read: labels and no annotations, the replicas and no template. `read` returns all. On a site without a Gateway,
        HTTPRoutes are absent as long as they are not known, and on a host that does not have the kind.

        Raises:
            UnavailableError: the cache is not filled. On a site with a Gateway that may last for HTTPRoute, if the host
                does not have this kind.
        """
        ...

    def observe_job(self, kind: Kind, location: Location) -> Sequence[Object]:
        """All objects of a watched kind with this job's label, in its namespace if the kind has one; no copies."""
        ...

    def observe_routes_at(self, host: str, path: str) -> Sequence[Object]:
        """The Ingresses and HTTPRoutes, the latter as with `observe`, of all jobs that route this host and path."""
        ...

    def observe_copies(self, kind: Kind, location: Location) -> Sequence[Object]:
        """
        The copies of the tenant's objects in this job's namespace; only PersistentVolumeClaim and Service are watched.

        They have the fields that stages read. A Service whose fields are too large to be kept has no spec: read it.
        """
        ...

    def observe_copy(self, kind: Kind, location: Location, name: str) -> Object | None:
        """One of `observe_copies`, by its name on the host; None if absent."""
        ...

    def observe_members(self, installation: str) -> Sequence[Member]:
        """
        The pool members of the installation in this system namespace, from the watch cache.

        A member that this process claims or marks is shown so immediately.
        """
        ...

    def observe_free_members(self, installation: str, shape: str) -> Sequence[Member]:
        """Those of `observe_members` with this shape that a job may claim. The cost grows with their number only."""
        ...

    def claim(self, member: Member, annotations: Mapping[str, str]) -> None:
        """
        Write these annotations to the namespace of a member, if it is still the version that was observed. Not subject
        to the limit of writes, because a client waits.

        Raises:
            ConflictError: the namespace was changed, claimed or deleted.
        """
        ...

    def read(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object, read from the API server; None if absent."""
        ...

    def read_shared(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """
        Like `read`, for an object that all jobs need: it may be half a minute old, so the API server gets few requests
        however many jobs there are. While the API server gives no answer, the last one is returned.
        """
        ...

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        """The objects of one namespace, or of a kind without namespaces, read from the API server."""
        ...

    def walk_objects(self, kind: Kind) -> Iterator[Object]:
        """
        All objects of a kind on the host, also those of others, read from the API server. They come a page at a time,
        so keep none of them: a large host has tens of thousands.
        """
        ...

    def list_metadata(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        """
        Like `list_objects`, but only the metadata of each object, so that no contents of Secrets are transferred. May
        be a moment old.
        """
        ...

    def list_events(self, namespace: str, about: str) -> Sequence[Object]:
        """The newest Events about objects of this name, as `NamespaceReader.list_events`."""
        ...

    def apply(self, obj: Object) -> Object:
        """
        Apply `obj` (server-side, forced, field manager `kns`) and return the stored object. If it has a
        resourceVersion, only that version is changed.

        Raises:
            RefusedError: quota, admission or schema refused it.
            ConflictError: the stored object has another resourceVersion.
        """
        ...

    def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, version: str | None = None
    ) -> bool:
        """
        Request deletion. An absent object is a success; an object with another uid or resourceVersion stays. Returns
        whether this request deletes an object.
        """
        ...

    def scale(self, kind: Kind, namespace: str, name: str, replicas: int, *, uid: str) -> Object | None:
        """
        Set the number of pods of a Deployment or a StatefulSet, and nothing else. Returns the stored object; None if
        there is none with this uid.
        """
        ...

    def has_ready_pod(self, namespace: str, selector: str) -> bool:
        """Whether a pod with these labels is ready and not about to end, read from the API server; of a tenant, too."""
        ...

    def delete_pods(self, namespace: str, selector: str, *, grace_s: int) -> None:
        """Request deletion of all matching pods with this grace period."""
        ...

    def pod_log(self, namespace: str, pod: str, container: str) -> str | None:
        """The last lines of a container's log; None if it has no log yet."""
        ...

    def pod_log_start(self, namespace: str, pod: str, container: str, *, limit_bytes: int) -> str | None:
        """The first bytes of a container's log, about `limit_bytes` and within a line; None if it has no log yet."""
        ...


class NamespaceReader(Protocol):
    """The part of `Cluster` for HTTP answers: every call ends within 15 s, with a result or an error."""

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        """
        The objects of one namespace, read from the API server.

        Raises:
            NotFoundError: the host cluster does not have this kind.
            ForbiddenError: kns has no rights in the namespace, or not yet.
        """
        ...

    def list_events(self, namespace: str) -> Sequence[Object]:
        """
        The newest `MOST_EVENTS` Events of one namespace, in any order, of the first `MOST_EVENTS_READ` by name, or of
        fewer if the API server is slow. Errors as `list_objects`.
        """
        ...

    def list_warnings(self, namespace: str) -> Sequence[Object]:
        """Like `list_events`, the newest `MOST_WARNINGS` of type Warning."""
        ...
