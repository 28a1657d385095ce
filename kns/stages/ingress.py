"""
The Ingress, or on a site with a Gateway the HTTPRoute, that exposes the app's first target at the job's own address.

The target is a Service in the virtual cluster; vcluster copies it to the job's namespace. A job is exposed as soon as
the copy exists and can be routed to. From then on kns follows changes of the copy, and the job keeps serving even if
the copy disappears. Until the job is exposed, each reconcile reads the copy. Afterwards the watches report every change
of the copy and of kns's Service, and a reconcile of a serving job reads nothing.

A webhook of the site may change what kns applies. The condition then says so, with a mark of the result, and kns does
not apply the same again until the result is another one.

Unlike an Ingress, an HTTPRoute has a status, so a job is exposed only once the Gateway serves its route. If the site
changes from Ingresses to a Gateway or back, running jobs get the new object and keep the old one until they end. The
old one leads where the new one leads, so DNS can move at any time.

The Ingress or HTTPRoute is deleted with the job's namespace. Until then it leads nowhere, because the pods behind it
end at once, and no controller routes to a pod that ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from kns.model import names
from kns.model.appdef.appdef import Target
from kns.model.errors import KnsError, RefusedError, UnavailableError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.site import GatewayRef, JobAddress
from kns.objects.drift import digest_found, is_as_applied, stamp
from kns.objects.gateway import (
    build_http_route,
    build_shell_route,
    explain_refusal,
    explain_silence,
    is_answered,
    lead_route,
)
from kns.objects.ingress import build_ingress, lead_ingress
from kns.objects.target import (
    PORT,
    blocks_apply,
    build_empty_target,
    build_target_service,
    explain_tls,
    explain_unfit,
    is_target_service,
)
from kns.objects.wake import build_wake_service, build_wake_slice, is_wake_slice
from kns.ports import Context, Kind, Object
from kns.stages.credentials import AND
from kns.stages.outcome import Done, Failed, Outcome, Skipped, Wait
from kns.stages.patience import growing_delay_s
from kns.stages.web_shell import WebShell, find_web_shell

_REQUEUE_AFTER_S = 1.0
_FIRST_LOOK_AFTER_S = 0.2  # usually the target Service is copied within the second in which its item was applied
_FOLLOW_AFTER_S = 60.0  # the watches report changes earlier
_LOST_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why the target cannot be exposed now. `note` is what the message says of a webhook; "" if nothing."""

    reason: Reason
    message: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Services:
    """The copy of the target, and kns's Service; None if absent."""

    copy: Object | None
    ours: Object | None


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


def ahead(ctx: Context) -> Outcome:
    """
    Make the Ingress or the HTTPRoute before the app is deployed, because its controller may need seconds to load it.

    It leads to a Service that selects no pod, so it exposes nothing. `ensure` looks at all of it again, publishes the
    URL, and reports problems.
    """
    address = ctx.address
    if address is None or ctx.job.status.has_been_exposed or _find_holder(ctx, address) is not None:
        return Done()
    if not _is_front_made(ctx):
        ctx.world.cluster.apply(stamp(build_empty_target(ctx.location)))
        _apply_front(ctx, address)
    return Done()


def _expose(ctx: Context, target: Target, address: JobAddress) -> Outcome:
    found = _find_holder(ctx, address) or _lead_to(ctx, target, _read_services(ctx, target))
    front = found if isinstance(found, _Problem) else _apply_front(ctx, address)
    if isinstance(front, _Problem):
        return _wait_or_fail(ctx, front)
    return Done(_join(str(found), front), url=address.url, address=address.host, requeue_after_s=_FOLLOW_AFTER_S)


def _wait_or_fail(ctx: Context, problem: _Problem) -> Outcome:
    deployed = ctx.job.status.condition(ConditionType.DEPLOYED)
    since = deployed.last_transition_time if deployed and deployed.is_true else ctx.now
    waited_s, limit_s = ctx.elapsed_since(since) / timedelta(seconds=1), ctx.site.target_limit_s
    if waited_s >= limit_s:
        reason = Reason.TARGET_NOT_FOUND if problem.reason is Reason.NO_TARGET else problem.reason
        return Failed(reason, f"{problem.message}, {limit_s} s after the deployment")
    after_s = growing_delay_s(waited_s, first_s=_FIRST_LOOK_AFTER_S, longest_s=_REQUEUE_AFTER_S)
    return Wait(after_s, problem.reason, problem.message)


def _follow(ctx: Context, target: Target, address: JobAddress) -> Outcome:
    found = _lead_to(ctx, target, _observe_services(ctx, target))
    front = _apply_front(ctx, address)
    if isinstance(found, _Problem):
        reason = Reason.TARGET_GONE if found.reason is Reason.NO_TARGET else found.reason
        said = f"{found.message}; the URL leads to the last known pods"
        return Skipped(reason, _join(said, "" if isinstance(front, _Problem) else front), _LOST_AFTER_S)
    if isinstance(front, _Problem):
        return Skipped(front.reason, front.message, _LOST_AFTER_S)
    return Done(_join(found, front), url=address.url, address=address.host, requeue_after_s=_FOLLOW_AFTER_S)


