"""
The Ingress to the app's first target, at an address of the job's own.

The target is a Service inside the virtual cluster; vcluster copies it to the job's namespace under a name that can be
computed. The stage waits until that copy exists, so that a job with a URL has something behind it.
"""

from datetime import timedelta

from kns.model import names
from kns.model.conditions import ConditionType, Reason
from kns.model.outcome import Done, Failed, Outcome, Wait
from kns.objects.ingress import build_ingress
from kns.ports import Context, Kind

_POLL_S = 1.0


def ensure(ctx: Context) -> Outcome:
    targets = ctx.accepted.nested.targets
    address = ctx.site.job_address(ctx.accepted.number, ctx.accepted.nested)
    if address is None:
        return Done("the AppDef has no target" if not targets else "no jobs domain is configured")
    target = targets[0]
    cluster = ctx.world.cluster
    service = names.host_name(target.service_name, target.service_namespace, ctx.name)
    if cluster.observe(Kind.INGRESS, ctx.name, ctx.name) is None:
        exposed = ctx.job.status.is_true(ConditionType.EXPOSED)  # then it was removed by hand: put it back
        if not exposed and cluster.read(Kind.SERVICE, ctx.name, service) is None:
            return _missing(ctx, f"{target.service_namespace}/{target.service_name}")
        cluster.apply(
            build_ingress(
                ctx.accepted.number,
                address=address,
                service=service,
                port=target.service_port,
                settings=ctx.site.ingress,
                shell=ctx.site.shell_address(ctx.accepted.number, ctx.accepted.nested),
            )
        )
    return Done(url=address.url, address=address.host)


def remove(ctx: Context) -> Outcome:
    """First of all removals, so that nobody is led to a cluster that is going."""
    cluster = ctx.world.cluster
    found = cluster.observe(Kind.INGRESS, ctx.name, ctx.name)
    if found is None:
        return Done()
    if found["metadata"].get("deletionTimestamp") is None:
        cluster.delete(Kind.INGRESS, ctx.name, ctx.name, uid=found["metadata"]["uid"])
    return Wait(_POLL_S, Reason.REMOVING, f"Ingress {ctx.name} is going")


def _missing(ctx: Context, target: str) -> Outcome:
    deployed = ctx.job.status.condition(ConditionType.DEPLOYED)
    since = deployed.last_transition_time if deployed and deployed.is_true else ctx.now
    limit_s = ctx.site.target_limit_s
    if ctx.now - since >= timedelta(seconds=limit_s):
        return Failed(
            Reason.TARGET_NOT_FOUND,
            f"target Service {target} did not appear in the virtual cluster within {limit_s} s of the deployment",
        )
    return Wait(_POLL_S, Reason.NO_TARGET, f"waiting for target Service {target}")
