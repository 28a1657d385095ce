"""
The virtual cluster: renders and applies the official chart, then watches the control plane.

The stage is done when the API answers through its Service and the default ServiceAccount exists. The spawn delay counts
from the first apply and does not include the templates' time. The pod template of a running control plane is never
applied again: a change would replace the pod, and without a volume all data inside would be lost. For the same reason a
control-plane pod with a new uid ends the job: a new, empty cluster must not be taken for the old one.

While the control plane of a running job is away, the condition is False. The app's pods run on, so the job goes on, up
to a limit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from kns.model import names
from kns.model.errors import TransientError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.job.job import JobState
from kns.model.site import VirtualKubernetes
from kns.objects.certificates import build_certificates, build_certs_secret
from kns.objects.control_plane import SYNCER, WORKLOADS, find_kubernetes_image, rebuild_chart
from kns.objects.namespace import counts_own_pods
from kns.objects.prepared_state import build_database, build_state_files
from kns.objects.vcluster import build_syncer_binding
from kns.ports import Context, Kind, Object
from kns.stages.access import answers
from kns.stages.layout import build_chart_values, choose_layout
from kns.stages.outcome import Done, Failed, Outcome, Skipped, Wait
from kns.stages.pods import find_blocker, find_condition, list_containers, list_pods
from kns.stages.prepared import find_state
from kns.stages.tenant import end_tenants_pods
from kns.stages.web_shell import has_web_shell

_REQUEUE_AFTER_S = 5.0  # the watch usually reports a change earlier
_PROBE_AFTER_S = 0.2  # each try costs a connection, and once something listens a read of the host and a request
_PROBE_SHARE = 0.05  # of the time since the start: a slow one is asked ever less often
_SETTLE_S = 30.0  # the kubelet's probes report what kns asked itself one or two seconds later, on a busy node ten
_DRAIN_AFTER_S = 1.0
_LATE_LOOKS_S = 30.0  # of a new leader at a cluster that should have been there already
_STARTING = "the control plane is starting"  # the same text until something blocks it: each new text is a write
_STABLE_S = 60.0  # longer than a crashing control plane is ready between two crashes
# Without a volume, and with one. The kind was decided when the job was made; the setting may have changed since.
_KINDS = (Kind.DEPLOYMENT, Kind.STATEFUL_SET)


def ensure(ctx: Context) -> Outcome:
    if ctx.job.status.job_status is not JobState.SUBMITTED:
        return _check_control_plane(ctx)
    started = ctx.job.status.spawn_start_time or ctx.now
    left_s = ctx.site.spawn_delay_s - ctx.elapsed_since(started).total_seconds()
    if left_s <= 0:
        return _look_late(ctx, started)
    if _observe_control_plane(ctx) is None:
        _create(ctx)
        return Wait(min(_REQUEUE_AFTER_S, left_s), Reason.SPAWNING, _STARTING)
    return _look(ctx, started, left_s)


def drain(ctx: Context) -> Outcome:
    """
    End the tenant's pods with the site's grace period. The control plane keeps running, because terminating pods may
    use it. Done when the pods are gone or the grace period is over.
    """
    since = ctx.job.status.condition(ConditionType.DRAINED)
    grace = timedelta(seconds=ctx.site.grace_s)
    if since is not None and ctx.now >= since.last_transition_time + grace:
        return Done()
    left = end_tenants_pods(ctx)
    return Wait(_DRAIN_AFTER_S, Reason.GRACE, f"pods still ending: {left}") if left else Done()


def _look_late(ctx: Context, started: datetime) -> Outcome:
    """
    The end of the spawn, unless the virtual cluster came up while there was no leader. A new leader gives one whose
    syncer runs some looks, because it may answer slowly after an outage.
    """
    try:
        outcome = _look(ctx, started, _REQUEUE_AFTER_S)
    except UnavailableError:  # the host does not answer, so nothing is known
        raise
    except TransientError as error:
        outcome = Wait(_REQUEUE_AFTER_S, Reason.SPAWNING, str(error))
    is_new = ctx.leading_since is not None and (ctx.now - ctx.leading_since).total_seconds() < _LATE_LOOKS_S
    if not isinstance(outcome, Wait) or (is_new and _is_up(_observe_control_plane(ctx), _control_plane_pods(ctx))):
        return outcome
    limit_s = ctx.site.spawn_delay_s
    said = f"the virtual cluster was not running after {limit_s} s: {outcome.message}"
    return Failed(Reason.SPAWN_DELAY_PASSED, said)


def _is_up(control_plane: Object | None, pods: Sequence[Object]) -> bool:
    """Whether the virtual cluster's API may answer."""
    return control_plane is not None and (_has_ready(control_plane) or _runs_syncer(pods))


