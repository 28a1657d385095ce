"""Commands to paste for finding out why a job does not do what it should."""

from demo.overlay import NAMESPACE
from demo.target import Target

# All replicas, because the holder of the Lease reconciles.
_LOGS_OF_KNS = f"kubectl logs -n {NAMESPACE} -l app.kubernetes.io/name=kns-scheduler --prefix --tail=-1"


def list_looks(target: Target, number: int) -> str:
    """
    Commands for a running job, one per line: its record, its pods, their logs, and how to terminate it.
    """
    name = f"kns-job-{number}"
    stop = '{"spec": {"desiredState": "Stopped", "stopReason": "Terminate"}}'
    lines = [
        (f"kubectl describe nj {name} -n {NAMESPACE}", "its progress"),
        (f"kubectl get pods,events -n {name}", "its pods, including those of the app"),
        (f"kubectl logs -n {name} NAME-x-NAMESPACE-x-{name}", "what pod NAME of the app says"),
        (_LOGS_OF_KNS, "what kns does"),
        (f"kubectl patch nj {name} -n {NAMESPACE} --type=merge -p '{stop}'", "terminate it"),
    ]
    if target.is_testbed:
        lines.insert(0, (f'eval "$(make -s env)"; PATH="{target.kubectl.parent}:$PATH"', "for kubectl"))
    return "\n".join(f"{command}  # {purpose}" for command, purpose in lines)


def say_where(number: int) -> str:
    """
    Commands for an ended job.
    """
    return (
        f"look at `kubectl describe nj -n {NAMESPACE} -l kns.io/job={number}`, "
        f"`kubectl get events -n kns-job-{number}` and `{_LOGS_OF_KNS}`"
    )
