"""
The kind table: every kind that kns uses, its API path, and the verbs that kns needs.

The scopes of the verbs are `cluster` (a ClusterRole), `job` (the RoleBinding in each job namespace) and `system` (a
Role in the system namespace). A test compares the table with manifests/rbac.
"""

from dataclasses import dataclass

from kns.model import names
from kns.ports import Kind


@dataclass(frozen=True, slots=True)
class KindRow:
    """
    `prefix` is the API path before the namespace. `cluster`, `job` and `system` are the verbs needed in that scope.

    `watched`: kns watches its own objects of this kind; `copies`: the tenants', which the syncers created. A host may
    not have an `optional` kind. `page` is the number of
    objects in one answer to a list; it is small for kinds whose objects may have 1 MiB. With `metadata_page` lists of
    metadata come in pages of this size, without annotations and labels, because tenants make these objects.
    """

    prefix: str
    plural: str
    namespaced: bool = True
    watched: bool = False
    copies: bool = False
    optional: bool = False
    page: int = 500
    metadata_page: int = 0
    cluster: tuple[str, ...] = ()
    job: tuple[str, ...] = ()
    system: tuple[str, ...] = ()

    def path(self, namespace: str = "", name: str = "") -> str:
        """URL path of the collection, in all namespaces if none is given, or of one object."""
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.prefix}{middle}/{self.plural}" + (f"/{name}" if name else "")


_WATCH = ("get", "list", "watch")
_APPLY = ("create", "patch")  # the verbs of server-side apply

KINDS: dict[Kind, KindRow] = {
    Kind.NAMESPACE: KindRow(
        "/api/v1", "namespaces", namespaced=False, watched=True, cluster=(*_WATCH, *_APPLY, "delete")
    ),
    Kind.ROLE_BINDING: KindRow("/apis/rbac.authorization.k8s.io/v1", "rolebindings", cluster=_APPLY),
    Kind.LIMIT_RANGE: KindRow("/api/v1", "limitranges", job=_APPLY),
    Kind.RESOURCE_QUOTA: KindRow("/api/v1", "resourcequotas", watched=True, cluster=_WATCH, job=_APPLY),
    Kind.SERVICE_ACCOUNT: KindRow("/api/v1", "serviceaccounts", job=_APPLY),
    Kind.SECRET: KindRow(
        "/api/v1", "secrets", job=("get", *_APPLY), system=("get", "list", "create", "update", "delete")
    ),
    Kind.CONFIG_MAP: KindRow("/api/v1", "configmaps", job=_APPLY, system=("get", *_APPLY, "update")),
    Kind.SERVICE: KindRow(
        "/api/v1",
        "services",
        watched=True,
        copies=True,
        page=100,  # a Service of a tenant may have 64 KiB (manifests/admission-job-sizes.yaml)
        cluster=_WATCH,
        job=(*_APPLY, "delete"),
    ),
    Kind.ENDPOINT_SLICE: KindRow("/apis/discovery.k8s.io/v1", "endpointslices", job=("get", *_APPLY)),
    Kind.DEPLOYMENT: KindRow("/apis/apps/v1", "deployments", watched=True, cluster=_WATCH, job=(*_APPLY, "delete")),
    Kind.STATEFUL_SET: KindRow("/apis/apps/v1", "statefulsets", watched=True, cluster=_WATCH, job=_APPLY),
    Kind.POD: KindRow(
        "/api/v1",
        "pods",
        watched=True,
        metadata_page=50,  # a pod of a tenant may have 256 KiB of annotations
        cluster=_WATCH,
        job=("get", "list", "deletecollection"),
    ),
    Kind.JOB: KindRow("/apis/batch/v1", "jobs", watched=True, cluster=_WATCH, job=_APPLY, system=_APPLY),
    Kind.INGRESS: KindRow("/apis/networking.k8s.io/v1", "ingresses", watched=True, cluster=_WATCH, job=_APPLY),
    Kind.HTTP_ROUTE: KindRow(
        "/apis/gateway.networking.k8s.io/v1",
        "httproutes",
        watched=True,
        optional=True,
        cluster=_WATCH,
        job=(*_APPLY, "delete"),
    ),
    Kind.GATEWAY: KindRow("/apis/gateway.networking.k8s.io/v1", "gateways", cluster=("get",)),
    Kind.NETWORK_POLICY: KindRow("/apis/networking.k8s.io/v1", "networkpolicies", job=_APPLY),
    Kind.POD_DISRUPTION_BUDGET: KindRow("/apis/policy/v1", "poddisruptionbudgets", job=_APPLY),
    Kind.EVENT: KindRow("/api/v1", "events", job=("list",), system=("get", "list", *_APPLY)),
    Kind.POD_METRICS: KindRow("/apis/metrics.k8s.io/v1beta1", "pods", job=("list",)),
    Kind.STORAGE_CLASS: KindRow("/apis/storage.k8s.io/v1", "storageclasses", namespaced=False, cluster=("get", "list")),
    Kind.PERSISTENT_VOLUME: KindRow(
        "/api/v1", "persistentvolumes", namespaced=False, watched=True, cluster=(*_WATCH, *_APPLY, "delete")
    ),
    Kind.PERSISTENT_VOLUME_CLAIM: KindRow("/api/v1", "persistentvolumeclaims", copies=True, page=20, cluster=_WATCH),
    Kind.CSI_DRIVER: KindRow("/apis/storage.k8s.io/v1", "csidrivers", namespaced=False, cluster=("get",)),
    Kind.RUNTIME_CLASS: KindRow("/apis/node.k8s.io/v1", "runtimeclasses", namespaced=False, cluster=("get",)),
}

RECORDS = KindRow(
    f"/apis/{names.GROUP}/{names.VERSION}",
    "nestedjobs",
    watched=True,
    page=20,  # a record of an earlier release may have 1.5 MiB
    system=("get", "list", "watch", "create", "patch", "delete"),
)
# Only on sites that show what is free of a machine (overlays/free-machines). A node has 10 KiB and more.
NODES = KindRow("/api/v1", "nodes", namespaced=False, page=100, cluster=("list",))
LEASES = KindRow("/apis/coordination.k8s.io/v1", "leases", system=("get", "create", "update"))

WATCHED = tuple(kind for kind, row in KINDS.items() if row.watched and not row.optional)
OPTIONAL = tuple(kind for kind, row in KINDS.items() if row.watched and row.optional)
COPIED = tuple(kind for kind, row in KINDS.items() if row.copies)
