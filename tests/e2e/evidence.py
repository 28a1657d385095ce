"""What a person would look at when a job misbehaves, gathered once, when a test gives up."""

from demo.kubectl import Kubectl
from demo.overlay import NAMESPACE

_LINES = 30
_ACCESS = '"event": "http_request"'


def describe_job(kubectl: Kubectl, record: str, number: int | None) -> str:
    """The record; the pods, events and log ends of the job's namespace, if it has a number; and kns's own logs."""
    parts = [_show(kubectl, "get", "nj", record, f"--namespace={NAMESPACE}", "--output=jsonpath={.status}")]
    if number is not None:
        inside = f"--namespace=kns-job-{number}"
        parts.append(_show(kubectl, "get", "pods", inside, "--output=wide"))
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


def _show(kubectl: Kubectl, *arguments: str) -> str:
    """The end of kubectl's output, without the access log, most of which the test itself has caused."""
    lines = [line for line in kubectl.run(*arguments, check=False).splitlines() if _ACCESS not in line]
    return "\n".join((f"$ kubectl {' '.join(arguments)}", *(f"    {line}" for line in lines[-_LINES:])))
