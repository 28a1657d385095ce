"""
The init job: runs the AppDef's template items in the virtual cluster; its log becomes the job's output.

The Kubernetes Job's condition says whether it ended; the pod's termination message says which item failed and why.
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
from kns.model.job.output import CUT, JobOutput, merge_log
from kns.objects.init import (
    HELP_MARK,
    PROVIDE,
    RUN,
    TAKE,
    TAKEN_MARK,
    build_init_job,
    build_init_secrets,
    build_init_uploads,
    build_plan_file,
    mounts_app,
    split_taken,
)
from kns.ports import Context, Kind, Object
from kns.stages.access import read_kubeconfig
from kns.stages.delivery import read_init_input, read_job_info
from kns.stages.made_ahead import is_init_job_made
from kns.stages.outcome import Done, Failed, Outcome, Skipped, Wait
from kns.stages.ownership import is_own
from kns.stages.patience import growing_delay_s, wait_at_most
from kns.stages.pods import (
    Blocker,
    BlockerKind,
    explain_end,
    find_blocker,
    find_condition,
    find_warning,
    is_node_lost,
    is_pulling,
    is_unscheduled,
    list_containers,
    list_pod_events,
    list_pods,
    placed_for_s,
)
from kns.stages.web_shell import find_web_shell

log = get_logger(__name__)

_REQUEUE_AFTER_S = 2.0
_LOG_EVERY_S = 1.0  # a growing log; each change of the pod starts a reconcile, and each read is one of its kubelet, too
_LOG_BYTES_PER_S = 20_000  # how fast a growing log is stored: each time all of it is written to the host's etcd
_TAKING_BYTES = 96 * 1024  # the app's help page of at most 64 KiB, warnings about it, and the mark below it
_SILENT_LIMIT_S = 6 * 3600  # an image of 200 GB at 10 MB/s; the host keeps Events for an hour
_ENDS = ("Complete", "Failed")  # conditions of a Kubernetes Job
_LOG_PATIENCE = timedelta(seconds=10)  # the longest wait for the log of an ended init job
_NO_LOG = Reason.INIT_RUNNING  # what such a job is stuck for; it never ends for that
_REASONS = {  # reasons of the init image -> reasons of the record
    "ItemOutOfRetries": Reason.ITEM_OUT_OF_RETRIES,
    "PlanRefused": Reason.PLAN_NOT_UNDERSTOOD,
    "NestedApiUnreachable": Reason.INIT_FAILED,
    "InternalError": Reason.INIT_FAILED,
    "Terminated": Reason.INIT_FAILED,
    "TemplatesMissing": Reason.TEMPLATES_MISSING,
    "TemplatesUnreadable": Reason.TEMPLATES_MISSING,
    "TemplatesNotCopied": Reason.TEMPLATES_MISSING,
}
_BLOCKED = {
    BlockerKind.REFUSED: Reason.REFUSED_BY_HOST,
    BlockerKind.UNSCHEDULED: Reason.INIT_STARTING,
    BlockerKind.IMAGE: Reason.IMAGE_NOT_PULLABLE,
    BlockerKind.CONTAINER: Reason.INIT_FAILED,
}
_SHELL_WARNINGS = {
    Reason.SHELL_NOT_ALLOWED: "which this site does not allow",
    Reason.SHELL_WITHOUT_URL: "but the job has no URL to have it at",
}


def ensure(ctx: Context) -> Outcome:
    if ctx.job.status.is_true(ConditionType.DEPLOYED):
        return Done()
    job = ctx.world.cluster.observe(Kind.JOB, ctx.namespace, names.INIT_JOB)
    if job is None:
        return _create(ctx)
    # More than one pod if one was lost from outside.
    pods = list_pods(ctx, {"batch.kubernetes.io/job-name": names.INIT_JOB})
    ended = _ended_at(job, pods)
    output = ctx.world.outputs.read(ctx.job)
    succeeded = _ended_condition(job) == "Complete" or _has_succeeded(pods)
    log_after_s = 0.0 if succeeded or ended is not None else _until_next_log(output, ctx.now)
    is_lost = any(map(is_node_lost, pods[-1:]))
    read = is_lost or log_after_s > 0 or _collect(ctx, pods, output, with_help=succeeded)
    has_failed = _ended_condition(job) == "Failed"
    if not read and (succeeded or has_failed) and _may_wait_for_log(ctx):
        said = "the init job has ended, its log cannot be read yet"
        return Wait(_REQUEUE_AFTER_S, Reason.INIT_RUNNING, said, stuck=_NO_LOG)
    if succeeded:
        return Done()
    if has_failed:
        return _failure(pods, job)
    after_s = _REQUEUE_AFTER_S if read else _until_next_try(ctx, output)
    ending = explain_end(pods[-1]) if pods else None
    if ending is not None:
        return _await_end(ctx, ending, after_s)
    reason, message = _describe(ctx, pods, job)
    waiting = Wait(after_s, reason, message)
    if reason is Reason.INIT_RUNNING:
        return replace(waiting, requeue_after_s=max(after_s, log_after_s))
    return _await_start(ctx, pods, waiting)


def ahead(ctx: Context) -> Outcome:
    """
    Make the init job. Its pod is scheduled, pulls its images and takes the templates beside the spawn. Then it waits
    inside until stage prepare is done (`init-image/runner/cluster.py`). Only `ensure` judges it, so its time limits
    count from its turn.
    """
    return Done() if is_init_job_made(ctx) else _create(ctx)


def remove(ctx: Context) -> Outcome:
    """
    Its objects are deleted with the job's namespace, except the large inputs, which nobody else reads. They go when the
    namespace is gone, so that the looks until then do not delete them again.
    """
    if ctx.accepted.inputs is not None:
        found = ctx.world.cluster.observe(Kind.NAMESPACE, "", ctx.namespace)
        if found is None or not is_own(found, ctx):
            ctx.world.inputs.remove(ctx.job)
    return Done()


def _create(ctx: Context) -> Wait:
    cluster = ctx.world.cluster
    kubeconfig = read_kubeconfig(ctx)
    if kubeconfig is None:
        return Wait(
            _REQUEUE_AFTER_S, Reason.INIT_STARTING, "waiting for the virtual cluster's certificates and Service"
        )
    pull_secret = cluster.read(Kind.SECRET, ctx.namespace, names.PULL_SECRET) is not None
    info, given = read_job_info(ctx), read_init_input(ctx)
    # The pod may wait as long as the stages before this one may.
    wait_limit_s = ctx.site.spawn_delay_s + ctx.site.control_plane_limit_s
    plan = build_plan_file(ctx.accepted, record_uid=ctx.job.uid, wait_limit_s=wait_limit_s)
    if given.uploads:
        cluster.apply(build_init_uploads(ctx.location, given.uploads))
    files = {**given.files, "kubeconfig": kubeconfig, "plan.json": plan}
    for secret in build_init_secrets(ctx.location, files=files, env={**info.public, **info.secret, **given.env}):
        cluster.apply(secret)
    cluster.apply(build_init_job(ctx.accepted, ctx.site, uploads=given.uploads, pull_secret=pull_secret))
    if warnings := _warnings(ctx):
        ctx.world.outputs.write(ctx.job, replace(ctx.world.outputs.read(ctx.job), head=warnings))
    return Wait(_REQUEUE_AFTER_S, Reason.INIT_STARTING, "init job created")


def _await_end(ctx: Context, message: str, after_s: float) -> Outcome:
    """
    Wait until the node of the init pod is back or the pod is gone. The Kubernetes Job makes another pod only when this
    one is gone, and a pod whose node stays away never is.
    """
    return wait_at_most(
        ctx,
        ctx.site.spawn_delay_s,
        end=Reason.INIT_FAILED,
        reason=Reason.INIT_STARTING,
        message=message,
        requeue_after_s=after_s,
    )


def _await_start(ctx: Context, pods: Sequence[Object], waiting: Wait) -> Outcome:
    """
    Wait for the init pod, at most for the limit of its problem.

    A pod without a known problem may be waiting for a node, so it has the time of a scale-up of the host. Pulling an
    image takes as long as it takes, but `_SILENT_LIMIT_S` at most if no Event is left that says so.
    """
    if _has_progress(pods):
        return waiting
    reason, message = waiting.reason, waiting.message
    is_starting = reason is Reason.INIT_STARTING
    outcome = wait_at_most(
        ctx,
        ctx.site.spawn_delay_s if is_starting else ctx.site.init_stuck_limit_s,
        end=Reason.INIT_NOT_STARTED if is_starting else reason,
        reason=reason,
        message=message,
        requeue_after_s=waiting.requeue_after_s,
    )
    if not isinstance(outcome, Failed) or not pods or is_unscheduled(pods[-1]):
        return outcome
    events = list_pod_events(ctx, pods[-1])
    if is_pulling(events):
        return waiting
    placed_s, problem = placed_for_s(pods[-1], ctx.now), find_warning(events)
    if is_starting and problem:  # new nodes have such warnings at first
        if placed_s < ctx.site.init_stuck_limit_s:
            return replace(waiting, stuck=outcome.reason)
        return Failed(outcome.reason, f"{outcome.message}: {problem}")
    # The kubelet reports every error again and again. Without a report it is most likely pulling an image.
    if not is_starting and (reason is not Reason.IMAGE_NOT_PULLABLE or events):
        return outcome
    if placed_s < _SILENT_LIMIT_S:
        return waiting
    return Failed(outcome.reason, f"after {placed_s / 3600:.0f} hours on its node: {message}")


def _has_progress(pods: Sequence[Object]) -> bool:
    """Whether a container of the newest pod runs, so that the pod neither waits for a node nor for an image."""
    return any("running" in state for pod in pods[-1:] for state in _containers(pod).values())


def _warnings(ctx: Context) -> str:
    lines = []
    if len(ctx.accepted.nested.targets) > 1:
        lines.append("warning: the AppDef has several targets, only the first is exposed")
    shell = find_web_shell(ctx)
    if isinstance(shell, Skipped) and shell.reason is not None:
        problem = _SHELL_WARNINGS.get(shell.reason) or f"but {shell.message}"
        lines.append(f"warning: the AppDef asks for a web shell, {problem}")
    vault = ctx.job.spec.vault
    if vault is not None and ctx.accepted.vault is None:
        lines.append(f"warning: vault {vault.name!r} has no storage class; only NFS vaults have one")
    return "\n".join(lines)


def _may_wait_for_log(ctx: Context) -> bool:
    """
    The time counts from the first try, which the record has. The clock of the node that dated the end may differ by
    minutes.
    """
    stuck = ctx.job.status.stuck
    return stuck is None or stuck.reason != _NO_LOG or ctx.now - stuck.since < _LOG_PATIENCE


def _until_next_log(output: JobOutput, now: datetime) -> float:
    """Seconds until the log may be read and stored again. The longer it is, the more rarely that is."""
    if output.log_time is None:
        return 0.0
    interval = timedelta(seconds=max(_LOG_EVERY_S, len(output.log) / _LOG_BYTES_PER_S))
    return max(0.0, (output.log_time + interval - now).total_seconds())


def _until_next_try(ctx: Context, output: JobOutput) -> float:
    """Seconds until the log is read again after an error, because each try may occupy a worker for seconds."""
    turn = ctx.job.status.condition(ConditionType.DEPLOYED)
    since = output.log_time or (turn.last_transition_time if turn else ctx.now)
    return growing_delay_s((ctx.now - since).total_seconds(), first_s=_REQUEUE_AFTER_S)


def _collect(ctx: Context, pods: Sequence[Object], output: JobOutput, *, with_help: bool) -> bool:
    """
    Continue the job's output with the logs of the pods, one after the other, and write it once if it has changed.
    Returns whether everything could be read.

    On an error the output has a warning instead, until the logs can be read. The host's API server may not reach a
    kubelet.
    """
    try:
        parts = [_read_log(ctx, pod, has_begun=bool(output.log)) for pod in pods]
    except TransientError as error:
        text = f"{_warnings(ctx)}\nwarning: the init job's log cannot be read: {error}".lstrip()
        _store(ctx, output, replace(output, head=text))
        return False
    new, text = output, merge_log(output.log, "".join(parts))
    if text and (text.removesuffix("\n"), _warnings(ctx)) != (output.log.removesuffix("\n"), output.head):
        new = replace(output, head=_warnings(ctx), log=text, log_time=ctx.now)
    page = _read_help(ctx, pods) if with_help else ""
    _store(ctx, output, replace(new, help=page) if page else new)
    return page is not None


def _read_log(ctx: Context, pod: Object, *, has_begun: bool) -> str:
    """
    The part of this pod in the output of the job. `has_begun`: some of the output is stored.

    The kubelet serves only the newest file of a log, and kns reads only the end of a long one. Neither has a mark.
    """
    text = ctx.world.cluster.pod_log(ctx.namespace, pod["metadata"]["name"], RUN) or ""
    is_end = text.startswith(f"{CUT}\n") or (has_begun and HELP_MARK not in text)
    return split_taken(text)[1] if mounts_app(pod) and (TAKEN_MARK in text or not is_end) else text


def _read_taking(ctx: Context, pod: Object) -> str:
    """What was printed while this pod took the templates. It is at the start of the log, whatever follows it."""
    mounted, name = mounts_app(pod), pod["metadata"]["name"]
    container = RUN if mounted else TAKE
    text = ctx.world.cluster.pod_log_start(ctx.namespace, name, container, limit_bytes=_TAKING_BYTES) or ""
    return split_taken(text)[0] if mounted else text


def _read_help(ctx: Context, pods: Sequence[Object]) -> str | None:
    """The app's help page, which is printed after `HELP_MARK` when the templates are taken, or ""; None on an error."""
    try:
        logs = [_read_taking(ctx, pod) for pod in pods]
    except TransientError as error:
        log.warning("help_not_read", error=str(error))  # the page is optional
        return None
    pages = [text.partition(HELP_MARK)[2] for text in logs if HELP_MARK in text]
    return pages[-1] if pages else ""


