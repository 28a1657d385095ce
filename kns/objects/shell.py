"""
The web shell of a job: one pod with a terminal, protected by the job's user name and password.

The pod runs in the job's namespace on the host. It has no ServiceAccount token of the host; its kubeconfig is that of a
ServiceAccount in the virtual cluster.
"""

import re
from typing import Any

from kns.model import names
from kns.model.appdef.resources import SHELL
from kns.model.job.job import Accepted
from kns.model.job.location import Location
from kns.model.site import JobAddress, Site
from kns.objects.ingress import SHELL_PORT
from kns.objects.labels import build_labels, build_meta
from kns.objects.own_pod import CONTAINER_SECURITY, build_own_pod

COMPONENT = "shell"
_PORT = 8080
_FOLDER = "/etc/kns/shell"
# The characters that survive Basic authentication and gotty, which writes the login into a script.
_USER = re.compile(r"[!-~]+")
_UNFIT = frozenset(":'\\")


def can_log_in(user: str) -> bool:
    """Whether the shell's login works with this user name."""
    return _USER.fullmatch(user) is not None and not _UNFIT & set(user)


def build_shell_secret(location: Location, *, user: str, password: str, kubeconfig: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_meta(names.SHELL, location, component=COMPONENT),
        "stringData": {"credential": f"{user}:{password}", "kubeconfig": kubeconfig},
    }


def build_shell_service(location: Location) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_meta(names.SHELL, location, component=COMPONENT),
        "spec": {
            "selector": build_labels(location, COMPONENT),
            "ports": [{"name": "http", "port": SHELL_PORT, "targetPort": "http"}],
        },
    }


def build_shell_deployment(
    accepted: Accepted, site: Site, *, image: str, address: JobAddress, pull_secret: bool = False
) -> dict[str, Any]:
    """`address` is the shell's own. The Ingress does not strip its path, so the pod must know it."""
    labels = build_labels(accepted.location, COMPONENT)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": build_meta(names.SHELL, accepted.location, component=COMPONENT),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 1,
            "strategy": {"type": "Recreate"},  # the quota allows one pod
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **build_own_pod(accepted, grace_s=5, pull_secret=pull_secret),
                    "containers": [_build_container(accepted, site, image=image, address=address)],
                    "volumes": [
                        {"name": "secret", "secret": {"secretName": names.SHELL, "defaultMode": 0o440}},
                        *({"name": name, "emptyDir": {}} for name in ("work", "tmp")),
                    ],
                },
            },
        },
    }


def _build_container(accepted: Accepted, site: Site, *, image: str, address: JobAddress) -> dict[str, Any]:
    return {
        "name": COMPONENT,
        "image": image,
        "imagePullPolicy": site.init_pull_policy,
        "env": [
            {"name": "KUBECONFIG", "value": f"{_FOLDER}/kubeconfig"},
            {"name": "KNS_SHELL_CREDENTIAL", "value": f"{_FOLDER}/credential"},
            {"name": "KNS_SHELL_PATH", "value": address.path},
            {"name": "KNS_SHELL_TITLE", "value": names.job_object_name(accepted.number)},
        ],
        "ports": [{"name": "http", "containerPort": _PORT}],
        # An HTTP probe would need the password; without one, each probe would count as a failed login.
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 2},
        "resources": SHELL,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "secret", "mountPath": _FOLDER, "readOnly": True},
            {"name": "work", "mountPath": "/work"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount point in the pod
        ],
    }
