"""The job's namespace, its LimitRange and ResourceQuota, and kns's own rights in it."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kns.model import names
from kns.model.appdef.limit_range import LimitRangeItem
from kns.model.appdef.resources import VOLUME_SIZE, with_overhead
from kns.model.catalog.machine import Machine
from kns.model.catalog.vault import AcceptedVault
from kns.model.job.job import Accepted, JobSpec
from kns.model.job.location import Location
from kns.model.job.member import Marks
from kns.model.reading.quantity import add_quantities, format_quantity, parse_quantity
from kns.objects.labels import build_labels, build_meta

GPU = "nvidia.com/gpu"
EPHEMERAL = "ephemeral-storage"
VAULT_CLAIMS = 10  # each is a PersistentVolume on the host; most apps need one
_CLASS = "storageclass.storage.k8s.io"
PODS_PER_NODE = 110  # a kubelet's default
OWN_PODS = 10  # the control plane, CoreDNS, init, the web shell, and each once more while it is replaced
# `pods` does not count pods that ended. Each stays in the host's store with its token Secret until somebody deletes it.
# A job may have so many; together with the Secrets of one node's running pods they leave 230 of `secrets` to the app.
ENDED_PODS = 250
# A container without an own limit of ephemeral storage gets what lets each pod of a full node have one such container,
# but at least so much, which is enough for logs and a few files. Its request is what the scheduler sets aside.
_LEAST_EPHEMERAL = "1Gi"
_EPHEMERAL_REQUEST = "64Mi"
# Far above the needs of any app, and low enough to protect the host's store and address ranges.
# Kubernetes makes Endpoints for each Service, kns's own included, and an EndpointSlice for each family and 100 pods.
COUNTS = {
    "services": "500",
    "configmaps": "300",
    "secrets": "600",
    "persistentvolumeclaims": "100",
    "count/endpoints": "520",
    "count/endpointslices.discovery.k8s.io": "1000",
}


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


def share_ephemeral(machine: Machine, *, nodes: int, per_node: str) -> str:
    """The ephemeral storage of a job: that of its machine, else `per_node`, the site's default."""
    own_gib = machine.scratch_gib(nodes)
    return f"{own_gib}Gi" if own_gib else format_quantity(parse_quantity(per_node) * nodes)


def build_limit_range(
    location: Location, items: Sequence[LimitRangeItem], *, ephemeral: str, nodes: int
) -> dict[str, Any]:
    """
    The LimitRange of a job with `ephemeral` as its ephemeral storage.

    Items come from AppDefs and the site. The default of ephemeral storage is added, because the quota of it counts only
    containers that have a limit.
    """
    limits = []
    for item in _bound_ephemeral(items, ephemeral, nodes):
        values = {key: dict(getattr(item, field)) for field, key in _KEYS.items() if getattr(item, field)}
        limits.append({"type": item.type, **values})
    return {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": build_meta(names.LIMIT_RANGE, location),
        "spec": {"limits": limits},
    }


def _bound_ephemeral(items: Sequence[LimitRangeItem], ephemeral: str, nodes: int) -> list[LimitRangeItem]:
    """The items, and among them one for containers, with a default of ephemeral storage."""
    if not any(item.type == "Container" for item in items):
        items = (*items, LimitRangeItem())
    whole = parse_quantity(ephemeral)
    fair = max(whole / nodes / PODS_PER_NODE, parse_quantity(_LEAST_EPHEMERAL))
    return [_with_ephemeral(item, min(fair, whole)) if item.type == "Container" else item for item in items]


def _with_ephemeral(item: LimitRangeItem, fair: Decimal) -> LimitRangeItem:
    """What the item itself says is kept. Like in Kubernetes, a `max` without a default is the default of the limit."""
    stated = {name: getattr(item, name).get(EPHEMERAL) for name in ("default", "default_request", "min", "max")}
    known = {name: parse_quantity(value) for name, value in stated.items() if value is not None}
    least = max(known.get("min", Decimal(0)), known.get("default_request", Decimal(0)))
    limit = known.get("default", known.get("max", max(fair, least)))
    small = limit if EPHEMERAL in item.max_limit_request_ratio else max(parse_quantity(_EPHEMERAL_REQUEST), least)
    request = known.get("default_request", min(small, limit))
    return item.model_copy(
        update={
            "default": {**item.default, EPHEMERAL: str(int(limit))},
            "default_request": {**item.default_request, EPHEMERAL: str(int(request))},
        }
    )


def build_resource_quota(
    accepted: Accepted,
    *,
    nodes: int,
    ephemeral: str,
    storage: Mapping[str, str] | None = None,
    shell: bool = False,
) -> dict[str, Any]:
    """
    The quota of a job: cores, memory and GPUs of its machine times `nodes`, and `ephemeral`, its ephemeral storage,
    plus those of kns's own pods.

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
                f"requests.{EPHEMERAL}": with_overhead("requests", EPHEMERAL, ephemeral, shell=shell),
                f"limits.{EPHEMERAL}": with_overhead("limits", EPHEMERAL, ephemeral, shell=shell),
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


def counts_own_pods(quota: Mapping[str, Any], machine: Machine, *, nodes: int, shell: bool) -> bool:
    """Whether the limits of a job's quota have room for the pods of kns beside the job's whole machine."""
    hard = quota["spec"]["hard"]
    shares = {"cpu": str(machine.cores(nodes)), "memory": f"{machine.memory_gib(nodes)}Gi"}
    return all(
        parse_quantity(hard.get(f"limits.{name}", "0"))
        >= parse_quantity(with_overhead("limits", name, share, shell=shell))
        for name, share in shares.items()
    )


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


def build_drain_quota(location: Location, *, is_over: bool = False) -> dict[str, Any]:
    """
    A quota of no pods. While kns ends the tenant's pods, the tenant's controllers must not replace them.

    `is_over`: a quota that limits nothing.
    """
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": build_meta(names.DRAIN_QUOTA, location),
        "spec": {"hard": {} if is_over else {"pods": "0"}},
    }


def refuses_pods(drain_quota: Mapping[str, Any]) -> bool:
    return "pods" in (drain_quota["spec"].get("hard") or {})
