"""
The init job: runs the AppDef's template items against the virtual cluster, and carries its log to the job's output.

What ran is never guessed: the Kubernetes Job's condition says whether it ended, the pod's termination message says
which item failed and why.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kns.logs import get_logger
from kns.model import names
from kns.model.errors import TransientError
from kns.model.job.conditions import ConditionType, Reason
from kns.objects.init import HELP_MARK, PROVIDE, RUN, TAKE, build_init_config, build_init_job, build_init_secrets
from kns.ports import Context, Kind, Object
from kns.stages.access import read_kubeconfig
from kns.stages.delivery import read_init_input
from kns.stages.outcome import Done, Failed, Outcome, Wait

log = get_logger(__name__)

_POLL_S = 2.0
_SLOW_POLL_S = 10.0  # each look at a long log may write it, and etcd is everybody's
_LONG_LOG = 200_000
_LOG_PATIENCE = timedelta(seconds=10)  # for the log of an init job that has ended: after that its output goes without
_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_ON_ITS_WAY = frozenset({"PodInitializing", "ContainerCreating"})
# What does not heal by itself in most cases: the job ends when it has lasted for the limit.
_STUCK = frozenset({Reason.IMAGE_NOT_PULLABLE, Reason.INIT_FAILED, Reason.REFUSED_BY_HOST})
_REASONS = {  # the init image's own words -> ours
    "ItemOutOfRetries": Reason.ITEM_OUT_OF_RETRIES,
    "PlanRefused": Reason.PLAN_NOT_UNDERSTOOD,
    "NestedApiUnreachable": Reason.INIT_FAILED,
    "InternalError": Reason.INIT_FAILED,
    "Terminated": Reason.INIT_FAILED,
    "TemplatesMissing": Reason.TEMPLATES_MISSING,
    "TemplatesUnreadable": Reason.TEMPLATES_MISSING,
    "TemplatesNotCopied": Reason.TEMPLATES_MISSING,
}


def ensure(ctx: Context) -> Outcome:
    if ctx.job.status.is_true(ConditionType.DEPLOYED):
        return Done()
    job = ctx.world.cluster.observe(Kind.JOB, ctx.name, names.INIT_JOB)
    if job is None:
        return _create(ctx)
    pods = _pods(ctx)
    size = _collect_log(ctx, pods)
    succeeded = _ended_condition(job) == "Complete" or _has_succeeded(pods)
    read = size is not None and (not succeeded or _collect_help(ctx, pods))
    ended = _ended_at(job, pods)
    if not read and ended is not None and ctx.now - ended < _LOG_PATIENCE:
        return Wait(_POLL_S, Reason.INIT_RUNNING, "the init job has ended, its log cannot be read yet")
    if succeeded:
        return Done()
    if _ended_condition(job) == "Failed":
        return _failure(pods, job)
    reason, message = _describe(ctx, pods)
    if reason in _STUCK and _age(pods[-1] if pods else job, ctx.now) >= timedelta(seconds=ctx.site.init_stuck_limit_s):
        return Failed(reason, f"after {ctx.site.init_stuck_limit_s} s: {message}")
    return Wait(_SLOW_POLL_S if size and size >= _LONG_LOG else _POLL_S, reason, message)


def remove(ctx: Context) -> Outcome:
    """It lives in the job's namespace and goes with it."""
    del ctx
    return Done()


def _create(ctx: Context) -> Outcome:
    cluster, number = ctx.world.cluster, ctx.accepted.number
    kubeconfig = read_kubeconfig(ctx)
    if kubeconfig is None:
        return Wait(_POLL_S, Reason.INIT_STARTING, "waiting for the virtual cluster's certificates and Service")
    pull_secret = cluster.read(Kind.SECRET, ctx.name, names.PULL_SECRET) is not None
    given = read_init_input(ctx)
    cluster.apply(build_init_config(ctx.accepted, uploads=given.uploads))
    for secret in build_init_secrets(number, files={**given.files, "kubeconfig": kubeconfig}, env=given.env):
        cluster.apply(secret)
    cluster.apply(build_init_job(ctx.accepted, ctx.site, uploads=given.uploads, pull_secret=pull_secret))
    _store(ctx, head=_warnings(ctx))
    return Wait(_POLL_S, Reason.INIT_STARTING, "init job created")


def _warnings(ctx: Context) -> str:
    lines = []
    if len(ctx.accepted.nested.targets) > 1:
        lines.append("warning: the AppDef has several targets, only the first is exposed")
    if ctx.accepted.nested.enable_gotty_shell and not ctx.site.shell_image:
        lines.append("warning: the AppDef asks for a web shell, which this site does not allow")
    elif ctx.accepted.nested.enable_gotty_shell and not ctx.site.shell_address(
        ctx.accepted.number, ctx.accepted.nested
    ):
        lines.append("warning: the AppDef asks for a web shell, but the job has no URL to have it at")
    vault = ctx.job.spec.vault
    if vault is not None and ctx.accepted.vault is None:
        lines.append(f"warning: vault {vault.name!r} has no storage class; only NFS vaults have one")
    return "\n".join(lines)


def _pods(ctx: Context) -> Sequence[Object]:
    """The init job's pods, oldest first; more than one if one was lost from outside."""
    pods = [
        pod
        for pod in ctx.world.cluster.observe_job(Kind.POD, ctx.accepted.number)
        if (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name") == names.INIT_JOB
    ]
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))