def _store(ctx: Context, before: JobOutput, output: JobOutput) -> None:
    if output != before:
        ctx.world.outputs.write(ctx.job, output)


def _ended_condition(job: Object) -> str | None:
    return next((kind for kind in _ENDS if find_condition(job, kind).get("status") == "True"), None)


def _ended_at(job: Object, pods: Sequence[Object]) -> datetime | None:
    """When the init job ended, with success or not, according to Kubernetes; None while it runs."""
    ends = [(_containers(pod).get(RUN) or {}).get("terminated") for pod in pods[-1:]]
    times = [end.get("finishedAt") for end in ends if end]
    conditions = [find_condition(job, kind) for kind in _ENDS]
    times += [each.get("lastTransitionTime") for each in conditions if each.get("status") == "True"]
    return max((datetime.fromisoformat(text) for text in times if text), default=None)


def _has_succeeded(pods: Sequence[Object]) -> bool:
    """Whether a container succeeded. Its status says so seconds before the pod's phase and the Job's condition."""
    ends = [(_containers(pod).get(RUN) or {}).get("terminated") for pod in pods]
    return any(end is not None and end.get("exitCode") == 0 for end in ends)


def _containers(pod: Object) -> dict[str, Any]:
    return {container["name"]: container.get("state") or {} for container in list_containers(pod)}