def _join(*notes: str) -> str:
    return AND.join(filter(None, notes))


def _read_services(ctx: Context, target: Target) -> _Services:
    cluster, name = ctx.world.cluster, ctx.location.copy_name(target.service_name, target.service_namespace)
    copy = cluster.read(Kind.SERVICE, ctx.namespace, name)
    return _Services(copy, copy and cluster.read(Kind.SERVICE, ctx.namespace, names.TARGET))


def _observe_services(ctx: Context, target: Target) -> _Services:
    """From the watch caches, unless the copy is too large for them."""
    cluster, name = ctx.world.cluster, ctx.location.copy_name(target.service_name, target.service_namespace)
    copy = cluster.observe_copy(Kind.SERVICE, ctx.location, name)
    if copy is not None and "spec" not in copy:
        return _read_services(ctx, target)
    return _Services(copy, cluster.observe(Kind.SERVICE, ctx.namespace, names.TARGET))


def _lead_to(ctx: Context, target: Target, services: _Services) -> _Problem | str:
    """
    Make kns's Service select the same pods as the target; a note for the condition, or "".

    With a problem kns's Service stays unchanged.
    """
    cluster, copy, found = ctx.world.cluster, services.copy, services.ours
    what = f"target Service {target.service_namespace}/{target.service_name}"
    if copy is None:
        return _Problem(Reason.NO_TARGET, f"{what} is not in the virtual cluster")
    unfit = explain_unfit(target, copy)
    if unfit is not None:
        return _Problem(Reason.TARGET_UNFIT, f"{what} {unfit}")
    wanted = stamp(build_target_service(ctx.location, target, copy))
    if not is_target_service(found, wanted):
        if found is not None and blocks_apply(found):
            cluster.delete(Kind.SERVICE, ctx.namespace, names.TARGET, uid=found["metadata"]["uid"])
        cluster.apply(wanted)
    tls = explain_tls(target, copy)
    return f"{what} {tls}: the URL shows an error if its pods do not speak plain HTTP" if tls else ""


def _is_front_made(ctx: Context) -> bool:
    kind = Kind.INGRESS if ctx.site.gateway is None else Kind.HTTP_ROUTE
    return ctx.world.cluster.observe(kind, ctx.namespace, ctx.location.ingress) is not None


def lead_to_kns(ctx: Context) -> str:
    """
    Lead the address of a job that sleeps to kns's own HTTP servers, and that of its web shell as well. `ensure` leads
    it back. A job without a URL has nothing to lead. Returns a note for the condition, or "".

    Raises:
        UnavailableError: no HTTP server of kns is ready, or the host does not answer.
    """
    if ctx.job.status.url is None or ctx.world.doors is None:
        return ""
    if not follow_doors(ctx):
        raise UnavailableError("no pod of kns is ready that could answer in place of the job")
    cluster, service = ctx.world.cluster, stamp(build_wake_service(ctx.location))
    if not is_as_applied(cluster.read(Kind.SERVICE, ctx.namespace, names.WAKE), service):
        cluster.apply(service)
    front = _apply_front(ctx, JobAddress.of_url(ctx.job.status.url), is_asleep=True)
    return front.note if isinstance(front, _Problem) else front


def follow_doors(ctx: Context) -> bool:
    """
    Lead the address of a job that leads to kns to the pods that kns has now. False, without a change, if none is ready.
    """
    addresses = ctx.world.doors.list_addresses() if ctx.world.doors is not None else ()
    if not addresses:
        return False
    wanted = build_wake_slice(ctx.location, addresses, ctx.site.http_port)
    if not is_wake_slice(ctx.world.cluster.read(Kind.ENDPOINT_SLICE, ctx.namespace, names.WAKE), wanted):
        ctx.world.cluster.apply(wanted)
    return True


def _apply_front(ctx: Context, address: JobAddress, *, is_asleep: bool = False) -> _Problem | str:
    """
    Create what routes the address, or correct it after a manual change or a change of the site's settings. Returns a
    note for the condition, or "".
    """
    target, behind_shell = (names.WAKE, names.WAKE) if is_asleep else (names.TARGET, names.SHELL)
    shell = find_web_shell(ctx)
    shell_address = shell.address if isinstance(shell, WebShell) else None
    if ctx.site.gateway is not None:
        found = _apply_routes(ctx, ctx.site.gateway, address, shell_address, services=(target, behind_shell))
        former = _lead_former_ingress(ctx, address, service=target, shell_service=behind_shell)
        return found if isinstance(found, _Problem) else _join(found, former)
    former_routes = tuple(_lead_former_routes(ctx, service=target, shell_service=behind_shell))
    ingress = build_ingress(
        ctx.location,
        address=address,
        service=target,
        settings=ctx.site.ingress,
        shell=shell_address,
        shell_service=behind_shell,
    )
    return _join(_apply_changed(ctx, Kind.INGRESS, ingress)[1], *former_routes)


