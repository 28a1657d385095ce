"""
Whether somebody has the web shell of a job open.

A shell is one long connection, which the ingress controller counts when it ends at the earliest. But gotty writes a
line with the number of its connections at each change (its server/handlers.go), and its pod's log has the last of them.
"""

import re

from kns.model import names
from kns.objects.shell import COMPONENT
from kns.ports import Context
from kns.stages.pods import list_pods

# gotty v1.5.0: "New client connected: 10.0.0.1:4711, connections: 1/10", "Connection closed by client: ...".
# A user of the shell may write lines like these, but no number that Python cannot read.
_CHANGE = re.compile(
    r"^[0-9/]+ [0-9:]+ (?:New client connected|Connection closed by)\b.*, connections: (\d{1,4})/\d{1,4}$", re.ASCII
)


def has_open_shell(ctx: Context) -> bool:
    """
    Whether the web shell has a connection. A log that cannot be read counts as one.

    It reads the last lines of the log from the host, so ask only for a job that has no other reason to stay awake.
    """
    pods = list_pods(ctx, {names.COMPONENT_LABEL: COMPONENT})
    return any(_count_connections(ctx, pod["metadata"]["name"]) != 0 for pod in pods)


def _count_connections(ctx: Context, pod: str) -> int | None:
    log = ctx.world.cluster.pod_log(ctx.namespace, pod, COMPONENT)
    return None if log is None else read_connections(log)


def read_connections(log: str) -> int:
    """
    The connections after the last line about one; 0 if there is none.

    >>> read_connections("2026/11/28 10:00:00 New client connected: 10.0.0.9:1, connections: 2/10")
    2
    """
    for line in reversed(log.splitlines()):
        found = _CHANGE.match(line)
        if found is not None:
            return int(found[1])
    return 0
