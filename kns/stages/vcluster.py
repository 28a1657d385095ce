"""
The virtual cluster: the official chart, rendered and applied, then watched over.

Ready means that its API answers through its Service and the default ServiceAccount exists. The spawn clock runs from
the first apply; template time does not count. The pod template of a running control plane is never applied again: a
change would roll the pod, and without a volume that is the end of all data inside. A control-plane pod with another
uid than at the start is therefore the end of the job: the new, empty cluster must not pass for the old one.
"""

from collections.abc import Sequence
from datetime import timedelta

from kns.model import names
from kns.model.job.conditions import ConditionType, Reason
from kns.objects.vcluster import build_syncer_binding, build_values
from kns.ports import Context, Kind, Object
from kns.stages.access import read_kubeconfig
from kns.stages.outcome import Done, Failed, Outcome, Wait
from kns.stages.tenant import end_pods

_POLL_S = 5.0  # the watch wakes the job sooner
_PROBE_S = 0.5
_DRAIN_POLL_S = 1.0
# Without a volume and with one. Which it is was decided when the job was made: the setting may have changed since.
_KINDS = (Kind.DEPLOYMENT, Kind.STATEFUL_SET)


def ensure(ctx: Context) -> Outcome:
    if ctx.job.status.is_true(ConditionType.VIRTUAL_CLUSTER_READY):
        return _watch_over(ctx)
    started = ctx.job.status.spawn_start_time or ctx.now
    left_s = (started + timedelta(seconds=ctx.site.spawn_delay_s) - ctx.now).total_seconds()
    if left_s <= 0:
        return Failed(
            Reason.SPAWN_DELAY_PASSED,
            f"the virtual cluster was not running after {ctx.site.spawn_delay_s} s: {_describe(ctx)}",
        )
    control_plane = _observe_control_plane(ctx)
    if control_plane is None:
        _create(ctx)
        return Wait(min(_POLL_S, left_s), Reason.SPAWNING, "virtual cluster created")
    if not (control_plane.get("status") or {}).get("readyReplicas"):
        return Wait(min(_POLL_S, left_s), Reason.SPAWNING, _describe(ctx))
    if not _answers(ctx):
        return Wait(min(_PROBE_S, left_s), Reason.WAITING_FOR_API, "waiting for the virtual cluster's API")
    pods = _control_plane_pods(ctx)
    if not pods:  # the cache lags: without the pod's uid its loss could never be noticed
        return Wait(min(_PROBE_S, left_s), Reason.WAITING_FOR_API, "looking for the control-plane pod")
    return Done(control_plane_uid=pods[-1]["metadata"]["uid"])


def remove(ctx: Context) -> Outcome:
    """Nothing of it lies outside the job's namespace, and the namespace takes it along."""
    del ctx
    return Done()


def drain(ctx: Context) -> Outcome:
    """
    End the tenant's pods with the site's grace, while the control plane goes on serving the ones that are ending; Done
    when they are gone or the grace is over.
    """
    since = ctx.job.status.condition(ConditionType.DRAINED)
    grace = timedelta(seconds=ctx.site.grace_s)
    if since is not None and ctx.now >= since.last_transition_time + grace:
        return Done()
    left = end_pods(ctx, spare_dns=True)
    return Wait(_DRAIN_POLL_S, Reason.GRACE, f"pods still ending: {left}") if left else Done()


def _create(ctx: Context) -> None:
    """What runs comes last, so a deployed control plane means that all the rest is there."""
    cluster = ctx.world.cluster
    cluster.apply(build_syncer_binding(ctx.accepted.number))
    pull_secret = cluster.read(Kind.SECRET, ctx.name, names.PULL_SECRET) is not None
    shell = ctx.site.shell_address(ctx.accepted.number, ctx.accepted.nested) is not None
    objects = ctx.world.renderer.render(
        ctx.accepted.number,
        lambda number: build_values(number, ctx.accepted, ctx.site.virtual, pull_secret=pull_secret, shell=shell),
    )
    for obj in objects:
        cluster.apply(obj)


def _answers(ctx: Context) -> bool:
    kubeconfig = read_kubeconfig(ctx)
    return kubeconfig is not None and ctx.world.virtual_clusters.is_ready(kubeconfig)


def _watch_over(ctx: Context) -> Outcome:
    cluster = ctx.world.cluster
    if _observe_control_plane(ctx) is None and all(cluster.read(kind, ctx.name, ctx.name) is None for kind in _KINDS):
        return Failed(Reason.CONTROL_PLANE_LOST, "the virtual cluster's control plane was removed by somebody else")
    known, pods = ctx.job.status.control_plane_uid, _control_plane_pods(ctx)
    has_volume = cluster.observe(Kind.STATEFUL_SET, ctx.name, ctx.name) is not None
    # The newest counts: an evicted pod stays beside the one that replaced it.
    if known and pods and pods[-1]["metadata"]["uid"] != known and not has_volume:
        return Failed(
            Reason.CONTROL_PLANE_LOST,
            "the control-plane pod was replaced; without a volume everything inside the virtual cluster is lost",
        )
    return Done()


def _observe_control_plane(ctx: Context) -> Object | None:
    found = (ctx.world.cluster.observe(kind, ctx.name, ctx.name) for kind in _KINDS)
    return next((obj for obj in found if obj is not None), None)


def _control_plane_pods(ctx: Context) -> Sequence[Object]:
    """Oldest first."""
    wanted = names.control_plane_selector(ctx.accepted.number).items()
    pods = [
        pod
        for pod in ctx.world.cluster.observe_job(Kind.POD, ctx.accepted.number)
        if wanted <= (pod["metadata"].get("labels") or {}).items()
    ]
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))


def _describe(ctx: Context) -> str:
    """What the control-plane pod itself says about why it is not running yet."""
    pods = _control_plane_pods(ctx)
    if not pods:
        control_plane = _observe_control_plane(ctx) or {}
        for condition in (control_plane.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "ReplicaFailure":
                return f"no control-plane pod: {condition.get('message')}"
        return "the control-plane pod does not exist yet"
    status = pods[-1].get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") != "True":
            return f"the control-plane pod is not scheduled: {condition.get('message') or condition.get('reason')}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return f"container {container['name']}: {waiting['reason']}: {waiting.get('message', '')}"
    return "the control plane is starting"
