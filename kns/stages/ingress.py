"""
The Ingress that exposes the app's first target at the job's own address.

The target is a Service in the virtual cluster; vcluster copies it to the job's namespace. A job is exposed as soon as
the copy exists and can be routed to. From then on kns follows changes of the copy, and the job keeps serving even if
the copy disappears. No watch covers the tenant's Services, so each reconcile reads this one.
"""

from dataclasses import dataclass
from datetime import timedelta

from kns.model import names
from kns.model.appdef.appdef import Target
from kns.model.errors import RefusedError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.site import JobAddress
from kns.objects.drift import is_as_applied, stamp
from kns.objects.ingress import build_ingress
from kns.objects.target import build_target_service, explain_unfit
from kns.ports import Context, Kind
from kns.stages.outcome import Done, Failed, Outcome, Skipped, Wait
from kns.stages.ownership import has_foreign_namespace
from kns.stages.web_shell import WebShell, find_web_shell

_REQUEUE_AFTER_S = 1.0
# Pods that start or end also cause a reconcile, so this is the delay only for changes that affect no pod.
_FOLLOW_AFTER_S = 60.0
_LOST_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why the target cannot be exposed now. `end` is the job's reason if the problem lasts too long."""

    reason: Reason
    message: str
    end: Reason


def ensure(ctx: Context) -> Outcome:
    if ctx.job.status.lives_without_url:
        return Done()
    targets, address = ctx.accepted.nested.targets, ctx.address
    if address is None:
        return Done("the AppDef has no target" if not targets else "no jobs domain is configured")
    if ctx.job.status.url is None:
        return _expose(ctx, targets[0], address)
    try:
        return _follow(ctx, targets[0], address)
    except RefusedError as error:  # a new admission rule must not end a serving job
        return Skipped(Reason.REFUSED_BY_HOST, f"the host cluster refused: {error}", _FOLLOW_AFTER_S)


def remove(ctx: Context) -> Outcome:
    """Removed before everything but the shell, so that no user is routed to a cluster that is being removed."""
    cluster, name = ctx.world.cluster, ctx.location.ingress
    found = cluster.observe(Kind.INGRESS, ctx.namespace, name)
    if found is None or has_foreign_namespace(ctx):
        return Done()
    if found["metadata"].get("deletionTimestamp") is None:
        cluster.delete(Kind.INGRESS, ctx.namespace, name, uid=found["metadata"]["uid"])
    return Wait(_REQUEUE_AFTER_S, Reason.REMOVING, f"Ingress {name} is being deleted")


def _expose(ctx: Context, target: Target, address: JobAddress) -> Outcome:
    problem = _find_holder(ctx, address) or _route(ctx, target)
    if problem is None:
        _apply_ingress(ctx, target, address)
        return Done(url=address.url, address=address.host, requeue_after_s=_FOLLOW_AFTER_S)
    deployed = ctx.job.status.condition(ConditionType.DEPLOYED)
    since = deployed.last_transition_time if deployed and deployed.is_true else ctx.now
    limit_s = ctx.site.target_limit_s
    if ctx.now - since >= timedelta(seconds=limit_s):
        return Failed(problem.end, f"{problem.message}, {limit_s} s after the deployment")
    return Wait(_REQUEUE_AFTER_S, problem.reason, problem.message)


def _follow(ctx: Context, target: Target, address: JobAddress) -> Outcome:
    problem = _route(ctx, target)
    _apply_ingress(ctx, target, address)
    if problem is None:
        return Done(url=address.url, address=address.host, requeue_after_s=_FOLLOW_AFTER_S)
    reason = Reason.TARGET_GONE if problem.reason is Reason.NO_TARGET else problem.reason
    return Skipped(reason, f"{problem.message}; the URL leads to the last known pods", _LOST_AFTER_S)


def _route(ctx: Context, target: Target) -> _Problem | None:
    """Make kns's Service select the same pods as the target. With a problem kns's Service stays unchanged."""
    cluster, what = ctx.world.cluster, f"target Service {target.service_namespace}/{target.service_name}"
    name = ctx.location.copy_name(target.service_name, target.service_namespace)
    copy = cluster.read(Kind.SERVICE, ctx.namespace, name)
    if copy is None:
        return _Problem(Reason.NO_TARGET, f"{what} is not in the virtual cluster", Reason.TARGET_NOT_FOUND)
    unfit = explain_unfit(target, copy)
    if unfit is not None:
        return _Problem(Reason.TARGET_UNFIT, f"{what} {unfit}", Reason.TARGET_UNFIT)
    wanted = stamp(build_target_service(ctx.location, target, copy))
    found = cluster.read(Kind.SERVICE, ctx.namespace, names.TARGET)
    same_pods = found is not None and found["spec"].get("selector") == wanted["spec"]["selector"]
    if not same_pods or not is_as_applied(found, wanted):
        cluster.apply(wanted)
    return None


def _apply_ingress(ctx: Context, target: Target, address: JobAddress) -> None:
    """Create the Ingress, or correct it after a manual change or a change of the site's settings."""
    shell, location = find_web_shell(ctx), ctx.location
    wanted = stamp(
        build_ingress(
            location,
            address=address,
            service=names.TARGET,
            port=target.service_port,
            settings=ctx.site.ingress,
            shell=shell.address if isinstance(shell, WebShell) else None,
        )
    )
    if not is_as_applied(ctx.world.cluster.observe(Kind.INGRESS, location.namespace, location.ingress), wanted):
        ctx.world.cluster.apply(wanted)


def _find_holder(ctx: Context, address: JobAddress) -> _Problem | None:
    """
    Another job with this address. Jobs under one jobs domain never share an address, but a job that was exposed under
    an earlier domain keeps its old one.
    """
    for ingress in ctx.world.cluster.observe_ingresses_at(address.host, address.path):
        holder = ingress["metadata"]["namespace"]
        if holder != ctx.namespace:
            return _Problem(Reason.ADDRESS_TAKEN, f"{address.url} is the address of {holder}", Reason.ADDRESS_TAKEN)
    return None
