"""
The web shell, for jobs whose AppDef asks for it on sites that allow it.

It is an extra: whatever keeps it from starting is told in the record, and the job serves all the same. The job's
Ingress has led to the shell's path from its beginning (`stages/ingress.py`), so here is only what stands behind it.
"""

from collections.abc import Sequence
from datetime import timedelta

from kns.model import names
from kns.model.errors import ForbiddenError, RefusedError
from kns.model.job.conditions import ConditionType, Reason
from kns.model.site import JobAddress
from kns.objects.kubeconfig import build_shell_kubeconfig
from kns.objects.shell import (
    COMPONENT,
    build_shell_deployment,
    build_shell_secret,
    build_shell_service,
    can_log_in,
)
from kns.ports import Context, Kind, Object
from kns.stages.outcome import Done, Outcome, Without
from kns.stages.ownership import has_foreign_namespace

_POLL_S = 2.0
_RETRY_S = 60.0


def ensure(ctx: Context) -> Outcome:
    if not ctx.accepted.nested.enable_gotty_shell:
        return Without()
    image = ctx.site.shell_image
    address = ctx.site.shell_address(ctx.accepted.number, ctx.accepted.nested, url=ctx.job.status.url)
    if address is None or image is None or ctx.job.status.lives_without_url:
        _end(ctx)  # the site may have allowed it when the job started
        if image is None:
            return Without(Reason.SHELL_NOT_ALLOWED, "JARVICE_KNS_ALLOW_GOTTY_SHELL is not on")
        return Without(Reason.SHELL_WITHOUT_URL, "the job has no URL that the shell could be below")
    if not can_log_in(ctx.job.spec.user):
        return Without(Reason.SHELL_NOT_STARTED, "the user's name has characters that the shell's login cannot carry")
    deployment = ctx.world.cluster.observe(Kind.DEPLOYMENT, ctx.name, names.SHELL)
    if deployment is None:
        return _create(ctx, image, address)
    if (deployment.get("status") or {}).get("readyReplicas"):
        return Done()
    return _describe(ctx, deployment)


def remove(ctx: Context) -> Outcome:
    """Its connections end with the job, whatever holds the rest of the namespace back; that takes the other objects."""
    _end(ctx)
    return Done()


def _end(ctx: Context) -> None:
    found = ctx.world.cluster.observe(Kind.DEPLOYMENT, ctx.name, names.SHELL)
    if found is None or found["metadata"].get("deletionTimestamp") is not None:
        return
    if not has_foreign_namespace(ctx):
        ctx.world.cluster.delete(Kind.DEPLOYMENT, ctx.name, names.SHELL, uid=found["metadata"]["uid"])


def _create(ctx: Context, image: str, address: JobAddress) -> Outcome:
    """What runs comes last, so a Deployment means that all the rest is there."""
    cluster, number = ctx.world.cluster, ctx.accepted.number
    access = cluster.read(Kind.SECRET, ctx.name, names.SHELL_ACCESS)
    service = cluster.read(Kind.SERVICE, ctx.name, ctx.name)
    kubeconfig = build_shell_kubeconfig(number, access or {}, service or {})
    if kubeconfig is None:
        return _await_access(ctx)
    password = ctx.world.tokens.ensure(ctx.job).password
    pull_secret = cluster.read(Kind.SECRET, ctx.name, names.PULL_SECRET) is not None
    try:
        cluster.apply(build_shell_secret(number, user=ctx.job.spec.user, password=password, kubeconfig=kubeconfig))
        cluster.apply(build_shell_service(number))
        cluster.apply(
            build_shell_deployment(ctx.accepted, ctx.site, image=image, address=address, pull_secret=pull_secret)
        )
    except (RefusedError, ForbiddenError) as error:
        return Without(Reason.SHELL_NOT_STARTED, f"the host cluster refused: {error}", _RETRY_S)
    return Without(Reason.SHELL_STARTING, "the shell's pod does not exist yet")


def _await_access(ctx: Context) -> Outcome:
    exposed = ctx.job.status.condition(ConditionType.EXPOSED)
    since = exposed.last_transition_time if exposed and exposed.is_true else ctx.now
    if ctx.now - since < timedelta(seconds=ctx.site.init_stuck_limit_s):
        return Without(Reason.SHELL_STARTING, "waiting for the shell's account in the virtual cluster", _POLL_S)
    return Without(
        Reason.SHELL_NOT_STARTED,
        f"the virtual cluster gave no account to the shell (Secret {names.SHELL_ACCESS}); was the shell allowed when "
        "the job was submitted?",
    )


def _describe(ctx: Context, deployment: Object) -> Outcome:
    """Why it does not serve, in the words of its pod or of what refuses the pod; the watch tells of any change."""
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return Without(Reason.SHELL_NOT_STARTED, f"no pod: {condition.get('message')}")
    pods = _pods(ctx)
    status = (pods[-1].get("status") or {}) if pods else {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") != "True":
            return Without(Reason.SHELL_NOT_STARTED, f"the pod is not scheduled: {condition.get('message')}")
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            detail = f"{waiting['reason']}: {waiting.get('message', '')}{_last_words(container)}"
            return Without(Reason.SHELL_NOT_STARTED, f"image {ctx.site.shell_image}: {detail}")
    return Without(
        Reason.SHELL_STARTING, "the shell's pod is starting" if pods else "the shell's pod does not exist yet"
    )


def _last_words(container: Object) -> str:
    ended = (container.get("lastState") or {}).get("terminated") or {}
    return f"; {ended['message'].strip()}" if ended.get("message") else ""


def _pods(ctx: Context) -> Sequence[Object]:
    """Oldest first."""
    pods = [
        pod
        for pod in ctx.world.cluster.observe_job(Kind.POD, ctx.accepted.number)
        if (pod["metadata"].get("labels") or {}).get(names.COMPONENT_LABEL) == COMPONENT
    ]
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
