"""
Put a job to sleep and wake it: not a stage, but what the engine calls for a job that serves and shall rest.

Asleep, a job has no pods and no running control plane. Its namespace, volumes, certificates and address stay; the
control plane's volume has everything that was in its API. So a job without that volume cannot sleep.

The order matters. First the address leads to kns, so that nobody reaches pods that are about to end. Then the tenant's
pods end under a quota of no pods. The controllers inside replace them, but only inside: when the job wakes, the syncer
finds pods that it only has to make, and need not wait for a controller. The control plane ends last.

Every call may be repeated: what was done is read from the host, and only the record says what is wanted.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from kns.logs import get_logger
from kns.model import names
from kns.model.errors import ForbiddenError, RefusedError
from kns.model.job.conditions import APP_STARTS, CLUSTER_STARTS, ConditionType, Reason
from kns.objects.target import explain_unfit, select_target_pods
from kns.ports import Context, Kind, Object
from kns.stages import ingress, namespace, prepare, vault
from kns.stages.access import answers
from kns.stages.credentials import AND
from kns.stages.outcome import Done, Failed, Outcome, Skipped, Wait
from kns.stages.ownership import has_foreign_namespace, is_terminating
from kns.stages.patience import growing_delay_s
from kns.stages.pods import BlockerKind, find_blocker, list_pods, placed_for_s
from kns.stages.room import retry_refused
from kns.stages.tenant import OWN_GRACE_S, allow_tenants_pods, choose_grace_s, end_tenants_pods, stays_longer

log = get_logger(__name__)

NO_VOLUME = "its virtual cluster has no volume to keep its state in (KNS_VCLUSTER_STORAGE_CLASS of the site)"

_LOOK_AFTER_S = 0.5
_LATE_S = 30.0  # after the grace period: the kubelet is slow, or the leader has changed
_REQUEUE_AFTER_S = 2.0  # at first; the watch reports what happens
_RETRY_AFTER_S = 30.0  # of what the host refused
_STAGES_EVERY_S = 10.0
_EVENTS_AFTER_S = 10.0  # a pod exists within a second, unless the host refuses it
_ASLEEP_LOOK_S = 600.0  # somebody may have changed what leads to kns


def can_sleep(ctx: Context) -> bool:
    """Whether the job's control plane has a volume. From the cache, so that a client does not wait."""
    return ctx.world.cluster.observe(Kind.STATEFUL_SET, ctx.namespace, ctx.location.vcluster) is not None


def sleep(ctx: Context) -> Outcome:
    """
    End the tenant's pods, then the control plane and all others. Skipped if the job cannot sleep. Repeated while the
    job is asleep, it keeps the address leading to kns.

    What the host refuses, such as one more Service where the tenant has used up the quota, is no reason to end a job:
    it stays awake if its control plane has not ended yet.
    """
    try:
        return _sleep(ctx)
    except (RefusedError, ForbiddenError) as error:
        said = f"the host cluster refused: {error}"
    with suppress(RefusedError, ForbiddenError):
        control_plane = ctx.world.cluster.read(Kind.STATEFUL_SET, ctx.namespace, ctx.location.vcluster)
        if control_plane is None or control_plane["spec"].get("replicas", 1):
            allow_tenants_pods(ctx)
            _scale(ctx, ctx.world.cluster.read(Kind.DEPLOYMENT, ctx.namespace, names.SHELL), 1)
            return Skipped(Reason.SLEEP_NOT_POSSIBLE, f"the job cannot sleep: {said}")
    return Wait(_RETRY_AFTER_S, Reason.FALLING_ASLEEP, said)


def wake(ctx: Context) -> Outcome:
    """
    Start the control plane, and wait until it answers and a pod of the app is ready.

    The address leads to kns until stage ingress leads it back, and so the visitor sees the app's page first when it is
    there. An app that does not become ready gets its address back after the site's limit for targets.
    """
    try:
        return _wake(ctx)
    except (RefusedError, ForbiddenError) as error:
        return Wait(_RETRY_AFTER_S, Reason.WAKING, f"the host cluster refused: {error}")


def let_run(ctx: Context) -> None:
    """
    Let the pods of an ended job that is kept start again, if a sleep or a shutdown ended them: an administrator wants
    to look at them. What the host refuses stays as it is.
    """
    try:
        allow_tenants_pods(ctx)
        _scale(ctx, ctx.world.cluster.read(Kind.STATEFUL_SET, ctx.namespace, ctx.location.vcluster), 1)
        _scale_shell(ctx, 1)
        ingress.ensure(ctx)
    except (RefusedError, ForbiddenError) as error:
        log.warning("kept_job_not_started", namespace=ctx.namespace, error=str(error))


