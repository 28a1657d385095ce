"""
Make refused pods start when there is room: see `kns.model.job.room`.

The quota's use comes from the watch, so a job whose use does not change costs no request.
"""

from kns.logs import get_logger
from kns.model import names
from kns.model.errors import KnsError
from kns.model.job.room import after_failure, after_page, look
from kns.ports import Context, Kind
from kns.stages.access import read_kubeconfig

log = get_logger(__name__)

_NEXT_PAGE_AFTER_S = 5.0  # the syncer has tried a page by then
# A new leader first brings all records up to date. Then it asks the virtual clusters, at moments spread over half a
# minute, and before the reconciles that each serving job has every minute anyway.
_FIRST_ROUND_AFTER_S = 30.0
_SPREAD_S = 30


def retry_refused(ctx: Context) -> float | None:
    """
    Retry one page of waiting pods, if the job's quota has more room than at the last look. Without a last look, the
    first page is left to a later reconcile.

    Returns the seconds until the next page, None if there is none. An error must not stop the job.
    """
    if ctx.world.rooms is None:
        return None
    quota = ctx.world.cluster.observe(Kind.RESOURCE_QUOTA, ctx.namespace, names.RESOURCE_QUOTA) or {}
    status = quota.get("status") or {}
    if not status.get("used"):
        return None
    mark = ctx.now.isoformat()
    before = ctx.world.rooms.recall(ctx.job.uid)
    room = look(before, status, mark=mark)
    if before is None and room.mark:
        ctx.world.rooms.keep(ctx.job.uid, room)
        return _FIRST_ROUND_AFTER_S + ctx.accepted.number % _SPREAD_S
    if room.mark:
        try:
            kubeconfig = read_kubeconfig(ctx)
            retry_pods = ctx.world.virtual_clusters.retry_pods
            next_page = retry_pods(ctx.namespace, kubeconfig, room.mark, room.page) if kubeconfig else ""
            room = after_page(room, next_page, mark=mark)
        except KnsError as error:
            log.info("pods_not_retried", error=str(error))
            room = after_failure(room)
    ctx.world.rooms.keep(ctx.job.uid, room)
    return _NEXT_PAGE_AFTER_S if room.mark else None