def _look(ctx: Context, started: datetime, left_s: float) -> Outcome:
    """Whether the virtual cluster runs. `left_s`: the longest wait until the next look."""
    control_plane = _observe_control_plane(ctx)
    if control_plane is None:
        return Wait(min(_REQUEUE_AFTER_S, left_s), Reason.SPAWNING, _STARTING)
    # kns asks the API itself. The kubelet's probes say a second or more later that it answers.
    pods, is_ready = _control_plane_pods(ctx), _has_ready(control_plane)
    if not _is_up(control_plane, pods):
        return Wait(min(_REQUEUE_AFTER_S, left_s), Reason.SPAWNING, _describe(ctx))
    after_s = min(max(_PROBE_AFTER_S, _PROBE_SHARE * ctx.elapsed_since(started).total_seconds()), left_s)
    if not answers(ctx):
        if is_ready:
            return Wait(after_s, Reason.WAITING_FOR_API, "waiting for the virtual cluster's API")
        return Wait(after_s, Reason.SPAWNING, _describe(ctx))
    if not pods:  # the cache is behind; without the pod's uid its loss could not be detected later
        return Wait(after_s, Reason.WAITING_FOR_API, "looking for the control-plane pod")
    return Done(control_plane_uid=pods[-1]["metadata"]["uid"])


def _create(ctx: Context) -> None:
    """
    The control plane comes last, so its existence means that all other objects exist, with its certificates.
    """
    cluster = ctx.world.cluster
    cluster.apply(build_syncer_binding(ctx.location))
    virtual = _fit_quota(ctx, choose_layout(ctx))
    pull_secret = cluster.read(Kind.SECRET, ctx.namespace, names.PULL_SECRET) is not None
    objects = ctx.world.renderer.render(
        ctx.location, lambda location: build_chart_values(ctx, location, virtual, pull_secret=pull_secret)
    )
    if virtual.fast_start:
        state = _build_state(ctx, objects) if virtual.prepared_state else {}
        objects = rebuild_chart(objects, ctx.location, service_cidr=virtual.service_cidr, state=state)
    stored = [cluster.apply(obj) for obj in objects if obj["kind"] not in WORKLOADS]
    if virtual.fast_start:
        _ensure_certificates(ctx, stored)
    for obj in objects:
        if obj["kind"] in WORKLOADS:
            cluster.apply(obj)


def _fit_quota(ctx: Context, virtual: VirtualKubernetes) -> VirtualKubernetes:
    """
    `virtual`, without the fast start if the namespace's quota does not count the pod with a container for each process.
    A quota that an earlier release made counts the chart's pod. One that the watch does not show yet was made a moment
    ago, by this release.
    """
    quota = ctx.world.cluster.observe(Kind.RESOURCE_QUOTA, ctx.namespace, names.RESOURCE_QUOTA)
    fits = quota is None or counts_own_pods(
        quota, ctx.accepted.machine, nodes=ctx.job.spec.machine.nodes, shell=has_web_shell(ctx)
    )
    return virtual if fits else replace(virtual, fast_start=False)


def _ensure_certificates(ctx: Context, stored: Sequence[Object]) -> None:
    """
    Make the certificates, unless they exist: a control plane may use them, although this replica does not see it yet.
    """
    cluster, location = ctx.world.cluster, ctx.location
    if cluster.read(Kind.SECRET, location.namespace, location.certs_secret) is not None:
        return
    service = next(obj for obj in stored if obj["kind"] == "Service" and obj["metadata"]["name"] == location.vcluster)
    content = build_certificates(location, service_cidr=ctx.site.virtual.service_cidr, now=ctx.now)
    cluster.apply(build_certs_secret(location, content, service_uid=service["metadata"]["uid"]))


def _build_state(ctx: Context, objects: Sequence[Object]) -> Mapping[str, bytes]:
    """The files of the job's copy of the prepared state; none if there is no state for its image."""
    virtual = ctx.site.virtual
    version, image = virtual.version(ctx.accepted.nested.kubernetes_version), find_kubernetes_image(objects)
    state = find_state(ctx.world.cluster, ctx.site.system_namespace, version, image)
    if state is None:
        return {}
    # The same content at each try: the pod may exist already, although this replica does not see it.
    database = build_database(state, now=ctx.job.status.spawn_start_time or ctx.now, seed=ctx.job.uid)
    return build_state_files(state, database)