def _sleep(ctx: Context) -> Outcome:
    control_plane = _find_control_plane(ctx)
    if isinstance(control_plane, (Failed, Skipped)):
        return control_plane
    note = ingress.lead_to_kns(ctx)
    _scale_shell(ctx, 0)
    outcome = _end_all(ctx, control_plane)
    return replace(outcome, message=AND.join(filter(None, (outcome.message, note))))


def _end_all(ctx: Context, control_plane: Object) -> Done | Wait:
    if control_plane["spec"].get("replicas", 1):
        left = end_tenants_pods(ctx) or end_tenants_pods(ctx, spare_dns=False)
        if left and _elapsed_s(ctx) < ctx.site.grace_s + _LATE_S:
            return Wait(_LOOK_AFTER_S, Reason.FALLING_ASLEEP, f"pods still ending: {left}")
    if not _has_replicas(control_plane, 0):
        _scale(ctx, control_plane, 0)
        return Wait(_until_next_look(ctx), Reason.FALLING_ASLEEP, "the control plane is ending")
    if (control_plane.get("status") or {}).get("replicas") or list_pods(ctx, ctx.location.control_plane_selector):
        return Wait(
            _until_next_look(ctx, first_s=_REQUEUE_AFTER_S), Reason.FALLING_ASLEEP, "the control plane is ending"
        )
    left = _end_pods(ctx)
    if left:
        return Wait(_until_next_look(ctx), Reason.FALLING_ASLEEP, f"pods still ending: {left}")
    return Done("the next request of its page wakes it", requeue_after_s=_ASLEEP_LOOK_S)


def _wake(ctx: Context) -> Outcome:
    control_plane = _find_control_plane(ctx)
    if isinstance(control_plane, (Failed, Skipped)):
        return control_plane
    allow_tenants_pods(ctx)
    if not _has_replicas(control_plane, 1):
        _scale(ctx, control_plane, 1)
        return Wait(_LOOK_AFTER_S, Reason.WAKING, CLUSTER_STARTS)
    _scale_shell(ctx, 1)
    pods = list_pods(ctx, ctx.location.control_plane_selector)
    is_ending = any(map(is_terminating, pods))  # it was falling asleep
    if is_ending or not (control_plane.get("status") or {}).get("readyReplicas") or not answers(ctx):
        return _await_control_plane(ctx, control_plane)
    if _elapsed_s(ctx) >= ctx.site.target_limit_s or _is_app_ready(ctx):
        return Done()
    if _is_time_for_stages(ctx):
        vault.ensure(ctx)
        prepare.ensure(ctx)
    # A job that was woken before its control plane ended has a syncer that waits before it tries refused pods again.
    retry_refused(ctx)
    return Wait(_LOOK_AFTER_S, Reason.WAKING, APP_STARTS)


def _is_time_for_stages(ctx: Context) -> bool:
    """
    Whether a waking job asks the stages that its app's pods may wait for: for a volume of a new claim on the vault, or
    for credentials that changed in the sleep. All stages are asked only when the job is awake. At first each look asks,
    and later one every ten seconds: what the host or the virtual cluster refuses would be tried at each look.
    """
    waited_s = _elapsed_s(ctx)
    return waited_s < _STAGES_EVERY_S or waited_s % _STAGES_EVERY_S < _LOOK_AFTER_S


def _find_control_plane(ctx: Context) -> Object | Failed | Skipped:
    """
    The StatefulSet, after a look at the namespace. Only a job with a volume has one. If the cache does not have it, the
    API server decides.
    """
    looked = namespace.ensure(ctx)
    if isinstance(looked, Failed):
        return looked
    cluster, name = ctx.world.cluster, ctx.location.vcluster
    found = cluster.observe(Kind.STATEFUL_SET, ctx.namespace, name)
    found = found or cluster.read(Kind.STATEFUL_SET, ctx.namespace, name)
    if found is not None:
        return found
    if cluster.read(Kind.DEPLOYMENT, ctx.namespace, name) is not None:
        return Skipped(Reason.SLEEP_NOT_POSSIBLE, f"the job cannot sleep: {NO_VOLUME}")
    return Failed(Reason.CONTROL_PLANE_LOST, "the virtual cluster's control plane was removed by somebody else")


def _has_replicas(workload: Object, wanted: int) -> bool:
    """Whether the workload's controller has seen that so many pods are wanted."""
    meta, status = workload["metadata"], workload.get("status") or {}
    has_seen = status.get("observedGeneration", 0) >= meta.get("generation", 0)
    return bool(workload["spec"].get("replicas", 1) == wanted) and has_seen


