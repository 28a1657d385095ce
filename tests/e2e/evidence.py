"""What a person would look at when a job misbehaves, gathered once, when a test gives up."""

from pathlib import Path

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE
from testbed import paths

_LINES = 30
_ACCESS = '"event": "http_request"'
_WIDTH = 400  # of a line of a node's log
_NODE_LOGS = (paths.LOGS / "kubelet.log",)  # of the testbed
# Why a pod does not go: who holds it, until when it may take, and whether its containers have ended.
_ENDS = "--output=custom-columns=" + ",".join(
    (
        "POD:.metadata.name",
        "DELETED:.metadata.deletionTimestamp",
        "GRACE:.metadata.deletionGracePeriodSeconds",
        "FINALIZERS:.metadata.finalizers",
        "CONTAINERS:.status.containerStatuses[*].state",
    )
)


def describe_job(kubectl: Kubectl, record: str, number: int | None) -> str:
    """The record; the namespace, its pods, events and log ends, if the job has a number; and kns's own logs."""
    parts = [_show(kubectl, "get", "nj", record, f"--namespace={NAMESPACE}", "--output=jsonpath={.status}")]
    if number is not None:
        inside = f"--namespace=kns-job-{number}"
        parts.append(_show(kubectl, "get", "namespace", f"kns-job-{number}", "--output=jsonpath={.metadata} {.status}"))
        parts.append(_show(kubectl, "get", "pods", inside, "--output=wide"))
        parts.append(_show(kubectl, "get", "pods", inside, _ENDS))
        parts += [_show_log(log, f"kns-job-{number}/") for log in _NODE_LOGS if log.exists()]
        parts.append(_show(kubectl, "get", "events", inside, "--sort-by=.lastTimestamp"))
        pods = kubectl.run("get", "pods", inside, "--output=name", check=False).split()
        parts += [_show(kubectl, "logs", pod, inside, "--all-containers", f"--tail={_LINES}") for pod in pods]
    parts.append(describe_scheduler(kubectl))
    return "\n".join(parts)


def describe_scheduler(kubectl: Kubectl) -> str:
    """kns's own pods, who leads, and the ends of their logs."""
    namespace = f"--namespace={NAMESPACE}"
    return "\n".join(
        (
            _show(kubectl, "get", "pods", namespace, "--output=wide"),
            _show(kubectl, "get", "lease", "kns-scheduler", namespace, "--output=jsonpath={.spec}"),
            _show(kubectl, "logs", namespace, "--selector=app.kubernetes.io/name=kns-scheduler", "--tail=500"),
        )
    )


def _show_log(log: Path, text: str) -> str:
    """The last lines with the text. A part of the testbed writes some megabytes in a whole run."""
    lines = [line[:_WIDTH] for line in log.read_text(errors="replace").splitlines() if text in line]
    return "\n".join((f"$ grep {text} {log.name}", *(f"    {line}" for line in lines[-_LINES:])))


def _show(kubectl: Kubectl, *arguments: str) -> str:
    """The end of kubectl's output, without the access log, most of which the test itself has caused."""
    lines = [line for line in kubectl.run(*arguments, check=False).splitlines() if _ACCESS not in line]
    return "\n".join((f"$ kubectl {' '.join(arguments)}", *(f"    {line}" for line in lines[-_LINES:])))
