"""The job's namespace, its LimitRange and ResourceQuota, and kns's own rights in it."""

from collections.abc import Iterable, Mapping
from typing import Any

from kns.model import names
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.appdef.resources import VOLUME_SIZE, with_overhead
from kns.model.catalog.vault import AcceptedVault
from kns.model.job.job import Accepted, JobSpec
from kns.model.job.location import Location
from kns.model.job.member import Marks
from kns.model.reading.quantity import add_quantities
from kns.objects.labels import build_labels, build_meta

GPU = "nvidia.com/gpu"
VAULT_CLAIMS = 10  # each is a PersistentVolume on the host; most apps need one
_CLASS = "storageclass.storage.k8s.io"
PODS_PER_NODE = 110  # a kubelet's default
OWN_PODS = 10  # the control plane, CoreDNS, init, the web shell, and each once more while it is replaced
# `pods` does not count pods that ended. Each stays in the host's store with its token Secret until somebody deletes it.
# A job may have so many; together with the Secrets of one node's running pods they leave 230 of `secrets` to the app.
ENDED_PODS = 250
# Far above the needs of any app, and low enough to protect the host's store and address ranges.
COUNTS = {"services": "500", "configmaps": "300", "secrets": "600", "persistentvolumeclaims": "100"}


def build_namespace(
    spec: JobSpec,
    accepted: Accepted,
    *,
    record_uid: str,
    installation: str,
    storage_classes: Iterable[str] = (),
    pod_security: str = "baseline",
    runtime_class: str | None = None,
    member: Marks | None = None,
) -> dict[str, Any]:
    """
    The namespace. Pod Security `baseline` blocks the known ways from a pod to its node; `restricted` is not possible,
    because vcluster's syncer runs as root. `storage_classes` are those that claims of the job may name.

    With `member` it is that of a pool member, which has the marks of the pool and nothing of a record.
    """
    labels = {
        names.USER_LABEL: names.label_value(spec.user),
        names.APP_LABEL: names.label_value(spec.app),
        names.MACHINE_LABEL: names.label_value(accepted.machine.mc_name),
    }
    annotations = {names.JOB_NAME_ANNOTATION: accepted.name, names.RECORD_UID_ANNOTATION: record_uid}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": accepted.location.namespace,
            "labels": {
                **build_labels(accepted.location),
                names.INSTALLATION_LABEL: installation,
                **(labels if member is None else member.labels),
                "pod-security.kubernetes.io/enforce": pod_security,
            },
            "annotations": {
                **(annotations if member is None else member.annotations),
                names.NODE_SELECTOR_ANNOTATION: _join(accepted.machine.node_selector),
                names.STORAGE_CLASSES_ANNOTATION: ",".join(sorted(storage_classes)),
                names.EXTENDED_RESOURCES_ANNOTATION: GPU if accepted.machine.gpus(spec.machine.nodes) else "",
                **({names.RUNTIME_CLASS_ANNOTATION: runtime_class} if runtime_class else {}),
            },
        },
    }


def _join(labels: Mapping[str, str]) -> str:
    """
    >>> _join({"zone": "a", "example.org/disk": "ssd"})
    'example.org/disk=ssd,zone=a'
    """
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def build_role_binding(location: Location, *, service_account: str, system_namespace: str) -> dict[str, Any]:
    """kns's rights in the namespace. Its cluster-wide rights include no Secrets and almost no writes."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": build_meta(names.KNS_ROLE_BINDING, location),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names.KNS_CLUSTER_ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": service_account, "namespace": system_namespace}],
    }


_KEYS = {  # field of LimitRangeItem -> key of Kubernetes
    "default": "default",
    "default_request": "defaultRequest",
    "max": "max",
    "min": "min",
    "max_limit_request_ratio": "maxLimitRequestRatio",
}


def build_limit_range(location: Location, items: list[LimitRangeItem]) -> dict[str, Any]:
    limits = []
    for item in items:
        values = {key: dict(getattr(item, field)) for field, key in _KEYS.items() if getattr(item, field)}
        limits.append({"type": item.type, **values})
    return {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": build_meta(names.LIMIT_RANGE, location),
        "spec": {"limits": limits},
    }


def build_resource_quota(
    accepted: Accepted, *, nodes: int, storage: Mapping[str, str] | None = None, shell: bool = False
) -> dict[str, Any]:
    """
    The quota of a job: cores, memory and GPUs of its machine times `nodes`, plus those of kns's own pods.

    `shell`: the job gets a web shell, whose pod counts, too. `storage` has the limit for each of the host's storage
    classes. A vault is not storage of the host, so only the number of its claims is limited. Objects that cost the host
    neither cores nor memory are limited in number. Tenants get no load balancers and no node ports.
    """
    machine, vault = accepted.machine, accepted.vault
    cores, memory = str(machine.cores(nodes)), f"{machine.memory_gib(nodes)}Gi"
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": build_meta(names.RESOURCE_QUOTA, accepted.location),
        "spec": {
            "hard": {
                "requests.cpu": with_overhead("requests", "cpu", cores, shell=shell),
                "limits.cpu": with_overhead("limits", "cpu", cores, shell=shell),
                "requests.memory": with_overhead("requests", "memory", memory, shell=shell),
                "limits.memory": with_overhead("limits", "memory", memory, shell=shell),
                f"requests.{GPU}": str(machine.gpus(nodes)),
                "pods": str(PODS_PER_NODE * nodes + OWN_PODS),
                "count/pods": str(PODS_PER_NODE * nodes + OWN_PODS + ENDED_PODS),
                **COUNTS,
                "services.loadbalancers": "0",
                "services.nodeports": "0",
                **{f"{name}.{_CLASS}/requests.storage": size for name, size in (storage or {}).items()},
                **({f"{vault.storage_class}.{_CLASS}/persistentvolumeclaims": str(VAULT_CLAIMS)} if vault else {}),
            }
        },
    }


def share_storage(
    classes: Iterable[str], *, default: str | None, size: str, control_plane: str | None
) -> dict[str, str]:
    """
    The amount of storage that a job may claim, for each of the host's classes.

    A tenant can name any class of the host. All but the default get 0, plus the volume of the control plane if it uses
    that class.
    """
    shares = dict.fromkeys(classes, "0")
    if default in shares:
        shares[default] = size
    if control_plane:
        shares[control_plane] = add_quantities(shares.get(control_plane, "0"), VOLUME_SIZE)
    return shares


def list_claimable(shares: Mapping[str, str], vault: AcceptedVault | None) -> frozenset[str]:
    """
    The classes that claims of a job may name: those with a share (`share_storage`), and the vault's.

    A class need not exist as an object: volumes can be made by hand for any name, and no quota can name them all.
    """
    claimable = {name for name, share in shares.items() if share != "0"}
    return frozenset(claimable | ({vault.storage_class} if vault else set()))


def build_drain_quota(location: Location) -> dict[str, Any]:
    """A quota of no pods. While a shutdown ends the tenant's pods, the tenant's controllers must not replace them."""
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": build_meta(names.DRAIN_QUOTA, location),
        "spec": {"hard": {"pods": "0"}},
    }
