"""
Values for the official vcluster chart, and the RoleBinding of its syncer.

The values define a virtual cluster completely: helm renders them, kns applies the result. The schema of chart 0.36.1
refuses unknown keys.
"""

from typing import Any

from kns.model import names
from kns.model.appdef.resources import COREDNS, DISTRO_COPY, SYNCER, VOLUME_SIZE
from kns.model.job.job import Accepted
from kns.model.job.location import Location
from kns.model.site import TOLERATED_TAINTS, VirtualKubernetes, build_tolerations
from kns.objects.labels import build_labels, build_meta

API_PORT = 443
ISSUER = "https://kubernetes.default.svc.cluster.local"
"""Who signs the tokens of ServiceAccounts inside, as in every cluster of kubeadm."""
# Without it the API server names its own listener, 127.0.0.1:6443, and no program inside could verify tokens by OIDC.
JWKS_URI = f"{ISSUER}/openid/v1/jwks"
# The chart probes every 2 s, and each probe asks the API server, which asks its database: most of what an idle cluster
# does. As with the chart, a control plane that hangs is restarted after two minutes.
_PROBE = {"periodSeconds": 10, "failureThreshold": 12}
# Neither the cluster autoscaler nor Karpenter evicts a pod with these annotations to save a node.
_KEEP = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}


def build_syncer_binding(location: Location) -> dict[str, Any]:
    """
    The syncer's rights in the job's namespace. The ClusterRole is static, so no job needs a cluster-scoped object.
    """
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": build_meta(names.SYNCER_ROLE_BINDING, location),
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": names.SYNCER_CLUSTER_ROLE,
        },
        "subjects": [
            {"kind": "ServiceAccount", "name": location.syncer_account, "namespace": location.namespace},
        ],
    }


def build_disruption_budget(location: Location) -> dict[str, Any]:
    """No eviction of the control plane: without a volume everything in the virtual cluster would be lost."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": build_meta(names.CONTROL_PLANE_BUDGET, location),
        "spec": {
            "maxUnavailable": 0,
            "selector": {
                "matchLabels": location.control_plane_selector,
                "matchExpressions": [{"key": names.SYNCED_LABEL, "operator": "DoesNotExist"}],
            },
        },
    }


def build_values(
    location: Location,
    accepted: Accepted,
    virtual: VirtualKubernetes,
    *,
    pull_secret: bool = False,
    shell: bool = False,
) -> dict[str, Any]:
    """
    The chart's values for a virtual cluster at `location`, which need not be that of `accepted` (see `Renderer`).

    With `pull_secret`, the control plane and every pod of the tenant without a pull secret use the job's. With `shell`,
    the syncer makes an account for the web shell inside and writes its token into a Secret on the host.
    """
    return {
        "controlPlane": _build_control_plane(location, accepted, virtual, pull_secret=pull_secret),
        "sync": {
            "toHost": {
                "pods": {
                    "enforceTolerations": [f"{key}:NoSchedule" for key in TOLERATED_TAINTS],
                    "useSecretsForSATokens": True,  # the default writes tokens into annotations of host pods
                    **({"runtimeClassName": virtual.runtime_class} if virtual.runtime_class else {}),
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
            "context": location.vcluster,
            "server": f"https://{location.api_host}:{API_PORT}",
            **({"additionalSecrets": [_build_shell_access(location)]} if shell else {}),
        },
        "rbac": {"role": {"enabled": False}, "clusterRole": {"enabled": False}},
        "serviceCIDR": virtual.service_cidr,
        "telemetry": {"enabled": False},
        # With an owner, the syncer writes the Secret of a pod's token again at each change of the pod. And whoever
        # deletes the owner, the control plane's Service, deletes the tenant's pods and claims. The namespace ends all.
        "experimental": {"syncSettings": {"setOwner": False}},
        "logging": {"encoding": "json"},
    }


def _build_control_plane(
    location: Location, accepted: Accepted, virtual: VirtualKubernetes, *, pull_secret: bool
) -> dict[str, Any]:
    """The part `controlPlane` of the chart's values."""
    host, labels = location.api_host, build_labels(location)
    volume = virtual.storage_class
    pull: dict[str, Any] = {"imagePullSecrets": [{"name": names.PULL_SECRET}]} if pull_secret else {}
    return {
        "distro": {
            "k8s": {
                "version": virtual.version(accepted.nested.kubernetes_version),
                "imagePullPolicy": "IfNotPresent",
                "resources": DISTRO_COPY,
                **_build_processes(virtual),
            }
        },
        "proxy": {"extraSANs": [f"{host}.svc", f"{host}.svc.cluster.local"]},
        "coredns": {"deployment": {"resources": COREDNS}},
        # kns asks the API before the kubelet's probes do. There is one pod, so there is no better one to lead to.
        "service": {"labels": labels, "spec": {"publishNotReadyAddresses": True}},
        "statefulSet": {
            "image": {"registry": "ghcr.io", "repository": "loft-sh/vcluster-oss", "tag": virtual.syncer_image_tag},
            "imagePullPolicy": "IfNotPresent",
            "labels": labels,
            "pods": {"labels": labels, **({"annotations": _KEEP} if virtual.protect_control_planes else {})},
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
            "probes": {
                "startupProbe": {"periodSeconds": 1, "failureThreshold": 300},
                "readinessProbe": _PROBE,
                "livenessProbe": _PROBE,
            },
            "scheduling": {
                "nodeSelector": accepted.machine.node_selector,
                "tolerations": build_tolerations(),
                **({"priorityClassName": virtual.priority_class} if virtual.priority_class else {}),
            },
        },
        "advanced": {
            "defaultImageRegistry": virtual.registry,
            "serviceAccount": {"labels": labels, **pull},
            "workloadServiceAccount": {"labels": labels, **pull},
        },
    }


def _build_processes(virtual: VirtualKubernetes) -> dict[str, Any]:
    """What the syncer does with the API server and the controller manager."""
    if virtual.fast_start:
        return {"apiServer": {"enabled": False}, "controllerManager": {"enabled": False}}
    return {
        "apiServer": {"extraArgs": [f"--service-account-jwks-uri={JWKS_URI}"]},
        # There is one controller manager. After a restart it would wait 15 s for its own old lease.
        "controllerManager": {"extraArgs": ["--leader-elect=false"]},
    }


def _build_shell_access(location: Location) -> dict[str, Any]:
    """A ServiceAccount with a role, so that RBAC applies to the shell and its actions have a name in the audit log."""
    return {
        "name": names.SHELL_ACCESS,
        "context": location.vcluster,
        "server": f"https://{location.api_host}:{API_PORT}",
        "serviceAccount": {"name": names.SHELL, "namespace": "kube-system", "clusterRole": "cluster-admin"},
    }
