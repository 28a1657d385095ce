"""
Names, label keys and annotation keys of the objects that kns makes.

The names of one job's objects on the host are in `kns.model.job.location`.
"""

import re
from hashlib import sha256

FIELD_MANAGER = "kns"
GROUP = "kns.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
RECORD_KIND = "NestedJob"

MOUNTS_APP_LABEL = "kns.io/mounts-app"  # of an init pod that has the app image as a volume
JOB_LABEL = "kns.io/job"
# The system namespace of the installation that owns a job's namespace or volume. Each installation has its own.
INSTALLATION_LABEL = "kns.io/installation"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
COMPONENT_LABEL = "kns.io/component"
PUBLIC_NAME_LABEL = "kns.io/public-name"  # of a record: label_value of the job's name, so that it can be looked up
USER_LABEL = "kns.io/user"
APP_LABEL = "kns.io/app"
MACHINE_LABEL = "kns.io/machine"
JOB_NAME_ANNOTATION = "kns.io/job-name"
RECORD_UID_ANNOTATION = "kns.io/record-uid"
# Of a job's namespace, for the policy kns-job-pods.
EXTENDED_RESOURCES_ANNOTATION = "kns.io/extended-resources"
RUNTIME_CLASS_ANNOTATION = "kns.io/runtime-class"
RETRIED_ANNOTATION = "kns.io/retried"  # of a tenant's pod, inside: the round in which its syncer was woken
NODE_SELECTOR_ANNOTATION = "kns.io/node-selector"
STORAGE_CLASSES_ANNOTATION = "kns.io/storage-classes"  # for the policy kns-job-claims
APPLIED_ANNOTATION = "kns.io/applied"  # a digest of the object as kns last applied it
FINALIZER = "kns.io/cleanup"

# Of the namespace of a pool member (kns.model.job.member). The claim stays when a job takes the member over.
POOL_LABEL = "kns.io/pool"
POOL_SHAPE_ANNOTATION = "kns.io/pool-shape"
POOL_READY_ANNOTATION = "kns.io/pool-ready"
POOL_STATUS_ANNOTATION = "kns.io/pool-status"
POOL_CLAIM_ANNOTATION = "kns.io/pool-claim"
POOL_CLAIM_TIME_ANNOTATION = "kns.io/pool-claim-time"

# vcluster sets this label on every copy. Copies keep the tenant's labels, which may imitate those of kns, so an object
# with this label is always the tenant's.
SYNCED_LABEL = "vcluster.loft.sh/managed-by"
SYNCED_NAMESPACE_LABEL = "vcluster.loft.sh/namespace"

OWN_SELECTOR = f"{JOB_LABEL},!{SYNCED_LABEL}"

LIMIT_RANGE = "kns-limit-range"
RESOURCE_QUOTA = "kns-quota"
DRAIN_QUOTA = "kns-drain"
INIT_JOB = "kns-init"
INIT_UPLOADS = "kns-init-uploads"  # a ConfigMap, only for a job with uploaded files
INIT_SECRET = "kns-init"  # noqa: S105 - the name of a Secret, not one
INIT_ENV = "kns-init-env"  # a Secret: the environment of the init pod
TARGET = "kns-target"  # the Service behind the job's Ingress
WAKE = "kns-wake"  # Service and EndpointSlice that lead to the HTTP servers of kns while the job is asleep
SHELL = "kns-shell"  # Deployment, Service and Secret of the web shell; inside, its ServiceAccount in kube-system
SHELL_ACCESS = "kns-shell-access"  # a Secret: the syncer writes that ServiceAccount's token into it
SHELL_PATH = "/gotty-shell"  # below the job's URL
JOB_INFO = "kns-job"  # inside: ConfigMap and Secret with the app's information about its job
KEYCLOAK_INFO = "kns-keycloak"  # a Secret: the app's information about its Keycloak client
WEB_SESSION_SECRET = "kns-web-session"  # noqa: S105 - the name of a Secret; in the namespace of kns
PULL_SECRET = "kns-pull"  # noqa: S105 - the name of a Secret
SYSTEM_PULL_SECRET = "jarvice-docker"  # noqa: S105 - the name of a Secret
KNS_ROLE_BINDING = "kns-scheduler"
KNS_CLUSTER_ROLE = "kns-job-namespace"
KNS_POLICY = "kns-scheduler"  # the ValidatingAdmissionPolicy that limits kns's own account
CONTROL_PLANE_BUDGET = "kns-control-plane"  # a PodDisruptionBudget
SYNCER_ROLE_BINDING = "kns-vcluster-syncer"
SYNCER_CLUSTER_ROLE = "kns-vcluster-syncer"

KEYCLOAK_OWNER_ATTRIBUTE = "kns.record-uid"  # the uid of the record that a Keycloak client was made for
# The uid of the system namespace. Clusters that share a realm may use the same name for that namespace.
KEYCLOAK_INSTALLATION_ATTRIBUTE = "kns.installation"

INPUTS_SUFFIX = "-inputs"