def _failure(pods: Sequence[Object], job: Object) -> Failed:
    """The reason from the failed container's termination message, else from the Kubernetes Job."""
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
    except (ValueError, KeyError, TypeError, RecursionError):  # not from this init image, or the container was killed
        detail = f": {text}" if text else ""
        return Failed(
            Reason.INIT_FAILED,
            f"container {container} of the init job ended with exit code {ended['exitCode']} "
            f"({ended.get('reason', 'Error')}){detail}",
        )


def _describe(ctx: Context, pods: Sequence[Object], job: Object) -> tuple[Reason, str]:
    """What the init job waits for."""
    blocker = find_blocker(ctx, pods, job, read_events=True)
    if blocker is not None:
        return _BLOCKED[blocker.kind], _describe_blocker(ctx, blocker, mounted=bool(pods) and mounts_app(pods[-1]))
    if not pods:
        return Reason.INIT_STARTING, "the init pod does not exist yet"
    if "running" in (_containers(pods[-1]).get(RUN) or {}):
        return Reason.INIT_RUNNING, "templates are being applied"
    return Reason.INIT_STARTING, "the init pod is starting"


def _describe_blocker(ctx: Context, blocker: Blocker, *, mounted: bool) -> str:
    if blocker.kind is BlockerKind.IMAGE:
        # A pod that mounts the app image has one container, which waits for both images; the kubelet names the one.
        of_app = ctx.accepted.image in blocker.detail if mounted else blocker.container == TAKE
        what = f"app image {ctx.accepted.image}" if of_app else f"init image {ctx.site.init_image}"
        return f"{what} cannot be pulled: {blocker.detail}"
    if blocker.kind is BlockerKind.CONTAINER:
        hint = "; if the node cannot mount images as volumes, set KNS_IMAGE_VOLUMES=false" if mounted else ""
        return f"container {blocker.container} of the init job cannot start: {blocker.detail}{hint}"
    return blocker.describe("init pod")
