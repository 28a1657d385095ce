"""
The outside world as Protocols, and `Context`, the bundle of it that a stage receives.

Each port has one real adapter and one in-memory fake; the same contract tests run on both. Every method may raise
`TransientError` (time may heal it); what else it raises is said at the method.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from kns.model.catalog.catalog import Catalog
from kns.model.job.job import Accepted, Job, JobSpec, JobStatus, StopReason
from kns.model.job.output import JobOutput
from kns.model.job.tokens import Tokens
from kns.model.site import Site
from kns.model.submit.token_claims import TokenClaims

Object = dict[str, Any]  # a Kubernetes object as decoded JSON


class Kind(StrEnum):
    """The host kinds kns touches. The adapter's kind table says where each lives; RBAC is checked against it."""

    NAMESPACE = "Namespace"
    ROLE_BINDING = "RoleBinding"
    LIMIT_RANGE = "LimitRange"
    RESOURCE_QUOTA = "ResourceQuota"
    SERVICE_ACCOUNT = "ServiceAccount"
    SECRET = "Secret"  # noqa: S105 - a kind
    CONFIG_MAP = "ConfigMap"
    SERVICE = "Service"
    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    POD = "Pod"
    JOB = "Job"
    INGRESS = "Ingress"
    NETWORK_POLICY = "NetworkPolicy"
    EVENT = "Event"
    POD_METRICS = "PodMetrics"
    STORAGE_CLASS = "StorageClass"
    PERSISTENT_VOLUME = "PersistentVolume"
    PERSISTENT_VOLUME_CLAIM = "PersistentVolumeClaim"
    CSI_DRIVER = "CSIDriver"
    RUNTIME_CLASS = "RuntimeClass"


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall-clock time, with time zone. For what is stored."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back. For what is waited for."""
        ...


