"""
Values for the official vcluster chart, and the RoleBinding of its syncer.

The values are the whole truth of a virtual cluster: helm renders them, kns applies the result. Every key here was
checked against the schema of chart 0.36.1, which refuses unknown ones.
"""

from typing import Any

from kns.model import names
from kns.model.appdef.resources import COREDNS, DISTRO_COPY, SYNCER, VOLUME_SIZE
from kns.model.job.job import Accepted
from kns.model.site import TOLERATED_TAINTS, VirtualKubernetes, build_tolerations
from kns.objects.labels import build_labels, build_meta

API_PORT = 443


def build_syncer_binding(number: int) -> dict[str, Any]:
    """The syncer's rights in the job's namespace: a static ClusterRole, so no cluster-scoped object per job."""
    name = names.job_object_name(number)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": build_meta(names.SYNCER_ROLE_BINDING, number),
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": names.SYNCER_CLUSTER_ROLE,
        },
        "subjects": [{"kind": "ServiceAccount", "name": f"vc-{name}", "namespace": name}],
    }


def build_values(
    number: int, accepted: Accepted, virtual: VirtualKubernetes, *, pull_secret: bool = False, shell: bool = False
) -> dict[str, Any]:
    """
    The chart's values for job `number`; `accepted` gives all but the number.

    With `pull_secret` the control plane, and every pod of the tenant's that names no pull secret, uses the job's. With
    `shell` the syncer makes an account for the web shell inside and writes its token into a Secret outside.
    """
    name = names.job_object_name(number)
    labels = build_labels(number)
    volume = virtual.storage_class
    pull: dict[str, Any] = {"imagePullSecrets": [{"name": names.PULL_SECRET}]} if pull_secret else {}
    return {
        "controlPlane": {
            "distro": {
                "k8s": {
                    "version": virtual.version(accepted.nested.kubernetes_version),
                    "imagePullPolicy": "IfNotPresent",
                    "resources": DISTRO_COPY,
                    # one controller manager, so nobody to elect; after a restart an old lease would cost 15 s
                    "controllerManager": {"extraArgs": ["--leader-elect=false"]},
                }
            },
            "proxy": {"extraSANs": [f"{name}.{name}.svc", f"{name}.{name}.svc.cluster.local"]},
            "coredns": {"deployment": {"resources": COREDNS}},
            "service": {"labels": labels},
            "statefulSet": {
                "image": {"registry": "ghcr.io", "repository": "loft-sh/vcluster-oss", "tag": virtual.syncer_image_tag},
                "imagePullPolicy": "IfNotPresent",
                "labels": labels,
                "pods": {"labels": labels},
                "resources": SYNCER,
                "persistence": {
                    "volumeClaim": {
                        "enabled": True,
                        "storageClass": volume,
                        "size": VOLUME_SIZE,
                        "retentionPolicy": "Delete",
                    }
                    if volume
                    else {"enabled": False}
                },
                "probes": {"startupProbe": {"periodSeconds": 1, "failureThreshold": 300}},
                "scheduling": {
                    "nodeSelector": accepted.machine.node_selector,
                    "tolerations": build_tolerations(),
                },
            },
            "advanced": {
                "defaultImageRegistry": virtual.registry,
                "serviceAccount": {"labels": labels, **pull},
                "workloadServiceAccount": {"labels": labels, **pull},
            },
        },
        "sync": {
            "toHost": {
                "pods": {
                    "enforceTolerations": [f"{key}:NoSchedule" for key in TOLERATED_TAINTS],
                    "useSecretsForSATokens": True,  # the default puts tokens into annotations of host pods
                }
            },
            "fromHost": {
                "nodes": {"enabled": False, "selector": {"labels": accepted.machine.node_selector}},
                "storageClasses": {"enabled": False},
            },
        },
        "networking": {"advanced": {"proxyKubelets": {"byHostname": False, "byIP": False}}},
        "policies": {"resourceQuota": {"enabled": False}, "limitRange": {"enabled": False}},
        "exportKubeConfig": {
            "context": name,
            "server": f"https://{name}.{name}:{API_PORT}",
            **({"additionalSecrets": [_build_shell_access(name)]} if shell else {}),
        },
        "rbac": {"role": {"enabled": False}, "clusterRole": {"enabled": False}},
        "serviceCIDR": virtual.service_cidr,
        "telemetry": {"enabled": False},
        "logging": {"encoding": "json"},
    }


def _build_shell_access(name: str) -> dict[str, Any]:
    """A ServiceAccount with a role: what it does inside is subject to RBAC and has a name in the audit log."""
    return {
        "name": names.SHELL_ACCESS,
        "context": name,
        "server": f"https://{name}.{name}:{API_PORT}",
        "serviceAccount": {"name": names.SHELL, "namespace": "kube-system", "clusterRole": "cluster-admin"},
    }
