"""
What a user can do about each reason of a condition and each warning of the host. docs/lifecycle.md has the operator's
side of the same reasons.
"""

from collections.abc import Mapping

from kns.model import names
from kns.model.job.conditions import Reason

_WAIT = "Nothing is wrong so far; wait some seconds."
_ADMIN = "Ask the site's administrator, and quote this message."
_AUTHOR = "Ask the app's author, and quote this message."
_RETRY_ELSEWHERE = "Submit again with a smaller machine, or later, when other jobs have ended."

# "" for reasons after which there is nothing to do.
ADVICE: Mapping[Reason, str] = {
    Reason.OK: "",
    Reason.RETRYING: "kns retries by itself. If this lasts for minutes, ask the site's administrator.",
    Reason.WAITING_FOR_API: _WAIT,
    Reason.NOT_ACCEPTED: "Correct the named value and submit again.",
    Reason.UNREADABLE: "Submit the job again.",
    Reason.NAMESPACE_FOREIGN: _ADMIN,
    Reason.NAMESPACE_GONE: "Somebody removed the job's namespace from outside kns. Submit the job again.",
    Reason.PULL_SECRET_UNFIT: _ADMIN,
    Reason.REFUSED_BY_HOST: _ADMIN,
    Reason.RENDER_FAILED: _ADMIN,
    Reason.SPAWNING: "Wait. If the message names a lack of CPU, memory or GPUs, the job starts when other jobs end.",
    Reason.SPAWN_DELAY_PASSED: _RETRY_ELSEWHERE,
    Reason.CONTROL_PLANE_LOST: "Everything in the virtual cluster is lost. Submit the job again.",
    Reason.CONTROL_PLANE_UNAVAILABLE: "The app's pods run on meanwhile. If this lasts, ask the site's administrator.",
    Reason.KEYCLOAK_UNREACHABLE: "kns retries by itself. If this lasts for minutes, ask the site's administrator.",
    Reason.KEYCLOAK_UNAUTHORIZED: _ADMIN,
    Reason.KEYCLOAK_FORBIDDEN: _ADMIN,
    Reason.KEYCLOAK_REFUSED: _AUTHOR,
    Reason.KEYCLOAK_FOREIGN: _ADMIN,
    Reason.KEYCLOAK_OFF: "This site has no Keycloak for apps any more. Choose another app.",
    Reason.PREPARING: _WAIT,
    Reason.VAULT_CLASS_TAKEN: _ADMIN,
    Reason.VAULT_REFUSED: _ADMIN,
    Reason.INIT_STARTING: _WAIT,
    Reason.INIT_RUNNING: "The output shows what is being applied.",
    Reason.INIT_NOT_STARTED: _RETRY_ELSEWHERE,
    Reason.IMAGE_NOT_PULLABLE: _AUTHOR,
    Reason.TEMPLATES_MISSING: _AUTHOR,
    Reason.ITEM_OUT_OF_RETRIES: "The output shows every attempt. If your parameters are right, ask the app's author.",
    Reason.PLAN_NOT_UNDERSTOOD: _ADMIN,
    Reason.INIT_FAILED: "Read the output. Exit code 137 usually means too little memory: choose a larger machine.",
    Reason.NO_TARGET: "Wait until the app has created its Service.",
    Reason.TARGET_NOT_FOUND: _AUTHOR,
    Reason.TARGET_UNFIT: _AUTHOR,
    Reason.TARGET_GONE: "The address works again when the app's Service is back.",
    Reason.ADDRESS_TAKEN: _ADMIN,
    Reason.ROUTE_NOT_ACCEPTED: _ADMIN,
    Reason.SHELL_NOT_ALLOWED: "This site offers no web shells. The job is not affected.",
    Reason.SHELL_WITHOUT_URL: "The job is not affected.",
    Reason.SHELL_STARTING: _WAIT,
    Reason.SHELL_NOT_STARTED: "The job is not affected. If you need the shell, ask the site's administrator.",
    Reason.FALLING_ASLEEP: _WAIT,
    Reason.ASLEEP: "Open the job's address to wake it.",
    Reason.WAKING: _WAIT,
    Reason.SLEEP_NOT_POSSIBLE: "This site keeps no state of a job that sleeps. The job is not affected.",
    Reason.GRACE: "Wait until the app's pods have ended.",
    Reason.SHUTDOWN: "",
    Reason.TERMINATE: "",
    Reason.WALLTIME: "Submit again with a longer walltime if the job was not finished.",
    Reason.REMOVING: "",
    Reason.KEPT: "The site keeps the objects of ended jobs. Its administrator can remove them.",
}

# Reasons of Kubernetes Events about the app's own pods.
WARNING_ADVICE: Mapping[str, str] = {
    "FailedScheduling": "No node has room for this pod. It starts when other pods end, or on a larger machine.",
    "FailedCreate": "The job's limits are used up, or a rule refuses the pod. Choose a larger machine or more nodes.",
    "Failed": "If an image cannot be pulled, check its name, its registry and the pull secret.",
    "ErrImagePull": "Check the image's name, its registry and the pull secret.",
    "BackOff": "The container or its image fails again and again. Read the pod's log.",
    "FailedMount": "A volume, Secret or ConfigMap of this pod is missing or cannot be mounted.",
    "FailedAttachVolume": "The volume cannot be attached; it may still be attached elsewhere.",
    "ProvisioningFailed": "The storage class cannot make this volume.",
    "Unhealthy": "The app does not answer its probe yet. If this lasts, read the pod's log.",
    "Evicted": "The node ran out of memory or disk. Choose a larger machine.",
    "OOMKilling": "The app needs more memory. Choose a larger machine.",
}


NO_NODE_OF_MACHINE = (
    "No node of the host belongs to the job's machine. Choose another, or ask the site's administrator."
)
NO_PODS_NOW = "This pod was refused because the job ended, slept or began to wake. It needs nothing."
_MISMATCHES = ("node affinity", "node selector", "untolerated taint")


def find_warning_advice(reason: str, message: str) -> str:
    """What a user can do about a warning of the host; "" if nothing is known."""
    if f"quota: {names.DRAIN_QUOTA}," in message:
        return NO_PODS_NOW
    if reason == "FailedScheduling" and "Insufficient" not in message and any(each in message for each in _MISMATCHES):
        return NO_NODE_OF_MACHINE  # waiting for room does not help
    return WARNING_ADVICE.get(reason, "")


def find_advice(reason: str | None) -> str:
    """What a user can do about a reason; "" if nothing, or if this release does not know the reason."""
    return ADVICE.get(Reason(reason), "") if reason in set(Reason) else ""