def _collect_log(ctx: Context, pods: Sequence[Object]) -> int | None:
    """
    Logs of all its pods in turn into the job's output; their length, or None if one cannot be read.

    The output then says so (the host API may not reach a kubelet), until it is read after all.
    """
    try:
        parts = [ctx.world.cluster.pod_log(ctx.name, pod["metadata"]["name"], RUN) for pod in pods]
    except TransientError as error:
        text = f"{_warnings(ctx)}\nwarning: the init job's log cannot be read: {error}".lstrip()
        _store(ctx, head=text)
        return None
    text = "".join(part for part in parts if part)
    if text:
        _store(ctx, head=_warnings(ctx), log=text)
    return len(text)


def _store(ctx: Context, **parts: str) -> None:
    """
    These parts of the output, and what there is of the others: a pass over an old record, after a change of leaders,
    must not take the last line from a job that has ended.
    """
    ctx.world.outputs.write(ctx.job, replace(ctx.world.outputs.read(ctx.job.record), **parts))


def _collect_help(ctx: Context, pods: Sequence[Object]) -> bool:
    """The app's own help page: what the container in the app image printed below the mark. False: it cannot be read."""
    try:
        logs = [ctx.world.cluster.pod_log(ctx.name, pod["metadata"]["name"], TAKE) for pod in pods]
    except TransientError as error:
        log.warning("help_not_read", error=str(error))  # the page is an extra: the job serves without it
        return False
    pages = [text.partition(HELP_MARK)[2] for text in logs if text and HELP_MARK in text]
    if pages:
        _store(ctx, help=pages[-1])
    return True


def _ended_condition(job: Object) -> str | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            return str(condition["type"])
    return None


def _ended_at(job: Object, pods: Sequence[Object]) -> datetime | None:
    """When Kubernetes says that the init job ended, for good or bad; None while it has not said so."""
    ends = [(_containers(pod).get(RUN) or {}).get("terminated") for pod in pods[-1:]]
    times = [end.get("finishedAt") for end in ends if end]
    times += [
        condition.get("lastTransitionTime")
        for condition in (job.get("status") or {}).get("conditions") or ()
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True"
    ]
    return max((_read_time(text) for text in times if text), default=None)


def _has_succeeded(pods: Sequence[Object]) -> bool:
    """The container says so seconds before the pod's phase and the Job's condition do."""
    ends = [(_containers(pod).get(RUN) or {}).get("terminated") for pod in pods]
    return any(end is not None and end.get("exitCode") == 0 for end in ends)


def _containers(pod: Object) -> dict[str, Any]:
    status = pod.get("status") or {}
    both = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return {container["name"]: container.get("state") or {} for container in both}


def _failure(pods: Sequence[Object], job: Object) -> Failed:
    """The reason that the failed container left behind; else what Kubernetes says of the Job."""
    states = _containers(pods[-1]) if pods else {}
    for name in (PROVIDE, TAKE, RUN):
        ended = (states.get(name) or {}).get("terminated")
        if ended and ended.get("exitCode"):
            return _read_termination(name, ended)
    messages = [c.get("message", "") for c in (job.get("status") or {}).get("conditions") or ()]
    return Failed(Reason.INIT_FAILED, f"the init job failed: {'; '.join(m for m in messages if m)}")


def _read_termination(container: str, ended: dict[str, Any]) -> Failed:
    text = ended.get("message") or ""
    try:
        data = json.loads(text)
        return Failed(_REASONS.get(data["reason"], Reason.INIT_FAILED), str(data["message"]))
    except (ValueError, KeyError, TypeError):  # not ours: an image that speaks another protocol, or a kill
        detail = f": {text}" if text else ""
        return Failed(
            Reason.INIT_FAILED,
            f"container {container} of the init job ended with exit code {ended['exitCode']} "
            f"({ended.get('reason', 'Error')}){detail}",
        )


def _age(pod: Object, now: datetime) -> timedelta:
    return now - _read_time(pod["metadata"]["creationTimestamp"])


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _describe(ctx: Context, pods: Sequence[Object]) -> tuple[Reason, str]:
    """What the init job waits for. A reason of `_STUCK` needs somebody's hand."""
    if not pods:
        refusal = _refused_pod(ctx)
        if refusal:
            return Reason.REFUSED_BY_HOST, f"the host cluster refuses the init pod: {refusal}"
        return Reason.INIT_STARTING, "the init pod does not exist yet"
    states = _containers(pods[-1])
    for name, state in states.items():
        waiting = state.get("waiting") or {}
        why = waiting.get("reason")
        if why is None or why in _ON_ITS_WAY:
            continue
        detail = f"{why}: {waiting.get('message', '')}"
        if why not in _PULL_REASONS:
            return Reason.INIT_FAILED, f"container {name} of the init job cannot start: {detail}"
        what = f"app image {ctx.accepted.image}" if name == TAKE else f"init image {ctx.site.init_image}"
        return Reason.IMAGE_NOT_PULLABLE, f"{what} cannot be pulled: {detail}"
    if "running" in (states.get(RUN) or {}):
        return Reason.INIT_RUNNING, "templates are being applied"
    for condition in (pods[-1].get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") != "True":
            return Reason.INIT_STARTING, f"the init pod is not scheduled: {condition.get('message', '')}"
    return Reason.INIT_STARTING, "the init pod is starting"


def _refused_pod(ctx: Context) -> str | None:
    """Why the Job controller could not make the pod (quota, admission), in the API server's words."""
    for event in ctx.world.cluster.list_objects(Kind.EVENT, ctx.name):
        if event.get("reason") == "FailedCreate" and event["involvedObject"].get("name") == names.INIT_JOB:
            return str(event.get("message"))
    return None
