"""The job's namespace and what bounds it: LimitRange, ResourceQuota, and kns's own rights in it."""

from collections.abc import Iterable, Mapping
from typing import Any

from kns.model import names
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.appdef.resources import VOLUME_SIZE, with_overhead
from kns.model.job.job import Accepted
from kns.model.reading.quantity import add_quantities
from kns.objects.labels import build_labels, build_meta

GPU = "nvidia.com/gpu"
VAULT_CLAIMS = 10  # each is a PersistentVolume of the host; one is enough for most apps
_CLASS = "storageclass.storage.k8s.io"
PODS_PER_NODE = 110  # as many as a kubelet takes by default
OWN_PODS = 10  # the control plane, CoreDNS, init, the web shell, and each once more while it is replaced
# Far above any app, and what a tenant cannot fill the host's store and address ranges with.
COUNTS = {"services": "500", "configmaps": "1000", "secrets": "1000", "persistentvolumeclaims": "100"}


def build_namespace(
    accepted: Accepted, *, user: str, app: str, record_uid: str, installation: str, pod_security: str = "baseline"
) -> dict[str, Any]:
    """
    The namespace. Pod Security `baseline` stops the usual ways from a tenant's pod to the node; `restricted` is not
    possible, since vcluster's syncer runs as root.
    """
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": names.job_object_name(accepted.number),
            "labels": {
                **build_labels(accepted.number),
                names.INSTALLATION_LABEL: installation,
                names.USER_LABEL: names.label_value(user),
                names.APP_LABEL: names.label_value(app),
                names.MACHINE_LABEL: names.label_value(accepted.machine.mc_name),
                "pod-security.kubernetes.io/enforce": pod_security,
            },
            "annotations": {
                names.JOB_NAME_ANNOTATION: accepted.name,
                names.RECORD_UID_ANNOTATION: record_uid,
                names.NODE_SELECTOR_ANNOTATION: _join(accepted.machine.node_selector),
            },
        },
    }


def _join(labels: Mapping[str, str]) -> str:
    """
    >>> _join({"zone": "a", "example.org/disk": "ssd"})
    'example.org/disk=ssd,zone=a'
    """
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def build_role_binding(number: int, *, service_account: str, system_namespace: str) -> dict[str, Any]:
    """kns's own rights in the namespace; cluster-wide it may read no Secret and write next to nothing."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": build_meta(names.KNS_ROLE_BINDING, number),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names.KNS_CLUSTER_ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": service_account, "namespace": system_namespace}],
    }


_KEYS = {  # ours -> Kubernetes'
    "default": "default",
    "default_request": "defaultRequest",
    "max": "max",
    "min": "min",
    "max_limit_request_ratio": "maxLimitRequestRatio",
}


def build_limit_range(number: int, items: list[LimitRangeItem]) -> dict[str, Any]:
    limits = []
    for item in items:
        values = {key: dict(getattr(item, ours)) for ours, key in _KEYS.items() if getattr(item, ours)}
        limits.append({"type": item.type, **values})
    return {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": build_meta(names.LIMIT_RANGE, number),
        "spec": {"limits": limits},
    }


def build_resource_quota(
    accepted: Accepted, *, nodes: int, storage: Mapping[str, str] | None = None, shell: bool = False
) -> dict[str, Any]:
    """
    The machine as a quota: cores, memory and GPUs of the whole job, plus what kns's own pods take, its shell's too.

    `storage` is what may be claimed of each storage class of the host. A vault is not the host's storage: only the
    number of its claims is limited. What costs the host without being cores or memory is counted. Load balancers and
    node ports would be the host's own, so a tenant gets none.
    """
    machine, vault = accepted.machine, accepted.vault
    cores, memory = str(machine.cores(nodes)), f"{machine.memory_gib(nodes)}Gi"
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": build_meta(names.RESOURCE_QUOTA, accepted.number),
        "spec": {
            "hard": {
                "requests.cpu": with_overhead("requests", "cpu", cores, shell=shell),
                "limits.cpu": with_overhead("limits", "cpu", cores, shell=shell),
                "requests.memory": with_overhead("requests", "memory", memory, shell=shell),
                "limits.memory": with_overhead("limits", "memory", memory, shell=shell),
                f"requests.{GPU}": str(machine.gpus(nodes)),
                "pods": str(PODS_PER_NODE * nodes + OWN_PODS),
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
    What a job may claim of each of the host's classes.

    Inside, a tenant can name any class of the host: all but the default are closed, less what the control plane's own
    volume takes of its class.
    """
    shares = dict.fromkeys(classes, "0")
    if default in shares:
        shares[default] = size
    if control_plane:
        shares[control_plane] = add_quantities(shares.get(control_plane, "0"), VOLUME_SIZE)
    return shares


def build_drain_quota(number: int) -> dict[str, Any]:
    """No further pods: while a shutdown ends the tenant's pods, its controllers must not replace them."""
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": build_meta(names.DRAIN_QUOTA, number),
        "spec": {"hard": {"pods": "0"}},
    }
