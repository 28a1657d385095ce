"""
Explain a job in words: what it does or waits for at this moment, why, and what its user can do.

It shows everybody who may see a job the newest warnings of the job's namespace. Their messages are about the job's own
pods and volumes; vcluster shows most of them inside the virtual cluster as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from kns.model import names
from kns.model.errors import ForbiddenError, InvalidInputError, NotFoundError, clip
from kns.model.job.conditions import ConditionType
from kns.model.job.job import Job, JobState, Rest
from kns.model.job.timeline import Step, StepState, build_timeline, find_active
from kns.model.reading.duration import describe_duration
from kns.model.reading.quantity import parse_quantity
from kns.ports import Kind, Object
from kns.service.find import accepted_of
from kns.service.insight import read_warnings
from kns.service.ports import ServicePorts
from kns.service.words import find_advice, find_warning_advice

MOST_SHOWN = 5  # warnings; more would hide the cause
_MESSAGE_LIMIT = 300  # characters of one warning
_FIRST_STEPS = frozenset({"namespace", "vcluster"})  # those that a member of the warm pool has done
_GIB = 1024**3


class Standing(StrEnum):
    """What a job is doing, for programs."""

    WAITING = "waiting"
    SERVING = "serving"
    ASLEEP = "asleep"
    ENDING = "ending"
    REMOVING = "removing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class HostWarning:
    """A warning of the host about an object of the job. `count` is how often it happened."""

    time: datetime
    subject: str
    reason: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one limit of the job its pods request. `unit` is for people."""

    what: str
    used: Decimal
    limit: Decimal
    unit: str

    def __str__(self) -> str:
        return f"{_round(self.used)} of {_round(self.limit)} {self.unit}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    `summary` is one sentence. `cause` is the message of the condition that it waits for, or of its end. `uses` and
    `warnings` are empty once the job has ended. `advice` has no duplicates.
    """

    standing: Standing
    summary: str
    cause: str = ""
    uses: tuple[Use, ...] = ()
    warnings: tuple[HostWarning, ...] = ()
    advice: tuple[str, ...] = ()


def explain(ports: ServicePorts, job: Job) -> Explanation:
    """
    Raises:
        UnavailableError: the host cluster did not answer.
    """
    steps, now = build_timeline(job), ports.clock.now()
    if job.is_ended:
        return _explain_end(job, steps, now)
    standing, summary, step = _describe_life(job, steps, now)
    if standing is Standing.WAITING:
        summary += _describe_cluster(ports, job, steps)
    warnings = _read_warnings(ports, job)
    shown = step if step is not None and step.reason is not None else None
    return Explanation(
        standing,
        summary,
        cause=clip(shown.message) if shown else "",
        uses=_read_uses(ports, job),
        warnings=warnings,
        advice=_collect_advice(shown, warnings),
    )


def _describe_life(job: Job, steps: Sequence[Step], now: datetime) -> tuple[Standing, str, Step | None]:
    """The summary of a live job, and the step that it is about."""
    number, active = accepted_of(job).number, find_active(steps)
    if job.stop_reason is not None:
        drain = next((step for step in steps if step.name == "drain"), None)
        return Standing.ENDING, f"Job {number} is ending{_for(drain, now)}.", drain
    if active is None:
        return Standing.WAITING, f"Job {number} waits for kns to start it{_age(job, now)}.", None
    if job.status.rest is not Rest.AWAKE:
        rest, hint = _describe_rest(job), ""
        if job.status.rest is Rest.ASLEEP:
            rest, hint = replace(rest, message=""), "; a request of its page or kns wake wakes it"
        return Standing.ASLEEP, f"Job {number} is {rest.title}{_for(rest, now)}{hint}{_left(job, now)}.", rest
    if job.status.has_been_exposed:
        where = f" at {job.status.url}" if job.status.url else ", without an address"
        problem = active if active.name != "serve" else None
        trouble = f", but it has a problem: {problem.title}" if problem else ""
        return Standing.SERVING, f"Job {number} serves{where}{_left(job, now)}{trouble}.", problem
    if active.reason is None:
        return Standing.WAITING, f"Job {number} waits for kns to {active.title}{_for(active, now)}.", active
    return Standing.WAITING, f"Job {number} is not serving yet; its step is: {active.title}{_for(active, now)}.", active


def _describe_rest(job: Job) -> Step:
    """What a job does that is not awake, as a step of its life."""
    condition = job.status.condition(ConditionType.ASLEEP)
    title, since = str(job.status.rest), condition.last_transition_time if condition is not None else None
    reason, message = (condition.reason, condition.message) if condition is not None else (None, "")
    return Step("sleep", title, StepState.ACTIVE, since, None, reason, message)


def _describe_cluster(ports: ServicePorts, job: Job, steps: Sequence[Step]) -> str:
    """Whether the job got a virtual cluster of the warm pool, which explains how long it waits."""
    if accepted_of(job).adopted is not None:
        return " It got a virtual cluster of the warm pool."
    active = find_active(steps)
    if ports.members is None or active is None or active.name not in _FIRST_STEPS:
        return ""
    return " The warm pool had no virtual cluster for it, so it starts its own."


def _for(step: Step | None, now: datetime) -> str:
    seconds = step.seconds(now) if step is not None else None
    return f", for {describe_duration(seconds)} so far" if seconds is not None else ""


def _age(job: Job, now: datetime) -> str:
    return f", for {describe_duration((now - job.submit_time).total_seconds())} so far"


def _left(job: Job, now: datetime) -> str:
    end = job.walltime_end
    return f"; {describe_duration((end - now).total_seconds())} of its walltime are left" if end is not None else ""


def _explain_end(job: Job, steps: Sequence[Step], now: datetime) -> Explanation:
    status = job.status
    last = steps[-1]
    standing = Standing.REMOVING if last.name == "remove" and last.ended is None else Standing.ENDED
    ago = f" {describe_duration((now - status.end_time).total_seconds())} ago" if status.end_time else ""
    failed = next((step for step in steps if step.state == "failed"), None)
    where = f" at the step: {failed.title}" if failed is not None else ""
    summary = f"Job {accepted_of(job).number} ended {status.job_status}{ago}{where}."
    ended_itself = status.job_status in (JobState.COMPLETED, JobState.CANCELED)
    advice = [] if ended_itself else [find_advice(status.reason)]
    if last.name == "remove" and last.reason is not None and last.ended is None:
        summary += f" Its objects are not removed yet: {clip(last.message)}."
        advice.append(find_advice(last.reason))
    return Explanation(standing, summary, cause=clip(status.message or ""), advice=tuple(filter(None, advice)))


def _collect_advice(step: Step | None, warnings: Sequence[HostWarning]) -> tuple[str, ...]:
    found = [
        find_advice(step.reason) if step else "",
        *(find_warning_advice(each.reason, each.message) for each in warnings),
    ]
    return tuple(dict.fromkeys(filter(None, found)))


def _read_warnings(ports: ServicePorts, job: Job) -> tuple[HostWarning, ...]:
    """The newest warnings, newest first, one for each object and reason."""
    newest: dict[tuple[str, str], HostWarning] = {}
    for time, event in read_warnings(ports, job):
        subject = _name_subject(event.get("involvedObject") or {}, accepted_of(job).location.vcluster)
        reason, count = str(event.get("reason") or ""), event.get("count")
        message = clip(str(event.get("message") or ""), _MESSAGE_LIMIT)
        newest.pop((subject, reason), None)
        newest[subject, reason] = HostWarning(time, subject, reason, message, count if isinstance(count, int) else 1)
    return tuple(reversed(newest.values()))[:MOST_SHOWN]


def _name_subject(subject: Mapping[str, Any], vcluster: str) -> str:
    """
    The object as its user knows it: a copy's name holds name and namespace in the virtual cluster.

    >>> _name_subject({"kind": "Pod", "name": "web-0-x-default-x-kns-job-7"}, "kns-job-7")
    'Pod web-0 in namespace default'
    >>> _name_subject({"kind": "Pod", "name": "kns-init-abc"}, "kns-job-7")
    'Pod kns-init-abc'
    """
    kind, name = str(subject.get("kind") or "object"), str(subject.get("name") or "-")
    inner = name.removesuffix(f"-x-{vcluster}")
    own, separator, namespace = inner.rpartition("-x-")
    if inner == name or not separator:
        return f"{kind} {name}"
    return f"{kind} {own} in namespace {namespace}"


_LIMITS = (
    ("cpu", "requests.cpu", 1, "cores"),
    ("memory", "requests.memory", _GIB, "GiB"),
    ("gpus", "requests.nvidia.com/gpu", 1, "GPUs"),
    ("pods", "pods", 1, "pods"),
)


def _read_uses(ports: ServicePorts, job: Job) -> tuple[Use, ...]:
    """What the job's pods request of its limits, kns's own pods included; empty before the namespace exists."""
    try:
        quotas = ports.namespaces.list_objects(Kind.RESOURCE_QUOTA, accepted_of(job).location.namespace)
    except (NotFoundError, ForbiddenError):
        return ()
    return tuple(use for quota in quotas if quota["metadata"]["name"] == names.RESOURCE_QUOTA for use in _uses(quota))


def _uses(quota: Object) -> Iterator[Use]:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    for what, key, scale, unit in _LIMITS:
        try:
            limit, amount = parse_quantity(hard.get(key, 0)), parse_quantity(used.get(key, 0))
        except InvalidInputError:
            continue
        if limit > 0:
            yield Use(what, amount / scale, limit / scale, unit)


def _round(number: Decimal) -> str:
    """
    >>> _round(Decimal("2.110")), _round(Decimal(4)), _round(Decimal("0.04"))
    ('2.1', '4', '0')
    """
    return f"{number:.1f}".removesuffix(".0")