def _lead_former_ingress(ctx: Context, address: JobAddress, *, service: str, shell_service: str) -> str:
    """
    Lead the Ingress from before the site had a Gateway to the same Services. Its class, certificate and annotations
    stay, because the site's settings may not have them any more. Returns a note for the condition, or "".
    """
    found = ctx.world.cluster.observe(Kind.INGRESS, ctx.namespace, ctx.location.ingress)
    if found is None:
        return ""
    shell_path = address.below(names.SHELL_PATH).path
    wanted = lead_ingress(found, shell_path=shell_path, service=service, shell_service=shell_service)
    return _apply_former(ctx, wanted, since="from before the Gateway")


def _lead_former_routes(ctx: Context, *, service: str, shell_service: str) -> Iterator[str]:
    """The same with the HTTPRoutes, the job's and its shell's, from the time when the site had a Gateway."""
    for name, behind in ((ctx.location.ingress, service), (names.SHELL, shell_service)):
        found = ctx.world.cluster.observe(Kind.HTTP_ROUTE, ctx.namespace, name)
        if found is not None:
            yield _apply_former(ctx, lead_route(found, service=behind), since="from the time of the Gateway")


def _apply_former(ctx: Context, wanted: Object | None, *, since: str) -> str:
    """The job has what replaced the former object, so a problem with that one must not stop it."""
    if wanted is None:
        return ""
    try:
        ctx.world.cluster.apply(wanted)
    except KnsError as error:
        return f"{wanted['kind']} {wanted['metadata']['name']} {since} leads where it led: {error}"
    return ""


def _apply_routes(
    ctx: Context, gateway: GatewayRef, address: JobAddress, shell: JobAddress | None, *, services: tuple[str, str]
) -> _Problem | str:
    """
    The shell's route follows without a look at its status, because a job serves without its shell, too. `services` are
    those behind the job's route and the shell's.
    """
    cluster, location, (target, behind_shell) = ctx.world.cluster, ctx.location, services
    wanted = build_http_route(
        location, name=location.ingress, address=address, service=target, port=PORT, gateway=gateway
    )
    try:
        route, note = _apply_changed(ctx, Kind.HTTP_ROUTE, wanted)
        if shell is not None:
            route_of_shell = build_shell_route(location, address=shell, gateway=gateway, service=behind_shell)
            note = _join(note, _apply_changed(ctx, Kind.HTTP_ROUTE, route_of_shell)[1])
        elif (former := cluster.observe(Kind.HTTP_ROUTE, ctx.namespace, names.SHELL)) is not None:
            cluster.delete(Kind.HTTP_ROUTE, ctx.namespace, names.SHELL, uid=former["metadata"]["uid"])
    except UnavailableError as error:
        return _refuse(f"the host cluster's HTTPRoutes are not known: {error}")
    if not is_answered(route, gateway):
        found = cluster.read(Kind.GATEWAY, gateway.namespace, gateway.name)
        return _refuse(explain_silence(found, gateway), note)
    refusal = explain_refusal(route, gateway)
    return _refuse(refusal, note) if refusal is not None else note


def _refuse(message: str, note: str = "") -> _Problem:
    return _Problem(Reason.ROUTE_NOT_ACCEPTED, _join(message, note), note)


def _apply_changed(ctx: Context, kind: Kind, obj: Object) -> tuple[Object, str]:
    """
    The object as the host has it, applied if it is not there or has changed, and a note if the host changes it at each
    apply. If the record has that note already, another apply would have the same result.
    """
    wanted = stamp(obj)
    found = ctx.world.cluster.observe(kind, ctx.namespace, obj["metadata"]["name"])
    note = "" if found is None else _note_changed(kind, found, wanted)
    if found is None or (note and not _is_noted(ctx, note)):
        found = ctx.world.cluster.apply(wanted)
    return found, _note_changed(kind, found, wanted)


def _note_changed(kind: Kind, found: Object, wanted: Object) -> str:
    if is_as_applied(found, wanted):
        return ""
    meta = wanted["metadata"]
    mark = f"{meta['annotations'][names.APPLIED_ANNOTATION]}-{digest_found(found)}"
    return (
        f"a webhook of the host changes {kind} {meta['name']} whenever kns applies it ({mark}): let it leave out "
        f"namespaces with the label {names.JOB_LABEL}, then delete the {kind}"
    )


def _is_noted(ctx: Context, note: str) -> bool:
    conditions = map(ctx.job.status.condition, (ConditionType.EXPOSED, ConditionType.ASLEEP))
    return any(each is not None and note in each.message.split(AND) for each in conditions)


def _find_holder(ctx: Context, address: JobAddress) -> _Problem | None:
    """
    Another job with this address. Jobs under one jobs domain never share an address, but a job that was exposed under
    an earlier domain keeps its old one.
    """
    try:
        routes = ctx.world.cluster.observe_routes_at(address.host, address.path)
    except UnavailableError as error:
        if ctx.site.gateway is None:
            raise
        return _refuse(f"the host cluster's HTTPRoutes are not known: {error}")
    for route in routes:
        holder = route["metadata"]["namespace"]
        if holder != ctx.namespace:
            return _Problem(Reason.ADDRESS_TAKEN, f"{address.url} is the address of {holder}")
    return None
