"""
Whether a job has a web shell, and where: the one place that decides it.

Several stages prepare the shell before stage shell starts it: the quota has room for its pod, the virtual cluster has
an account for it, the Ingress has its path.
"""

from dataclasses import dataclass

from kns.model import names
from kns.model.job.conditions import Reason
from kns.model.site import JobAddress
from kns.objects.shell import can_log_in
from kns.ports import Context, Kind
from kns.stages.outcome import Skipped


@dataclass(frozen=True, slots=True)
class WebShell:
    """The shell that a job has or will have. `address` is below the job's own."""

    image: str
    address: JobAddress


def find_web_shell(ctx: Context) -> WebShell | Skipped:
    """The job's web shell, or why it has none; without a reason the AppDef does not ask for one."""
    if not ctx.accepted.nested.enable_gotty_shell:
        return Skipped()
    image, address = ctx.site.shell_image, ctx.address
    if image is None:
        return Skipped(Reason.SHELL_NOT_ALLOWED, "JARVICE_KNS_ALLOW_GOTTY_SHELL is not on")
    if address is None or ctx.job.status.lives_without_url:
        return Skipped(Reason.SHELL_WITHOUT_URL, "the job has no URL that the shell could be below")
    if not can_log_in(ctx.job.spec.user):
        return Skipped(Reason.SHELL_NOT_STARTED, "the user's name has characters that the shell's login cannot carry")
    return WebShell(image, address.below(names.SHELL_PATH))


def has_web_shell(ctx: Context) -> bool:
    return isinstance(find_web_shell(ctx), WebShell)


def has_pod(ctx: Context) -> bool:
    """Whether the shell's pod exists, as far as its Deployment says."""
    deployment = ctx.world.cluster.observe(Kind.DEPLOYMENT, ctx.namespace, names.SHELL) or {}
    return bool((deployment.get("status") or {}).get("replicas"))
