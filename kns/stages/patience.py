"""
How long a stage waits: the pause between two looks, and the end of a wait without progress.

The record stores since when the job is stuck, so a restart of kns does not extend the wait. The time starts again if
the job makes progress or is stuck for another reason.
"""

from kns.model.job.conditions import Reason
from kns.ports import Context
from kns.stages.outcome import Failed, Wait


def wait_at_most(
    ctx: Context, limit_s: float, *, end: Reason, reason: Reason, message: str, requeue_after_s: float
) -> Wait | Failed:
    """Wait with `reason`; after `limit_s` seconds without progress the job ends with reason `end`."""
    left_s = limit_s - stuck_for_s(ctx, end)
    if left_s <= 0:
        return Failed(end, f"after {limit_s} s: {message}")
    return Wait(min(requeue_after_s, left_s), reason, message, stuck=end)


def growing_delay_s(waited_s: float, *, first_s: float, longest_s: float = 60.0) -> float:
    """
    The pause before the next look: half of the time waited so far, which needs no stored number of tries.

    >>> [growing_delay_s(waited_s, first_s=2.0) for waited_s in (0, 10, 3600)]
    [2.0, 5.0, 60.0]
    """
    return min(max(waited_s / 2, first_s), longest_s)


def stuck_for_s(ctx: Context, end: Reason) -> float:
    """The seconds since which the job has been stuck for this reason; 0 if it was not at the last reconcile."""
    stuck = ctx.job.status.stuck
    if stuck is None or stuck.reason != end:
        return 0.0
    return ctx.elapsed_since(stuck.since).total_seconds()
