"""
The init job: copies `/templates` out of the app image and runs the plan in the virtual cluster.

Its pod runs three containers one after the other. The init image puts a static tool into a shared volume. The app image
runs that tool to copy its templates into another volume; it needs no program of its own, so it may be `FROM scratch`.
The init image then runs the plan. The pod has the virtual cluster's kubeconfig and no ServiceAccount token of the host.
"""

import base64
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kns.model import names
from kns.model.appdef.resources import INIT
from kns.model.job.job import Accepted
from kns.model.job.location import Location
from kns.model.site import Site
from kns.objects.labels import build_labels, build_meta
from kns.objects.own_pod import build_own_pod
from kns.objects.plan import build_plan

COMPONENT = "init"
PROVIDE, TAKE, RUN = "tool", "templates", "init"  # the containers
HELP_MARK = "--- /etc/NAE/help.html\n"  # the rest of TAKE's log is this file of the app image
ATTEMPTS_LIMIT = 6  # replacements for pods lost to eviction or node failure; a failed step is not repeated
FILES = {  # key of the init Secret -> path in the container
    "kubeconfig": "/etc/kns/secret/kubeconfig",
    "parameters.json": "/etc/kns/parameters.json",
    "jobenv.sh": "/etc/JARVICE/jobenv.sh",
    "plan.json": "/etc/kns/plan/plan.json",
}

_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def build_plan_file(accepted: Accepted, *, record_uid: str, wait_limit_s: int) -> str:
    """The text of file `plan.json`; see `build_plan`."""
    return json.dumps(build_plan(accepted.nested, record_uid=record_uid, wait_limit_s=wait_limit_s), indent=1)


def build_init_uploads(location: Location, uploads: Mapping[str, bytes]) -> dict[str, Any]:
    """
    The ConfigMap with the user's uploads (path below /opt -> content). They have an object of their own, because they
    alone may be almost as large as one can be.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": build_meta(names.INIT_UPLOADS, location, component=COMPONENT),
        "binaryData": {
            _upload_key(index): base64.b64encode(content).decode() for index, content in enumerate(uploads.values())
        },
    }


def _upload_key(index: int) -> str:
    """The ConfigMap key of an upload. Not every path is a valid key."""
    return f"upload-{index}"


def build_init_secrets(location: Location, *, files: Mapping[str, str], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """
    Two Secrets: `files` (key of `FILES` -> text), and `env`, the environment of the init pod. Not one for both, because
    a pod takes every key of a Secret into its environment.
    """
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": build_meta(name, location, component=COMPONENT),
            "stringData": dict(data),
        }
        for name, data in ((names.INIT_SECRET, files), (names.INIT_ENV, env))
    ]


def build_init_job(
    accepted: Accepted, site: Site, *, uploads: Collection[str] = (), pull_secret: bool = False
) -> dict[str, Any]:
    """
    The Kubernetes Job. `uploads` are the paths of the user's files below /opt.

    Its files and its environment come from `build_init_secrets`.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": build_meta(names.INIT_JOB, accepted.location, component=COMPONENT),
        "spec": {
            "backoffLimit": ATTEMPTS_LIMIT,
            "podReplacementPolicy": "Failed",
            # The runner repeats a failed step inside the pod. Only a pod that was lost from outside gets a replacement.
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
                "metadata": {"labels": build_labels(accepted.location, COMPONENT)},
                "spec": _build_pod(accepted, site, uploads=uploads, pull_secret=pull_secret),
            },
        },
    }


def _build_pod(accepted: Accepted, site: Site, *, uploads: Collection[str], pull_secret: bool) -> dict[str, Any]:
    tool = {"name": "tool", "mountPath": "/kns-tool"}
    templates = {"name": "templates", "mountPath": "/kns-templates"}
    return {
        "restartPolicy": "Never",
        **build_own_pod(accepted, grace_s=10, pull_secret=pull_secret),
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
        "containers": [_build_runner(site, uploads)],
        "volumes": [
            *([{"name": "uploads", "configMap": {"name": names.INIT_UPLOADS}}] if uploads else []),
            {"name": "secret", "secret": {"secretName": names.INIT_SECRET, "defaultMode": 0o440}},
            *({"name": name, "emptyDir": {}} for name in ("tool", "templates", "work", "tmp")),
        ],
    }


def _build_runner(site: Site, uploads: Iterable[str]) -> dict[str, Any]:
    """The container that runs the plan."""
    return {
        "name": RUN,
        "image": site.init_image,
        "imagePullPolicy": site.init_pull_policy,
        "envFrom": [{"secretRef": {"name": names.INIT_ENV}}],
        "env": [{"name": "KUBECONFIG", "value": FILES["kubeconfig"]}],
        "resources": INIT,
        "securityContext": _SECURITY,
        "volumeMounts": [
            *({"name": "secret", "mountPath": path, "subPath": name, "readOnly": True} for name, path in FILES.items()),
            *(
                {"name": "uploads", "mountPath": f"/opt/{path}", "subPath": _upload_key(index), "readOnly": True}
                for index, path in enumerate(uploads)
            ),
            {"name": "templates", "mountPath": "/templates", "subPath": "templates"},
            {"name": "work", "mountPath": "/work"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount point in the pod
        ],
    }
