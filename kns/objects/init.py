"""
The init job: takes `/templates` out of the app image and runs the plan against the virtual cluster.

One pod, three containers in turn: our image leaves a static tool in a shared folder; the app image runs that tool (it
may be built `FROM scratch`, with nothing of its own to run) to copy its templates out; our image runs the plan. The
pod has no ServiceAccount token of the host, only the nested cluster's kubeconfig.
"""

import json
from typing import Any

from kns.model import names
from kns.model.job import Accepted
from kns.model.plan import build_plan
from kns.model.resources import INIT
from kns.model.site import Site, build_tolerations
from kns.objects.labels import build_labels, build_meta

COMPONENT = "init"
PROVIDE, TAKE, RUN = "tool", "templates", "init"  # the containers
ATTEMPTS_LIMIT = 6  # pods lost to eviction or a node's end, each replaced; a failed item never is
_UID = 65532

_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def build_init_config(accepted: Accepted) -> dict[str, Any]:
    plan = json.dumps(build_plan(accepted.nested), indent=1)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": build_meta(names.INIT_CONFIG, accepted.number, component=COMPONENT),
        "data": {"plan.json": plan},
    }


def build_init_secret(number: int, *, kubeconfig: str, env: dict[str, str]) -> dict[str, Any]:
    """`kubeconfig` is for the file, `env` for the environment (the job's password and tokens)."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_meta(names.INIT_SECRET, number, component=COMPONENT),
        "stringData": {"kubeconfig": kubeconfig, **env},
    }


def build_init_job(accepted: Accepted, site: Site, *, env: dict[str, str], secret_keys: list[str]) -> dict[str, Any]:
    """`env` is public; `secret_keys` are the keys of the init Secret that become variables of the same name."""
    number = accepted.number
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": build_meta(names.INIT_JOB, number, component=COMPONENT),
        "spec": {
            "backoffLimit": ATTEMPTS_LIMIT,
            "podReplacementPolicy": "Failed",
            # A failed item has had all its retries inside the pod. Only a pod lost from outside is worth another.
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    *(
                        {
                            "action": "FailJob",
                            "onExitCodes": {"containerName": name, "operator": "NotIn", "values": [0, 137, 143]},
                        }
                        for name in (PROVIDE, TAKE, RUN)
                    ),
                ]
            },
            "template": {
                "metadata": {"labels": build_labels(number, COMPONENT)},
                "spec": _build_pod(accepted, site, env=env, secret_keys=secret_keys),
            },
        },
    }


def _build_pod(accepted: Accepted, site: Site, *, env: dict[str, str], secret_keys: list[str]) -> dict[str, Any]:
    tool = {"name": "tool", "mountPath": "/kns-tool"}
    templates = {"name": "templates", "mountPath": "/kns-templates"}
    secret_env = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": names.INIT_SECRET, "key": key}}} for key in secret_keys
    ]
    public_env = [{"name": key, "value": value} for key, value in env.items()]
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "tolerations": build_tolerations(),
        "nodeSelector": accepted.machine.node_selector,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            {
                "name": PROVIDE,
                "image": site.init_image,
                "imagePullPolicy": site.init_pull_policy,
                "command": ["kns-provide-copier", "/kns-tool"],
                "resources": INIT,
                "securityContext": _SECURITY,
                "volumeMounts": [tool],
            },
            {
                "name": TAKE,
                "image": accepted.image,
                "imagePullPolicy": site.app_pull_policy,
                "command": ["/kns-tool/busybox", "sh", "/kns-tool/take-templates"],
                "resources": INIT,
                "securityContext": _SECURITY,
                "volumeMounts": [tool, templates],
            },
        ],
        "containers": [
            {
                "name": RUN,
                "image": site.init_image,
                "imagePullPolicy": site.init_pull_policy,
                "env": [{"name": "KUBECONFIG", "value": "/etc/kns/secret/kubeconfig"}, *public_env, *secret_env],
                "resources": INIT,
                "securityContext": _SECURITY,
                "volumeMounts": [
                    {"name": "plan", "mountPath": "/etc/kns/plan", "readOnly": True},
                    {"name": "secret", "mountPath": "/etc/kns/secret", "readOnly": True},
                    {"name": "templates", "mountPath": "/templates", "subPath": "templates"},
                    {"name": "work", "mountPath": "/work"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount point in the pod
                ],
            }
        ],
        "volumes": [
            {"name": "plan", "configMap": {"name": names.INIT_CONFIG}},
            {
                "name": "secret",
                "secret": {
                    "secretName": names.INIT_SECRET,
                    "items": [{"key": "kubeconfig", "path": "kubeconfig"}],
                    "defaultMode": 0o440,
                },
            },
            *({"name": name, "emptyDir": {}} for name in ("tool", "templates", "work", "tmp")),
        ],
    }
