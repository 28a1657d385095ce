"""What kns's own pods have in common: the init pod and the pod of the web shell of a job, and the prepare pod."""

from typing import Any

from kns.model import names
from kns.model.job.job import Accepted
from kns.model.site import build_tolerations

_UID = 65532  # the user of both images of a job; not root
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def build_own_pod(accepted: Accepted, *, grace_s: int, pull_secret: bool) -> dict[str, Any]:
    """The start of a pod's spec, to which containers and volumes are added. The pod has no token of the host."""
    return {
        **({"imagePullSecrets": [{"name": names.PULL_SECRET}]} if pull_secret else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_s,
        "tolerations": build_tolerations(),
        "nodeSelector": accepted.machine.node_selector,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
