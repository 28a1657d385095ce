"""
The web shell, for jobs whose AppDef asks for it on sites that allow it.

It is optional: if it cannot start, the record says why and the job serves without it. The job's Ingress has the shell's
path from the start (`stages/ingress.py`); this stage makes what is behind it.
"""

from datetime import timedelta

from kns.model import names
from kns.model.errors import ForbiddenError, RefusedError
from kns.model.job.conditions import ConditionType, Reason
from kns.objects.shell import COMPONENT, build_shell_deployment, build_shell_secret, build_shell_service
from kns.ports import Context, Kind, Object
from kns.stages.access import read_users_kubeconfig
from kns.stages.outcome import Done, Outcome, Skipped
from kns.stages.ownership import has_foreign_namespace, is_terminating
from kns.stages.pods import BlockerKind, find_blocker, list_pods
from kns.stages.web_shell import WebShell, find_web_shell

_REQUEUE_AFTER_S = 2.0
_RETRY_AFTER_S = 60.0


def ensure(ctx: Context) -> Outcome:
    shell = find_web_shell(ctx)
    if isinstance(shell, Skipped):
        if shell.reason is not None:
            _end(ctx)  # the site may have allowed the shell when the job started
        return shell
    deployment = ctx.world.cluster.observe(Kind.DEPLOYMENT, ctx.namespace, names.SHELL)
    if deployment is None:
        return _create(ctx, shell)
    if (deployment.get("status") or {}).get("readyReplicas"):
        return Done()
    return _describe(ctx, shell, deployment)


def _end(ctx: Context) -> None:
    found = ctx.world.cluster.observe(Kind.DEPLOYMENT, ctx.namespace, names.SHELL)
    if found is None or is_terminating(found):
        return
    if not has_foreign_namespace(ctx):
        ctx.world.cluster.delete(Kind.DEPLOYMENT, ctx.namespace, names.SHELL, uid=found["metadata"]["uid"])


def _create(ctx: Context, shell: WebShell) -> Outcome:
    """The Deployment comes last, so its existence means that all other objects exist."""
    cluster, location = ctx.world.cluster, ctx.location
    kubeconfig = read_users_kubeconfig(cluster, location, for_all=False)
    if kubeconfig is None:
        return _await_access(ctx)
    user, password = ctx.job.spec.user, ctx.world.tokens.ensure(ctx.job).password
    pull_secret = cluster.read(Kind.SECRET, ctx.namespace, names.PULL_SECRET) is not None
    try:
        cluster.apply(build_shell_secret(location, user=user, password=password, kubeconfig=kubeconfig))
        cluster.apply(build_shell_service(location))
        cluster.apply(
            build_shell_deployment(
                ctx.accepted, ctx.site, image=shell.image, address=shell.address, pull_secret=pull_secret
            )
        )
    except (RefusedError, ForbiddenError) as error:
        return Skipped(Reason.SHELL_NOT_STARTED, f"the host cluster refused: {error}", _RETRY_AFTER_S)
    return Skipped(Reason.SHELL_STARTING, "the shell's pod does not exist yet")


def _await_access(ctx: Context) -> Outcome:
    exposed = ctx.job.status.condition(ConditionType.EXPOSED)
    since = exposed.last_transition_time if exposed and exposed.is_true else ctx.now
    if ctx.now - since < timedelta(seconds=ctx.site.init_stuck_limit_s):
        return Skipped(
            Reason.SHELL_STARTING, "waiting for the shell's account in the virtual cluster", _REQUEUE_AFTER_S
        )
    return Skipped(
        Reason.SHELL_NOT_STARTED,
        f"the virtual cluster gave no account to the shell (Secret {names.SHELL_ACCESS}); was the shell allowed when "
        "the job was submitted?",
    )


def _describe(ctx: Context, shell: WebShell, deployment: Object) -> Outcome:
    """Why the shell is not running. The watch reports any change, so no requeue is needed."""
    pods = list_pods(ctx, {names.COMPONENT_LABEL: COMPONENT})
    blocker = find_blocker(ctx, pods, deployment)
    if blocker is None:
        message = "the shell's pod is starting" if pods else "the shell's pod does not exist yet"
        return Skipped(Reason.SHELL_STARTING, message)
    if blocker.kind in (BlockerKind.REFUSED, BlockerKind.UNSCHEDULED):
        return Skipped(Reason.SHELL_NOT_STARTED, blocker.describe("pod"))
    return Skipped(Reason.SHELL_NOT_STARTED, f"image {shell.image}: {blocker.detail}")