def _scale(ctx: Context, workload: Object | None, replicas: int) -> None:
    """None: there is no such workload, as in a job without web shell."""
    if workload is None or workload["spec"].get("replicas", 1) == replicas:
        return
    meta = workload["metadata"]
    kind = Kind.DEPLOYMENT if meta["name"] == names.SHELL else Kind.STATEFUL_SET
    if not is_terminating(workload):
        ctx.world.cluster.scale(kind, ctx.namespace, meta["name"], replicas, uid=meta["uid"])


def _scale_shell(ctx: Context, replicas: int) -> None:
    _scale(ctx, ctx.world.cluster.observe(Kind.DEPLOYMENT, ctx.namespace, names.SHELL), replicas)


def _end_pods(ctx: Context) -> int:
    """
    End all pods that are left in the namespace, the tenant's with the site's grace period. Returns their number.

    Nothing makes new ones: the control plane is gone, the web shell's Deployment wants none, and the Kubernetes Job of
    the deployment has ended.
    """
    cluster, grace_s = ctx.world.cluster, choose_grace_s(ctx)
    tenants, own = f"{names.SYNCED_LABEL}={ctx.location.vcluster}", f"!{names.SYNCED_LABEL}"
    left = 0
    for selector, seconds in ((tenants, grace_s), (own, OWN_GRACE_S)):
        pods = cluster.list_metadata(Kind.POD, ctx.namespace, selector)
        left += len(pods)
        if any(stays_longer(pod, seconds) for pod in pods) and not has_foreign_namespace(ctx):
            cluster.delete_pods(ctx.namespace, selector, grace_s=seconds)
    return left


def _await_control_plane(ctx: Context, control_plane: Object) -> Outcome:
    """
    As for a control plane that is away, but from the moment when the job was woken and its pod got a node. While there
    is no room for the pod, time is no reason to end a job whose state is intact.
    """
    limit_s, began = ctx.site.control_plane_limit_s, _began(ctx)
    pods = list_pods(ctx, ctx.location.control_plane_selector)
    waited_s = ctx.elapsed_since(max(began, ctx.leading_since or began)).total_seconds()
    blocker = find_blocker(ctx, pods, control_plane, read_events=waited_s > _EVENTS_AFTER_S)
    if blocker is not None and blocker.kind in (BlockerKind.UNSCHEDULED, BlockerKind.REFUSED):
        if ctx.job.status.url is not None:
            ingress.follow_doors(ctx)  # this may last longer than the pods of kns do
        after_s = growing_delay_s((ctx.now - began).total_seconds(), first_s=_REQUEUE_AFTER_S)
        return Wait(after_s, Reason.WAKING, blocker.describe("control-plane pod"))
    if pods:
        waited_s = min(waited_s, placed_for_s(pods[-1], ctx.now))
    left_s = limit_s - waited_s
    message = blocker.describe("control-plane pod") if blocker is not None else CLUSTER_STARTS
    if left_s <= 0:
        return Failed(Reason.CONTROL_PLANE_UNAVAILABLE, f"the job did not wake up within {limit_s} s: {message}")
    return Wait(min(_LOOK_AFTER_S, left_s), Reason.WAKING, message)


def _is_app_ready(ctx: Context) -> bool:
    """Whether a pod behind the app's target is ready. A target that is gone or leads nowhere is not waited for."""
    targets = ctx.accepted.nested.targets
    if ctx.job.status.url is None or not targets:
        return True
    name = ctx.location.copy_name(targets[0].service_name, targets[0].service_namespace)
    copy = ctx.world.cluster.read(Kind.SERVICE, ctx.namespace, name)
    if copy is None or explain_unfit(targets[0], copy) is not None:
        return True
    labels = select_target_pods(ctx.location, targets[0], copy)
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return ctx.world.cluster.has_ready_pod(ctx.namespace, selector)


def _until_next_look(ctx: Context, *, first_s: float = _LOOK_AFTER_S) -> float:
    """Seconds until kns looks again at what ends. The later it is, the longer, because a lost node may stay away."""
    late_s = (ctx.now - _began(ctx)).total_seconds() - ctx.site.grace_s - _LATE_S
    return growing_delay_s(late_s, first_s=first_s)


def _elapsed_s(ctx: Context) -> float:
    """Seconds since the job was asked to sleep or to wake."""
    return ctx.elapsed_since(_began(ctx)).total_seconds()


def _began(ctx: Context) -> datetime:
    """When the job was asked to sleep or to wake."""
    condition = ctx.job.status.condition(ConditionType.ASLEEP)
    return condition.last_transition_time if condition is not None else ctx.now
