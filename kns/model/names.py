"""
Every name, label and annotation key that kns gives to an object, in one place.

A job's number is its identity on the host: namespace, virtual cluster and Ingress carry the same name, and nothing
without the job label is ever deleted.
"""

import re
from hashlib import sha256

FIELD_MANAGER = "kns"
GROUP = "kns.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
RECORD_KIND = "NestedJob"

JOB_LABEL = "kns.io/job"
# Whose a job's namespace or volume is, by the installation's system namespace: no two installations share one.
INSTALLATION_LABEL = "kns.io/installation"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
COMPONENT_LABEL = "kns.io/component"
USER_LABEL = "kns.io/user"
APP_LABEL = "kns.io/app"
MACHINE_LABEL = "kns.io/machine"
JOB_NAME_ANNOTATION = "kns.io/job-name"
RECORD_UID_ANNOTATION = "kns.io/record-uid"
NODE_SELECTOR_ANNOTATION = "kns.io/node-selector"  # of a job's namespace; the policy kns-job-pods reads it
APPLIED_ANNOTATION = "kns.io/applied"  # a digest of what kns last applied
FINALIZER = "kns.io/cleanup"

# Set by vcluster on every copy it makes. A tenant can put our labels on a pod of its own and the copy carries them,
# so whatever has this label is the tenant's and never ours.
SYNCED_LABEL = "vcluster.loft.sh/managed-by"
SYNCED_NAMESPACE_LABEL = "vcluster.loft.sh/namespace"

OWN_SELECTOR = f"{JOB_LABEL},!{SYNCED_LABEL}"

LIMIT_RANGE = "kns-limit-range"
RESOURCE_QUOTA = "kns-quota"
DRAIN_QUOTA = "kns-drain"
INIT_JOB = "kns-init"
INIT_CONFIG = "kns-init-plan"
INIT_SECRET = "kns-init"  # noqa: S105 - the name of a Secret, not one
INIT_ENV = "kns-init-env"  # a Secret: what only the init pod's environment has
TARGET = "kns-target"  # the Service behind the job's Ingress
SHELL = "kns-shell"  # Deployment, Service and Secret of the web shell; inside, its ServiceAccount in kube-system
SHELL_ACCESS = "kns-shell-access"  # a Secret: what the syncer gives out for that ServiceAccount
SHELL_PATH = "/gotty-shell"  # below the job's URL
JOB_INFO = "kns-job"  # ConfigMap and Secret with what an app may know of its job, inside and for the init pod
KEYCLOAK_INFO = "kns-keycloak"  # a Secret: the job's own Keycloak client, as the app is told of it
PULL_SECRET = "kns-pull"  # noqa: S105 - the name of a Secret
SYSTEM_PULL_SECRET = "jarvice-docker"  # noqa: S105 - the name of a Secret
KNS_ROLE_BINDING = "kns-scheduler"
KNS_CLUSTER_ROLE = "kns-job-namespace"
KNS_POLICY = "kns-scheduler"  # the ValidatingAdmissionPolicy that bounds kns's own account
SYNCER_ROLE_BINDING = "kns-vcluster-syncer"
SYNCER_CLUSTER_ROLE = "kns-vcluster-syncer"

KEYCLOAK_OWNER_ATTRIBUTE = "kns.record-uid"  # of a Keycloak client: the uid of the record it was made for
# Of a Keycloak client: the uid of the system namespace, since clusters that share a realm may share that name.
KEYCLOAK_INSTALLATION_ATTRIBUTE = "kns.installation"

SCHEDULER_ID = 1  # the contract's scheduler id; there is only one

_NOT_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_DNS = re.compile(r"[^a-z0-9-]")
_JOB_NAME = re.compile(r"kns-job-([1-9][0-9]{0,18})")


def job_object_name(number: int) -> str:
    """
    Name of the job's namespace, virtual cluster, Ingress and Keycloak client.

    >>> job_object_name(7)
    'kns-job-7'
    """
    return f"kns-job-{number}"


def read_job_number(name: str) -> int | None:
    """
    The number of the job whose objects on the host are called `name`; None if no job's are.

    >>> read_job_number("kns-job-7"), read_job_number("kns-job-07")
    (7, None)
    """
    found = _JOB_NAME.fullmatch(name)
    return int(found[1]) if found else None


def vault_class(user: str, vault: str) -> str:
    """
    The storage class of a user's vault inside the virtual cluster, a DNS label; only a name that is too long is hashed.

    >>> vault_class("user1", "data")
    'user1-data'
    >>> vault_class("Ana@example.org", "My_Data")
    'ana-example-org-my-data'
    """
    full = f"{user}-{vault}"
    safe = _NOT_DNS.sub("-", full.lower()).strip("-")
    return safe if len(safe) <= 63 else f"{safe[:52].rstrip('-')}-{sha256(full.encode()).hexdigest()[:10]}"


def vault_volume(number: int, claim_uid: str) -> str:
    """The PersistentVolume of one claim on a vault; no other claim, not even a later one of that name, has its name."""
    return f"{job_object_name(number)}-{claim_uid}"


def certs_secret(number: int) -> str:
    """The Secret in which a virtual cluster's syncer keeps its certificates and `admin.conf`."""
    return f"{job_object_name(number)}-certs"


def control_plane_selector(number: int) -> dict[str, str]:
    """Labels that the chart gives to the control-plane pod."""
    return {"app": "vcluster", "release": job_object_name(number)}


def record_secret(record: str) -> str:
    """The Secret beside a record that holds the job's password and random tokens."""
    return f"{record}-tokens"


def record_output(record: str) -> str:
    """The Secret beside a record that holds the job's output."""
    return f"{record}-output"


def orphan_event(kind: str, key: str, reason: str) -> str:
    """The Event that tells of one orphan; the same at every sweep, so that a later one counts it up."""
    return f"kns-orphan-{sha256(f'{kind} {key} {reason}'.encode()).hexdigest()[:16]}"


def label_value(text: str) -> str:
    """
    `text` as a label value: at most 63 characters of the allowed set; a hash keeps cut or changed ones apart.

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
    The host-side name of an object that vcluster copies (the rule of its `translate.SafeConcatName`, v0.36).

    >>> host_name("web", "default", "kns-job-7")
    'web-x-default-x-kns-job-7'
    >>> host_name("a-rather-long-service-name-for-the-web-frontend", "some-namespace", "kns-job-7")
    'a-rather-long-service-name-for-the-web-frontend-x-so-735bb619dd'
    """
    full = "-".join([name, "x", namespace, "x", vcluster])
    if len(full) <= 63:
        return full
    return (full[:52] + "-" + sha256(full.encode()).hexdigest()[:10]).replace(".-", "-")