def _has_ready(control_plane: Object) -> bool:
    return bool((control_plane.get("status") or {}).get("readyReplicas"))


def _runs_syncer(pods: Sequence[Object]) -> bool:
    """Whether the syncer of the newest pod runs. Only it makes the API reachable."""
    statuses = list_containers(pods[-1]) if pods else []
    return any(each["name"] == SYNCER and "running" in (each.get("state") or {}) for each in statuses)


def _check_control_plane(ctx: Context) -> Outcome:
    cluster, name = ctx.world.cluster, ctx.location.vcluster
    if _observe_control_plane(ctx) is None and all(cluster.read(kind, ctx.namespace, name) is None for kind in _KINDS):
        return Failed(Reason.CONTROL_PLANE_LOST, "the virtual cluster's control plane was removed by somebody else")
    known, pods = ctx.job.status.control_plane_uid, _control_plane_pods(ctx)
    has_volume = cluster.observe(Kind.STATEFUL_SET, ctx.namespace, name) is not None
    # The newest pod decides: an evicted pod stays as an object beside its replacement.
    if known and pods and pods[-1]["metadata"]["uid"] != known and not has_volume:
        return Failed(
            Reason.CONTROL_PLANE_LOST,
            "the control-plane pod was replaced; without a volume everything inside the virtual cluster is lost",
        )
    return _check_availability(ctx)


def _check_availability(ctx: Context) -> Outcome:
    """
    Whether the control plane passes its readiness probe. In the first seconds kns's own look at its API counts.

    After an outage it must do so for `_STABLE_S`, so that the short lives of a crash loop do not end the outage. Time
    without a leader does not count: after a power failure kns may run before the control planes do.
    """
    condition = ctx.job.status.condition(ConditionType.VIRTUAL_CLUSTER_READY)
    was_away = condition is not None and not condition.is_true
    ready_s = _ready_for_s(ctx)
    if ready_s is not None and (not was_away or ready_s >= _STABLE_S):
        return Done()
    settle_s = _SETTLE_S - ctx.elapsed_since(ctx.job.status.start_time or ctx.now).total_seconds()
    if not was_away and settle_s > 0 and _runs_syncer(_control_plane_pods(ctx)):
        return Done(requeue_after_s=settle_s)
    since = condition.last_transition_time if condition is not None and was_away else ctx.now
    limit_s = ctx.site.control_plane_limit_s
    left_s = limit_s - ctx.elapsed_since(max(since, ctx.leading_since or since)).total_seconds()
    message = _describe(ctx) if ready_s is None else "the control plane has been running again for less than a minute"
    if left_s <= 0:
        return Failed(Reason.CONTROL_PLANE_UNAVAILABLE, f"the control plane was away for {limit_s} s: {message}")
    return Skipped(
        Reason.CONTROL_PLANE_UNAVAILABLE, message, left_s if ready_s is None else min(left_s, _STABLE_S - ready_s)
    )


def _ready_for_s(ctx: Context) -> float | None:
    """Seconds since the control plane became ready; None if it is not, infinity if the time is unknown."""
    control_plane = _observe_control_plane(ctx)
    if control_plane is not None and not _has_ready(control_plane):
        return None
    pods = _control_plane_pods(ctx)
    ready = find_condition(pods[-1], "Ready") if pods else {}
    if ready.get("status") != "True":
        return math.inf
    return max(0.0, (ctx.now - datetime.fromisoformat(ready["lastTransitionTime"])).total_seconds())


def _observe_control_plane(ctx: Context) -> Object | None:
    found = (ctx.world.cluster.observe(kind, ctx.namespace, ctx.location.vcluster) for kind in _KINDS)
    return next((obj for obj in found if obj is not None), None)


def _control_plane_pods(ctx: Context) -> Sequence[Object]:
    return list_pods(ctx, ctx.location.control_plane_selector)


def _describe(ctx: Context) -> str:
    """Why the control plane is not running yet."""
    pods = _control_plane_pods(ctx)
    has_volume = ctx.world.cluster.observe(Kind.STATEFUL_SET, ctx.namespace, ctx.location.vcluster) is not None
    blocker = find_blocker(ctx, pods, _observe_control_plane(ctx), read_events=has_volume)
    if blocker is not None:
        return blocker.describe("control-plane pod")
    return _STARTING