SCHEDULER_SELECTOR = "app.kubernetes.io/name=kns-scheduler"  # the pods of kns, in its own namespace
OS_LABEL, LINUX = "kubernetes.io/os", "linux"  # of a node; its kubelet sets it
SERVICE_NAME_LABEL = "kubernetes.io/service-name"  # of an EndpointSlice
SLICE_MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"

SCHEDULER_ID = 1  # the contract's scheduler id; there is only one

JOB_PREFIX = "kns-job-"
JOB_OBJECT_PATTERN = r"^kns-job-[1-9][0-9]{0,18}$"  # also in the schema of the CRD

_NOT_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_DNS = re.compile(r"[^a-z0-9-]")
_JOB_NAME = re.compile(JOB_OBJECT_PATTERN)


def job_object_name(number: int) -> str:
    """
    Public name of job `number`: its scheduler id, its Keycloak client, its host name below the jobs domain.

    It is also the name of the namespace that kns makes for a job. To find the namespace of an existing job, use
    `Job.location`: the record may name another one.

    >>> job_object_name(7)
    'kns-job-7'
    """
    return f"{JOB_PREFIX}{number}"


def is_job_object_name(name: str) -> bool:
    """
    Whether `name` can be the public name, and so the namespace, of a job.

    >>> is_job_object_name("kns-job-7"), is_job_object_name("kns-job-07")
    (True, False)
    """
    return _JOB_NAME.fullmatch(name) is not None


def read_job_number(name: str) -> int | None:
    """
    The number in a name of `job_object_name`; None for any other name.

    >>> read_job_number("kns-job-7"), read_job_number("kns-job-07")
    (7, None)
    """
    return int(name.removeprefix(JOB_PREFIX)) if is_job_object_name(name) else None


def vault_class(user: str, vault: str) -> str:
    """
    The storage class of a user's vault inside the virtual cluster, a DNS label. Only a name that is too long is hashed.

    >>> vault_class("user1", "data")
    'user1-data'
    >>> vault_class("Ana@example.org", "My_Data")
    'ana-example-org-my-data'
    """
    full = f"{user}-{vault}"
    safe = _NOT_DNS.sub("-", full.lower()).strip("-")
    return safe if len(safe) <= 63 else f"{safe[:52].rstrip('-')}-{sha256(full.encode()).hexdigest()[:10]}"


def vault_volume(namespace: str, claim_uid: str) -> str:
    """
    The PersistentVolume for one claim on a vault. The claim's uid makes the name unique, even among claims that had the
    same name one after the other.
    """
    return f"{namespace}-{claim_uid}"


def record_secret(record: str) -> str:
    """The Secret beside a record that holds the job's password and random tokens."""
    return f"{record}-tokens"


def record_output(record: str) -> str:
    """The Secret beside a record that holds the job's output."""
    return f"{record}-output"


def job_inputs(number: int) -> str:
    """The Secret beside a record that holds the parameters that are too large for the record."""
    return f"{job_object_name(number)}{INPUTS_SUFFIX}"


def orphan_event(kind: str, key: str, reason: str) -> str:
    """The Event about one orphan. Every sweep uses the same name, so that a repeated Event only raises its count."""
    return f"kns-orphan-{sha256(f'{kind} {key} {reason}'.encode()).hexdigest()[:16]}"


def label_value(text: str) -> str:
    """
    `text` as a label value: at most 63 characters of the allowed set. A changed value ends in a hash of `text`.

    >>> label_value("ana")
    'ana'
    >>> label_value("ana@example.org") == label_value("ana-example.org")
    False
    """
    safe = _NOT_LABEL.sub("-", text).strip("-._")
    if safe == text and len(safe) <= 63:
        return safe
    return f"{safe[:52].rstrip('-._')}-{sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def host_name(name: str, namespace: str, vcluster: str) -> str:
    """
    Name on the host of an object that vcluster copies (rule: `translate.SafeConcatName` of vcluster v0.36).

    >>> host_name("web", "default", "kns-job-7")
    'web-x-default-x-kns-job-7'
    >>> host_name("a-rather-long-service-name-for-the-web-frontend", "some-namespace", "kns-job-7")
    'a-rather-long-service-name-for-the-web-frontend-x-so-735bb619dd'
    """
    full = "-".join([name, "x", namespace, "x", vcluster])
    if len(full) <= 63:
        return full
    return (full[:52] + "-" + sha256(full.encode()).hexdigest()[:10]).replace(".-", "-")


def state_map(version: str) -> str:
    """
    The ConfigMap in kns's namespace with the prepared state of a Kubernetes version.

    >>> state_map("v1.36.3")
    'kns-state-v1.36.3'
    """
    return f"kns-state-{version}"


def prepare_job(version: str) -> str:
    """
    The Kubernetes Job in kns's namespace that makes the prepared state, and the ConfigMap with its input.

    >>> prepare_job("v1.36.3")
    'kns-prepare-v1-36-3'
    """
    return f"kns-prepare-{version.replace('.', '-').replace('_', '-').lower()}"
