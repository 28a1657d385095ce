"""
The init job: copies `/templates` out of the app image and runs the plan in the virtual cluster.

On a host that mounts images as volumes its pod has one container: the init image copies the templates out of the
mounted app image and runs the plan. On other hosts it runs three containers one after the other. The init image puts a
static tool into a shared volume. The app image runs that tool to copy its templates into another volume; it needs no
program of its own, so it may be `FROM scratch`. The init image then runs the plan.

The pod has the virtual cluster's kubeconfig and no ServiceAccount token of the host.
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
from kns.objects.own_pod import CONTAINER_SECURITY, build_own_pod
from kns.objects.plan import build_plan

COMPONENT = "init"
PROVIDE, TAKE, RUN = "tool", "templates", "init"  # the containers
HELP_MARK = "--- /etc/NAE/help.html\n"  # the rest of TAKE's log is this file of the app image
TAKEN_MARK = "\n--- templates taken\n"  # in the log of a pod that mounts the app image: below it is the job's output
ATTEMPTS_LIMIT = 6  # replacements for pods lost to eviction or node failure; a failed step is not repeated
FILES = {  # key of the init Secret -> path in the container
    "kubeconfig": "/etc/kns/secret/kubeconfig",
    "parameters.json": "/etc/kns/parameters.json",
    "jobenv.sh": "/etc/JARVICE/jobenv.sh",
    "plan.json": "/etc/kns/plan/plan.json",
}

_APP = "/kns-app"
_TAKEN = {"name": "templates", "mountPath": "/kns-templates"}


def build_plan_file(accepted: Accepted, *, record_uid: str, wait_limit_s: int) -> str:
    """The text of file `plan.json`; see `build_plan`."""
    plan = build_plan(accepted.nested, record_uid=record_uid, wait_limit_s=wait_limit_s)
    return json.dumps(plan, indent=1, ensure_ascii=False)


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
                        for name in ((RUN,) if site.mounts_images else (PROVIDE, TAKE, RUN))
                    ),
                ]
            },
            "template": {
                "metadata": {
                    "labels": {
                        **build_labels(accepted.location, COMPONENT),
                        **({names.MOUNTS_APP_LABEL: "true"} if site.mounts_images else {}),
                    }
                },
                "spec": _build_pod(accepted, site, uploads=uploads, pull_secret=pull_secret),
            },
        },
    }


def split_taken(log: str) -> tuple[str, str]:
    """
    The log of a pod that mounts the app image: that of taking the templates, and the output of the job.

    >>> split_taken("--- /etc/NAE/help.html\\n<p>Hi</p>\\n--- templates taken\\nstep 1\\n")
    ('--- /etc/NAE/help.html\\n<p>Hi</p>', 'step 1\\n')
    """
    taken, _, output = log.partition(TAKEN_MARK)
    return taken, output


def mounts_app(pod: Mapping[str, Any]) -> bool:
    """Whether this init pod mounts the app image. A pod of the watch caches has no spec, so a label says it."""
    return names.MOUNTS_APP_LABEL in (pod["metadata"].get("labels") or {})


def _build_pod(accepted: Accepted, site: Site, *, uploads: Collection[str], pull_secret: bool) -> dict[str, Any]:
    runner = _build_runner(site, uploads)
    volumes: list[dict[str, Any]] = [
        *([{"name": "uploads", "configMap": {"name": names.INIT_UPLOADS}}] if uploads else []),
        {"name": "secret", "secret": {"secretName": names.INIT_SECRET, "defaultMode": 0o440}},
        *({"name": name, "emptyDir": {}} for name in ("templates", "work", "tmp")),
    ]
    if site.mounts_images:
        app = {"reference": accepted.image, "pullPolicy": site.app_pull_policy}
        containers = {"containers": [runner], "volumes": [*volumes, {"name": "app", "image": app}]}
    else:
        containers = {
            "initContainers": _build_takers(accepted, site),
            "containers": [runner],
            "volumes": [*volumes, {"name": "tool", "emptyDir": {}}],
        }
    return {"restartPolicy": "Never", **build_own_pod(accepted, grace_s=10, pull_secret=pull_secret), **containers}


def _build_takers(accepted: Accepted, site: Site) -> list[dict[str, Any]]:
    """The containers that bring the templates from the app image into a volume, by running it."""
    tool = {"name": "tool", "mountPath": "/kns-tool"}
    return [
        {
            "name": PROVIDE,
            "image": site.init_image,
            "imagePullPolicy": site.init_pull_policy,
            "command": ["kns-provide-copier", "/kns-tool"],
            "resources": INIT,
            "securityContext": CONTAINER_SECURITY,
            "volumeMounts": [tool],
        },
        {
            "name": TAKE,
            "image": accepted.image,
            "imagePullPolicy": site.app_pull_policy,
            "command": ["/kns-tool/busybox", "sh", "/kns-tool/take-templates"],
            "resources": INIT,
            "securityContext": CONTAINER_SECURITY,
            "volumeMounts": [tool, _TAKEN],
        },
    ]


def _build_runner(site: Site, uploads: Iterable[str]) -> dict[str, Any]:
    """The container that runs the plan, and before that takes the templates from the app image if that is mounted."""
    mounted = {"name": "app", "mountPath": _APP, "readOnly": True}
    copied = {**_TAKEN, "mountPath": "/templates", "subPath": "templates"}
    templates = [mounted, _TAKEN] if site.mounts_images else [copied]
    return {
        "name": RUN,
        "image": site.init_image,
        "imagePullPolicy": site.init_pull_policy,
        **({"command": ["kns-take-and-run", _APP]} if site.mounts_images else {}),
        "envFrom": [{"secretRef": {"name": names.INIT_ENV}}],
        "env": [{"name": "KUBECONFIG", "value": FILES["kubeconfig"]}],
        "resources": INIT,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            *({"name": "secret", "mountPath": path, "subPath": name, "readOnly": True} for name, path in FILES.items()),
            *(
                {"name": "uploads", "mountPath": f"/opt/{path}", "subPath": _upload_key(index), "readOnly": True}
                for index, path in enumerate(uploads)
            ),
            *templates,
            {"name": "work", "mountPath": "/work"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount point in the pod
        ],
    }
