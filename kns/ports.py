"""
Protocols for everything outside of kns, and `Context`, which every stage receives.

Each port has one adapter and one in-memory fake; the same contract tests run on both. Every method may raise
`TransientError`: a later try may succeed. Its docstring names the other errors.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from kns.model import names
from kns.model.catalog.catalog import Catalog
from kns.model.job.inputs import JobInputs
from kns.model.job.job import Accepted, Job, JobSpec, JobState, JobStatus, StopReason
from kns.model.job.location import Location
from kns.model.job.output import JobOutput
from kns.model.job.room import Room
from kns.model.job.tokens import Tokens
from kns.model.site import JobAddress, Site
from kns.model.submit.token_claims import TokenClaims

Object = dict[str, Any]  # a Kubernetes object as decoded JSON
MOST_WARNINGS = 50  # Events in one answer of `list_warnings`; each has up to 2 KiB, and people read a few
MOST_EVENTS = 500  # in one answer of `list_events`; many more than a usual job has, and 1 MiB at most
MOST_SURPLUS = 100  # records in one answer of `list_surplus`, so that one reconcile does not last minutes


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


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall-clock time with a time zone, for stored times."""
        ...

    def monotonic(self) -> float:
        """Seconds that never decrease, for waiting."""
        ...


class Cluster(Protocol):
    """The host cluster."""

    def observe(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """
        One of kns's own objects from the watch cache, which may be a moment old; None if absent.

        Only for watched kinds: Namespace, ResourceQuota, Deployment, StatefulSet, Pod, Job, Ingress, PersistentVolume,
        and HTTPRoute on a site with a Gateway.

        Raises:
            UnavailableError: the cache is not filled. For HTTPRoute that may last, if the host does not have this kind.
        """
        ...

    def observe_job(self, kind: Kind, location: Location) -> Sequence[Object]:
        """All objects of a watched kind with this job's label, in its namespace if the kind has one; no copies."""
        ...

    def observe_routes_at(self, host: str, path: str) -> Sequence[Object]:
        """The Ingresses and, on a site with a Gateway, the HTTPRoutes of all jobs that route this host and path."""
        ...

    def observe_copies(self, kind: Kind, location: Location) -> Sequence[Object]:
        """The copies of the tenant's objects in this job's namespace; only PersistentVolumeClaim is watched."""
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

    def list_metadata(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[Object]:
        """
        Like `list_objects`, but only the metadata of each object, so that no contents of Secrets are transferred. May
        be a moment old.
        """
        ...

    def list_events(self, namespace: str, about: str) -> Sequence[Object]:
        """The Events about objects of this name, at most `MOST_EVENTS`, read from the API server."""
        ...

    def apply(self, obj: Object) -> Object:
        """
        Apply `obj` (server-side, forced, field manager `kns`) and return the stored object.

        Raises:
            RefusedError: quota, admission or schema refused it.
        """
        ...

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        """Request deletion. An absent object is a success; an object with another uid stays."""
        ...

    def delete_pods(self, namespace: str, selector: str, *, grace_s: int) -> None:
        """Request deletion of all matching pods with this grace period."""
        ...

    def pod_log(self, namespace: str, pod: str, container: str) -> str | None:
        """The last lines of a container's log; None if it has no log yet."""
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
        """The Events of one namespace, at most `MOST_EVENTS`, in any order. Errors as `list_objects`."""
        ...

    def list_warnings(self, namespace: str) -> Sequence[Object]:
        """
        The Events of type Warning in one namespace, at most `MOST_WARNINGS`, in any order. Errors as `list_objects`.
        """
        ...


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
    def is_ready(self, kubeconfig: str) -> bool:
        """Whether the virtual cluster's API answers and its default ServiceAccount exists."""
        ...

    def apply(self, kubeconfig: str, objects: Sequence[Object]) -> None:
        """
        Server-side apply in the virtual cluster. Objects whose namespace does not exist are skipped.

        Raises:
            RefusedError: the virtual cluster refused an object, for example by a webhook of the tenant.
        """
        ...

    def find_namespaces(self, kubeconfig: str, kind: Kind, name: str, namespaces: Collection[str]) -> frozenset[str]:
        """Those of `namespaces` in the virtual cluster that contain an object of this kind and name."""
        ...

    def retry_pods(self, kubeconfig: str, mark: str, page: str) -> str:
        """
        Make the syncer try pods again that have no node yet, the oldest of a page first.

        Each gets `mark` as an annotation, because any change of a pod ends the syncer's delay. `page` is "" for the
        first page of these pods, else what the call for the page before returned. Returns "" after the last page. A pod
        that the virtual cluster does not let kns change is left out.
        """
        ...


class IdentityProvider(Protocol):
    """
    The realm that contains the jobs' OIDC clients. A client is a Keycloak `ClientRepresentation` as decoded JSON.

    Every method may raise `UnavailableError`, `UnauthorizedError` (kns's credentials or the realm are wrong) and
    `ForbiddenError` (the credentials lack a role). Repeated tries give the same error text.
    """

    def find_client(self, client_id: str) -> Object | None:
        """The client with this `clientId`, including its `secret`; None if absent."""
        ...

    def list_clients(self, prefix: str) -> Sequence[Object]:
        """All clients whose `clientId` starts with `prefix`."""
        ...

    def create_client(self, client: Object) -> None:
        """
        Raises:
            AlreadyExistsError: a client with its `clientId` exists.
            RefusedError: the server refused the client.
        """
        ...

    def update_client(self, key: str, client: Object) -> None:
        """
        Set the keys of `client` in the client whose `id` is `key`. Other keys keep their values. If there is no such
        client, nothing happens.

        Raises:
            RefusedError: as above.
        """
        ...

    def delete_client(self, key: str) -> None:
        """Delete the client whose `id` is `key`. An absent client is a success."""
        ...


class OutputStore(Protocol):
    """The jobs' output. Each is in an object owned by the job's record, so it outlives the job's namespace."""

    def read(self, record: str, *, recent: bool = False) -> JobOutput:
        """With `recent` the output may be a moment old. That halves the load on the host, for clients that poll."""
        ...

    def write(self, job: Job, output: JobOutput) -> None:
        """Store the output if it differs from the stored one."""
        ...


class InputStore(Protocol):
    """The inputs of jobs that are too large for their records."""

    def read(self, job: Job) -> JobInputs:
        """
        The inputs of a job with `accepted.inputs`.

        Raises:
            InvalidInputError: they are missing, or were changed.
        """
        ...

    def remove(self, job: Job) -> None:
        """Delete the inputs of a job with `accepted.inputs`. Absent inputs are a success."""
        ...


class TokenStore(Protocol):
    """The jobs' passwords and random tokens. Each job's are in a Secret owned by its record."""

    def read(self, record: str) -> Tokens | None: ...

    def ensure(self, job: Job) -> Tokens:
        """The job's tokens. The first call makes them, later calls return the same."""
        ...


@dataclass(frozen=True, slots=True)
class Share:
    """The live jobs of one user, and what their machines have together."""

    jobs: int = 0
    cores: int = 0
    gib: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """`live` by user name, `failures` the number of failed jobs by reason, as far as their records still exist."""

    live: Mapping[str, Share]
    failures: Mapping[str, int]


class JobStore(Protocol):
    """
    The records. Reads come from the watch cache and raise `UnavailableError` until it is filled. They show this
    replica's own writes immediately, those of other replicas within a second.
    """

    def get(self, record: str) -> Job | None: ...

    def find(self, number: int) -> Job | None: ...

    def find_by_name(self, name: str) -> Job | None:
        """The job with this public name (`accepted.name`)."""
        ...

    def find_by_namespace(self, namespace: str) -> Job | None:
        """The job that runs in this namespace of the host."""
        ...

    def walk_jobs(self, usernames: Collection[str], *, live: bool) -> Iterator[Job]:
        """
        The live or the ended jobs of these users, newest first. Jobs that kns has not accepted are left out.

        Each job is read when the iterator reaches it, so that thousands of jobs are never in memory together.
        """
        ...

    def list_owners(self, payer: str) -> frozenset[str]:
        """The users of all jobs that this account pays for."""
        ...

    def list_surplus(self, username: str, *, most: int) -> Sequence[Job]:
        """
        The oldest ended jobs of this user beyond the newest `most`, at most `MOST_SURPLUS`. Jobs that still have
        objects on the host count, but are left out.
        """
        ...

    def list_removed(self) -> Mapping[str, bool]:
        """The uid of each record, and whether nothing of its job is left on the host."""
        ...

    def list_newest_of_app(self, app: str, *, most: int) -> Sequence[Job]:
        """The newest ended jobs of an app, of all users."""
        ...

    def list_newest_in_state(self, state: JobState, *, most: int) -> Sequence[Job]:
        """The newest jobs of all users in this state, newest first. Jobs that kns has not accepted are left out."""
        ...

    def tally(self) -> Tally:
        """Numbers about the jobs of all users. No job is parsed for it."""
        ...

    def list_in_state(self, state: JobState) -> Sequence[tuple[int, str]]:
        """
        Number and public name of all users' jobs in this state, in any order, without those that kns has not accepted.
        """
        ...

    def count_live(self, username: str) -> int:
        """How many jobs of this user have not ended."""
        ...

    def fetch(self, number: int) -> Job | None:
        """Like `find`, but from the API server: another replica may have created the job a moment ago."""
        ...

    def fetch_by_name(self, name: str) -> Job | None:
        """Like `find_by_name`, but from the API server."""
        ...

    def allot_number(self) -> int:
        """A new number, higher than all numbers before it."""
        ...

    def find_request(self, request: str) -> Job | None:
        """The first job of this request (`kns.model.job.idempotency`); None if there was none in the last 24 hours."""
        ...

    def create(self, spec: JobSpec, *, request: str | None = None, inputs: bytes | None = None) -> Job:
        """
        Store a new record durably. `spec.accepted` must be set. `spec` and `inputs` are as `split_inputs` returns them;
        the inputs are stored first, so that no record lacks them.

        All calls with the same `request` within 24 hours return the record of the first one, even on several replicas
        at the same time and with different specs.

        Raises:
            RefusedError: the API server's schema or an admission rule refused the record.
        """
        ...

    def request_stop(self, job: Job, reason: StopReason) -> None:
        """Write the request into the spec; safe to repeat. A Terminate replaces a Shutdown, never the reverse."""
        ...

    def extend_walltime(self, job: Job, walltime_s: int) -> None:
        """
        Write the new walltime into the spec, unless the job has ended, must stop, or has a longer one; safe to repeat.

        Raises:
            RefusedError: the API server does not store it.
        """
        ...

    def set_keep(self, job: Job, *, keep: bool) -> None:
        """
        Write into the spec whether the job's objects stay after its end; safe to repeat.

        Raises:
            RefusedError: the API server does not store it.
        """
        ...

    def delete(self, job: Job) -> None:
        """As `RecordWriter.delete`: an administrator may remove the record of an ended job."""
        ...


class RecordAuthority(Protocol):
    """The records as the API server has them, without a cache: for decisions that cannot be undone."""

    def list_uids(self) -> frozenset[str]:
        """The uids of all records, including unreadable ones, read from the API server."""
        ...


class RecordWriter(Protocol):
    """The writes that only the leader makes."""

    def accept(self, job: Job, accepted: Accepted) -> None:
        """
        Store `accepted` in a record applied by hand. Raises ConflictError if the record changed since it was read.
        """
        ...

    def write_status(self, job: Job, status: JobStatus) -> None:
        """Replace the status. Raises ConflictError if the record changed since it was read."""
        ...

    def set_finalizer(self, job: Job, *, present: bool) -> None:
        """Add or remove the cleanup finalizer. Raises ConflictError as above."""
        ...

    def delete(self, job: Job) -> None:
        """
        Request the record's deletion; an absent record is success.

        Raises:
            ConflictError: another record has this name now.
        """
        ...


class Lease(Protocol):
    """The object that decides which replica is the leader."""

    def try_acquire(self, *, holder: str, duration_s: float) -> bool:
        """Acquire or renew the Lease; False while another holder has it."""
        ...

    def release(self, *, holder: str) -> None: ...


class RoomMemory(Protocol):
    """
    What the leader last saw of each job's quota, by the uid of its record. It may forget any of it: then refused pods
    wait for their syncer's own delays.
    """

    def recall(self, uid: str) -> Room | None: ...

    def keep(self, uid: str, room: Room) -> None: ...


class CatalogSource(Protocol):
    def current(self) -> Catalog:
        """The newest valid version."""
        ...


class Bearer(Protocol):
    def verify(self, token: str) -> TokenClaims:
        """
        The claims of a token.

        Raises:
            TokenError: the realm did not sign it, it is for another audience, or it is not valid at this time.
        """
        ...


class RateLimit(Protocol):
    """A limit of events per minute for each key, over a sliding window."""

    def wait_s(self, *key: str) -> float:
        """Seconds until one more event is allowed; 0 if it is allowed now."""
        ...

    def take(self, *key: str) -> float:
        """Count one event and return 0. Over the limit, count nothing and return the seconds to wait."""
        ...


class Health(Protocol):
    def is_ready(self) -> bool:
        """Whether the record cache is filled and the host API answered in the last 30 s."""
        ...

    def watch_ages(self) -> Mapping[str, float | None]:
        """Seconds since the last data of each watch, by the plural of its kind; None if it has had none yet."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """
    The ports that stages use. `identity` is None on a site without Keycloak. Without `rooms`, pods that the quota
    refused wait for their syncer's own delays.
    """

    cluster: Cluster
    renderer: Renderer
    virtual_clusters: VirtualClusters
    outputs: OutputStore
    tokens: TokenStore
    inputs: InputStore
    catalog: CatalogSource
    identity: IdentityProvider | None = None
    rooms: RoomMemory | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """
    One reconcile of one job: the record as read, the time, the site, and the ports.

    `is_time_trusted`: the clock of this machine agrees with the host API's. `leading_since` is when this process became
    the leader; None if that does not matter.
    """

    job: Job
    accepted: Accepted
    now: datetime
    site: Site
    world: World
    is_time_trusted: bool = True
    leading_since: datetime | None = None

    def elapsed_since(self, start: datetime) -> timedelta:
        """
        The time since a stored time, for every limit that ends a job. Zero while the clock is wrong, so that no limit
        passes.
        """
        return self.now - start if self.is_time_trusted else timedelta()

    @property
    def location(self) -> Location:
        """Where the job runs on the host cluster."""
        return self.accepted.location

    @property
    def namespace(self) -> str:
        """The job's namespace on the host cluster."""
        return self.location.namespace

    @property
    def public_name(self) -> str:
        """The job's public name, which is the name of its Keycloak client."""
        return names.job_object_name(self.accepted.number)

    @property
    def address(self) -> JobAddress | None:
        """The job's address, or the one it will have; None if the job has no target or the site no jobs domain."""
        return self.site.job_address(self.accepted.number, self.accepted.nested, url=self.job.status.url)


Wake = Callable[[str], None]  # called with the name of a record that changed


class SessionKeys(Protocol):
    """The keys that sign the sessions of the page. All replicas have the same ones."""

    def read(self) -> tuple[str, ...]:
        """
        The accepted keys; the last one signs.

        Raises:
            UnavailableError: the host cluster did not answer.
        """
        ...


class SignInProvider(Protocol):
    """The realm in which people sign in to the page: the authorization code flow of OAuth 2 with PKCE."""

    def build_url(self, *, redirect_url: str, state: str, verifier: str) -> str:
        """The realm's page to which a browser goes first. It comes back to `redirect_url` with `state` and a code."""
        ...

    def redeem(self, code: str, *, redirect_url: str, verifier: str) -> str:
        """
        The access token for a code.

        Raises:
            RefusedError: the realm does not accept the code.
            UnavailableError: the realm does not answer.
        """
        ...