class Cluster(Protocol):
    """The host cluster."""

    def observe(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """
        Our own object as the watch cache has it; None if absent. Only watched kinds: Namespace, ResourceQuota,
        Deployment, StatefulSet, Pod, Job, Ingress, PersistentVolume. May lag behind a write by a moment.
        """
        ...

    def observe_job(self, kind: Kind, number: int) -> Sequence[Object]:
        """All objects of a watched kind that carry this job's label, less the tenant's copies."""
        ...

    def observe_all(self, kind: Kind) -> Sequence[Object]:
        """All objects of a watched kind that carry any job's label, less the tenants' copies."""
        ...

    def observe_copies(self, kind: Kind, number: int) -> Sequence[Object]:
        """The tenant's own in this job's namespace, of the one kind that is watched for them: PersistentVolumeClaim."""
        ...

    def read(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object, read now; None if absent."""
        ...

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        """Objects of one namespace, or of a kind that has none, read now."""
        ...

    def list_metadata(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        """
        As `list_objects`, but of each object nothing except its metadata, so that the contents of Secrets stay where
        they are. May lag behind a write by a moment.
        """
        ...

    def apply(self, obj: Object) -> Object:
        """
        Server-side apply as field manager `kns`, forced; the stored object.

        Raises:
            RefusedError: quota, admission or schema said no.
        """
        ...

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        """Ask for deletion; an absent object is success, another uid is left alone."""
        ...

    def delete_pods(self, namespace: str, selector: str, *, grace_s: int) -> None:
        """Ask for deletion of all pods that match, with that grace."""
        ...

    def pod_log(self, namespace: str, pod: str, container: str) -> str | None:
        """The last lines of a container's log; None while it has none."""
        ...


class NamespaceReader(Protocol):
    """The part of `Cluster` that an HTTP answer may use; an answer from it comes within 15 s or not at all."""

    def list_objects(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        """
        Objects of one namespace, read now.

        Raises:
            NotFoundError: the host has no such kind.
            ForbiddenError: no right there, or not yet.
        """
        ...


class Renderer(Protocol):
    def render(self, number: int, build_values: Callable[[int], Mapping[str, Any]]) -> list[Object]:
        """
        The chart's objects for the virtual cluster of job `number`, in the order to apply them.

        `build_values` gives the values for any number: jobs of one shape differ in nothing else, so one rendering
        serves them all.

        Raises:
            RenderError: helm refused the values.
            UnavailableError: helm was killed, took too long or could not be started.
        """
        ...


class VirtualClusters(Protocol):
    def is_ready(self, kubeconfig: str) -> bool:
        """Whether the virtual cluster's API answers and its default ServiceAccount exists."""
        ...

    def apply(self, kubeconfig: str, objects: Sequence[Object]) -> None:
        """
        Server-side apply inside; an object whose namespace does not exist is left out.

        Raises:
            RefusedError: the virtual cluster said no (a webhook of the tenant's, say).
        """
        ...

    def list_namespaces(self, kubeconfig: str, kind: Kind, name: str) -> frozenset[str]:
        """The namespaces inside that hold an object of that kind and name."""
        ...


class IdentityProvider(Protocol):
    """
    The realm in which jobs get their OIDC clients. A client is a Keycloak `ClientRepresentation` as decoded JSON.

    Every method may raise `UnavailableError`, `UnauthorizedError` (kns's own credentials or the realm are wrong) and
    `ForbiddenError` (they lack the right); their texts do not vary from one try to the next.
    """

    def find_client(self, client_id: str) -> Object | None:
        """The client with that `clientId`, its `secret` included; None if absent."""
        ...

    def list_clients(self, prefix: str) -> Sequence[Object]:
        """All clients whose `clientId` begins so."""
        ...

    def create_client(self, client: Object) -> None:
        """
        Raises:
            AlreadyExistsError: its `clientId` is taken.
            RefusedError: the server does not accept the client as it is.
        """
        ...

    def update_client(self, key: str, client: Object) -> None:
        """
        Set what `client` has in the client whose `id` is `key`; what it lacks stays. An absent one is left absent.

        Raises:
            RefusedError: as above.
        """
        ...

    def delete_client(self, key: str) -> None:
        """Delete the client whose `id` is `key`; an absent one is success."""
        ...


class OutputStore(Protocol):
    """Each job's output, in an object owned by its record: it outlives the job's namespace."""

    def read(self, record: str, *, recent: bool = False) -> JobOutput:
        """With `recent` it may be a moment old, which costs the host half as much: for clients that poll."""
        ...

    def write(self, job: Job, output: JobOutput) -> None:
        """Store it if it differs from what is stored."""
        ...


class TokenStore(Protocol):
    """Each job's password and random tokens, in a Secret owned by its record."""

    def read(self, record: str) -> Tokens | None: ...

    def ensure(self, job: Job) -> Tokens:
        """The job's tokens, made at the first call and the same ever after."""
        ...


class JobStore(Protocol):
    """
    The records. Reads come from the watch cache (`UnavailableError` until it is filled); what this replica stored
    it shows at once, another replica's writes within a second.
    """

    def list_jobs(self) -> Sequence[Job]: ...

    def get(self, record: str) -> Job | None: ...

    def find(self, number: int) -> Job | None: ...

    def find_by_name(self, name: str) -> Job | None:
        """The job with that public name (`accepted.name`)."""
        ...

    def list_of_user(self, username: str) -> Sequence[Job]:
        """The jobs of that user, in any order."""
        ...

    def fetch(self, number: int) -> Job | None:
        """That job from the host, for a number that this replica has not heard of: another may just have given it."""
        ...

    def allot_number(self) -> int:
        """A number never given before, above all given before."""
        ...

    def find_request(self, request: str) -> Job | None:
        """The first job of this request (`model/job/idempotency.py`), None if there was none in the last 24 hours."""
        ...

    def create(self, spec: JobSpec, *, request: str | None = None) -> Job:
        """
        Store a new record; `spec.accepted` is set. On return it is durable.

        With a `request` there is one new record in 24 hours, also when two replicas are asked at once: the others get
        the first, whatever they asked for.

        Raises:
            RefusedError: the API server's schema or an admission rule said no.
        """
        ...

    def request_stop(self, job: Job, reason: StopReason) -> None:
        """Write the wish into the spec; safe to repeat. A Terminate overrides a Shutdown, never the reverse."""
        ...


class RecordAuthority(Protocol):
    """The records as the API server has them, not as a cache does: for decisions that nothing can undo."""

    def list_uids(self) -> frozenset[str]:
        """The uids of all records, read now; those of records that cannot be read are among them."""
        ...


class RecordWriter(Protocol):
    """The reconciler's half of the record: everything here belongs to the leader alone."""

    def accept(self, job: Job, accepted: Accepted) -> None:
        """Freeze what an applied record was accepted with. Raises ConflictError if it changed since."""
        ...

    def write_status(self, job: Job, status: JobStatus) -> None:
        """Replace the status. Raises ConflictError if the record changed since `job` was read."""
        ...

    def set_finalizer(self, job: Job, *, present: bool) -> None:
        """Add or remove the cleanup finalizer. Raises ConflictError as above."""
        ...

    def delete(self, job: Job) -> None:
        """Ask for the record's deletion."""
        ...


class Lease(Protocol):
    """The object that decides which replica leads."""

    def try_acquire(self, *, holder: str, duration_s: float) -> bool:
        """Take or renew it; False while somebody else holds it."""
        ...

    def release(self, *, holder: str) -> None: ...


class CatalogSource(Protocol):
    def current(self) -> Catalog:
        """The newest good version."""
        ...


class Bearer(Protocol):
    def verify(self, token: str) -> TokenClaims:
        """
        What a token says that is signed by the realm, for us, and in its time.

        Raises:
            TokenError: any of it is not so.
        """
        ...


class RateLimit(Protocol):
    """So many events a minute for each key; the minute moves on all the time."""

    def wait_s(self, *key: str) -> float:
        """Seconds until one more would be allowed; 0 = now."""
        ...

    def take(self, *key: str) -> float:
        """Count one event and return 0; if there were too many, count nothing and return the seconds to wait."""
        ...


class Health(Protocol):
    def is_ready(self) -> bool:
        """Whether the record cache is filled and the host API answered in the last 30 s."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """The ports that stages use. `identity` is None at a site without Keycloak."""

    cluster: Cluster
    renderer: Renderer
    virtual_clusters: VirtualClusters
    outputs: OutputStore
    tokens: TokenStore
    catalog: CatalogSource
    identity: IdentityProvider | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """One pass over one job: the record as read, the moment, the site, and the ports."""

    job: Job
    accepted: Accepted
    now: datetime
    site: Site
    world: World

    @property
    def name(self) -> str:
        """The job's name on the host: its namespace, virtual cluster and Ingress."""
        return f"kns-job-{self.accepted.number}"


Wake = Callable[[str], None]  # called with a record's name when something of it changed
