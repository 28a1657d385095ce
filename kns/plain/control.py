"""
What a user may do with a job, in which state, and how it is done. Data and one shell script.

Signals are sent by a shell in the job's container to each process of that container. In a shared process namespace the
shell can reach them all, and process 1 is Kubernetes' own. Without one, process 1 is the job's: it ignores what it does
not handle, so that only the node can end it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kns.plain.state import Asked, Status


class Operation(StrEnum):
    SUSPEND = "suspend"
    RESUME = "resume"
    STOP = "stop"
    KILL = "kill"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Rule:
    """`needs` is the state in which the operation is possible. `signal` is what the processes get, "" for none."""

    needs: Status
    signal: str
    asked: Asked | None
    refusal: str


RULES: Mapping[Operation, Rule] = {
    Operation.SUSPEND: Rule(Status.RUNNING, "STOP", None, "Job must be running to suspend it"),
    Operation.RESUME: Rule(Status.SUSPENDED, "CONT", None, "Job must be suspended to resume it"),
    Operation.STOP: Rule(Status.RUNNING, "TERM", Asked.STOP, "Job must be running to stop it"),
    Operation.KILL: Rule(Status.RUNNING, "KILL", Asked.KILL, "Job must be running to kill it"),
    Operation.CANCEL: Rule(Status.PENDING, "", Asked.CANCEL, "Job must be pending to cancel it"),
}

NOBODY = 4  # the script found no process of the container

# Only what every POSIX shell has built in: an image may have no other program. Processes of one container are in one
# cgroup, which distinguishes them from those of side-cars and from Kubernetes' own.
_SCRIPT = f"""\
read -r mine < /proc/self/cgroup || exit 3
count=0
for folder in /proc/[0-9]*; do
  process=${{folder#/proc/}}
  [ "$process" = "$$" ] && continue
  {{ read -r its < "$folder/cgroup"; }} 2> /dev/null || continue
  [ "$its" = "$mine" ] || continue
  kill -s "$1" "$process" 2> /dev/null && count=$((count + 1))
done
[ "$count" -gt 0 ] || exit {NOBODY}
"""


def signal_command(signal: str) -> tuple[str, ...]:
    """The command that sends `signal` to each process of the container in which it runs."""
    return ("/bin/sh", "-c", _SCRIPT, "kns", signal)
