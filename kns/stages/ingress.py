"""
The Ingress to the app's first target, at an address of the job's own.

The target is a Service inside the virtual cluster; vcluster copies it to the job's namespace under a name that can be
computed. A job is exposed when that copy is there and pods can be reached by it; from then on the copy is followed,
and the job serves whatever becomes of it. No watch of ours tells of the tenant's Services, so each pass reads one.
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
from kns.objects.target import build_target_service, find_fault
from kns.ports import Context, Kind, Object
from kns.stages.outcome import Done, Failed, Outcome, Wait, Without
from kns.stages.ownership import has_foreign_namespace

_POLL_S = 1.0
# Passes come also when pods come or go, so this is the lag of a change that moves no pod.
_LOOK_S = 60.0
_LOST_LOOK_S = 10.0


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why nobody can be led to the target now; `end` is the reason if it lasts."""

    reason: Reason
    message: str
    end: Reason


def ensure(ctx: Context) -> Outcome:
    if ctx.job.status.lives_without_url:
        return Done()
    targets, url = ctx.accepted.nested.targets, ctx.job.status.url
    address = ctx.site.job_address(ctx.accepted.number, ctx.accepted.nested, url=url)
    if address is None:
        return Done("the AppDef has no target" if not targets else "no jobs domain is configured")
    if url is None:
        return _expose(ctx, targets[0], address)
    try:
        return _follow(ctx, targets[0], address)
    except RefusedError as error:  # a rule that came later must not end a job that serves
        return Without(Reason.REFUSED_BY_HOST, f"the host cluster refused: {error}", _LOOK_S)


def remove(ctx: Context) -> Outcome:
    """First of all removals, so that nobody is led to a cluster that is going."""
    cluster = ctx.world.cluster
    found = cluster.observe(Kind.INGRESS, ctx.name, ctx.name)
    if found is None or has_foreign_namespace(ctx):
        return Done()
    if found["metadata"].get("deletionTimestamp") is None:
        cluster.delete(Kind.INGRESS, ctx.name, ctx.name, uid=found["metadata"]["uid"])
    return Wait(_POLL_S, Reason.REMOVING, f"Ingress {ctx.name} is going")


def _expose(ctx: Context, target: Target, address: JobAddress) -> Outcome:
    problem = _find_holder(ctx, address) or _lead(ctx, target)
    if problem is None:
        _apply_ingress(ctx, target, address)
        return Done(url=address.url, address=address.host, look_s=_LOOK_S)
    deployed = ctx.job.status.condition(ConditionType.DEPLOYED)
    since = deployed.last_transition_time if deployed and deployed.is_true else ctx.now
    limit_s = ctx.site.target_limit_s
    if ctx.now - since >= timedelta(seconds=limit_s):
        return Failed(problem.end, f"{problem.message}, {limit_s} s after the deployment")
    return Wait(_POLL_S, problem.reason, problem.message)


def _follow(ctx: Context, target: Target, address: JobAddress) -> Outcome:
    problem = _lead(ctx, target)
    _apply_ingress(ctx, target, address)
    if problem is None:
        return Done(url=address.url, address=address.host, look_s=_LOOK_S)
    reason = Reason.TARGET_GONE if problem.reason is Reason.NO_TARGET else problem.reason
    return Without(reason, f"{problem.message}; the URL leads to the pods that it last led to", _LOST_LOOK_S)


def _lead(ctx: Context, target: Target) -> _Problem | None:
    """Make our Service select what the target does; with a problem it stays as it is."""
    cluster, what = ctx.world.cluster, f"target Service {target.service_namespace}/{target.service_name}"
    copy = cluster.read(
        Kind.SERVICE, ctx.name, names.host_name(target.service_name, target.service_namespace, ctx.name)
    )
    if copy is None:
        return _Problem(Reason.NO_TARGET, f"{what} is not in the virtual cluster", Reason.TARGET_NOT_FOUND)
    fault = find_fault(target, copy)
    if fault is not None:
        return _Problem(Reason.TARGET_UNFIT, f"{what} {fault}", Reason.TARGET_UNFIT)
    wanted = stamp(build_target_service(ctx.accepted.number, target, copy))
    found = cluster.read(Kind.SERVICE, ctx.name, names.TARGET)
    same_pods = found is not None and found["spec"].get("selector") == wanted["spec"]["selector"]
    if not same_pods or not is_as_applied(found, wanted):
        cluster.apply(wanted)
    return None


def _apply_ingress(ctx: Context, target: Target, address: JobAddress) -> None:
    """Put it there, or back to what it must be: changed by hand, or with other settings of the site."""
    number, nested = ctx.accepted.number, ctx.accepted.nested
    wanted = stamp(
        build_ingress(
            number,
            address=address,
            service=names.TARGET,
            port=target.service_port,
            settings=ctx.site.ingress,
            shell=ctx.site.shell_address(number, nested, url=ctx.job.status.url),
        )
    )
    if not is_as_applied(ctx.world.cluster.observe(Kind.INGRESS, ctx.name, ctx.name), wanted):
        ctx.world.cluster.apply(wanted)


def _find_holder(ctx: Context, address: JobAddress) -> _Problem | None:
    """
    Another job at that address. Of one jobs domain no two jobs have the same; one that keeps its address of an earlier
    domain may be in the way.
    """
    for ingress in ctx.world.cluster.observe_all(Kind.INGRESS):
        holder = ingress["metadata"]["namespace"]
        if holder != ctx.name and (address.host, address.path) in _claims(ingress):
            return _Problem(Reason.ADDRESS_TAKEN, f"{address.url} is the address of {holder}", Reason.ADDRESS_TAKEN)
    return None


def _claims(ingress: Object) -> set[tuple[str | None, str | None]]:
    """Host and path of all that it leads to."""
    return {
        (rule.get("host"), path.get("path"))
        for rule in ingress["spec"].get("rules") or ()
        for path in (rule.get("http") or {}).get("paths") or ()
    }
