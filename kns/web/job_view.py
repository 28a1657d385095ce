"""Jobs as the page shows them: cards, steps with bars, and which buttons a job has. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from kns.model.job.job import Job, JobState, Rest
from kns.model.job.timeline import Step, StepState
from kns.model.job.usage import Usage
from kns.service.find import accepted_of
from kns.web.text import choose_visible

_ENDED = {
    JobState.COMPLETED: ("Completed", "good"),
    JobState.FAILED: ("Failed", "bad"),
    JobState.TERMINATED: ("Terminated", "plain"),
    JobState.CANCELED: ("Canceled", "plain"),
}
_STATES = {
    StepState.PENDING: "not begun",
    StepState.ACTIVE: "now",
    StepState.DONE: "done",
    StepState.SKIPPED: "left out",
    StepState.FAILED: "failed",
    StepState.STOPPED: "stopped",
}
_AFTER_START = frozenset({"serve", "drain", "remove"})
_LEAST_BAR = 0.5  # percent; a shorter bar would not be seen


@dataclass(frozen=True, slots=True)
class Card:
    """One job in a list. `tone` is `good`, `bad`, `busy` or `plain`. `left_s` is the rest of its walltime."""

    job: Job
    number: int
    word: str
    tone: str
    left_s: float | None
    has_address: bool
    can_stop: bool

    @property
    def title(self) -> str:
        return choose_visible(self.job.spec.label, self.job.spec.app)


@dataclass(frozen=True, slots=True)
class Row:
    """
    One step with its time. `begin` and `width` place its bar, in percent of the time that the start took; None without
    a bar. `usual_s` is how long it usually takes.
    """

    step: Step
    word: str
    seconds: float | None
    usual_s: float | None
    begin: float | None
    width: float | None

    @property
    def share(self) -> float | None:
        """The share of its usual time that an active step has taken, at most 1; None if it has none."""
        if self.step.state is not StepState.ACTIVE or self.seconds is None or not self.usual_s:
            return None
        return min(1.0, self.seconds / self.usual_s)


def describe_state(job: Job) -> tuple[str, str]:
    """The state of a job as one word for people, and its tone."""
    if job.is_ended:
        return _ENDED[job.status.job_status]
    if job.stop_reason is not None:
        return "Ending", "busy"
    if job.status.rest is not Rest.AWAKE:
        return str(job.status.rest).capitalize(), "plain" if job.status.rest is Rest.ASLEEP else "busy"
    return ("Ready", "good") if job.status.has_been_exposed else ("Starting", "busy")


def build_card(job: Job, now: datetime) -> Card:
    word, tone = describe_state(job)
    end = job.walltime_end
    left_s = None if end is None or job.is_ended else max(0.0, (end - now).total_seconds())
    return Card(
        job=job,
        number=accepted_of(job).number,
        word=word,
        tone=tone,
        left_s=left_s,
        has_address=not job.is_ended and job.status.url is not None,
        can_stop=can_stop(job),
    )


def can_stop(job: Job) -> bool:
    return not job.is_ended and job.stop_reason is None


def may_sleep(job: Job) -> bool:
    """Whether the job may be asked to sleep, as far as its record says."""
    return can_stop(job) and job.has_served and not job.spec.sleep


def can_extend(job: Job) -> bool:
    return can_stop(job) and job.walltime_s is not None


def build_rows(steps: Sequence[Step], *, usual: Mapping[str, float], now: datetime) -> list[Row]:
    """The steps with their bars. Only the steps of the start have one, because a job may serve for days."""
    start = [step for step in steps if step.name not in _AFTER_START and step.began is not None]
    first = min((step.began for step in start if step.began), default=now)
    last = max((step.ended or now for step in start if step.ended or step.state is StepState.ACTIVE), default=now)
    span_s = max(0.001, (last - first).total_seconds())
    return [_build_row(step, usual.get(step.name), first=first, span_s=span_s, now=now) for step in steps]


def _build_row(step: Step, usual_s: float | None, *, first: datetime, span_s: float, now: datetime) -> Row:
    seconds = step.seconds(now)
    begin = width = None
    if step.began is not None and seconds is not None and step.name not in _AFTER_START:
        begin = round(100 * max(0.0, (step.began - first).total_seconds()) / span_s, 2)
        width = round(max(_LEAST_BAR, 100 * seconds / span_s), 2)
        begin, width = min(begin, 100 - _LEAST_BAR), min(width, 100 - min(begin, 100 - _LEAST_BAR))
    return Row(step, _STATES[step.state], seconds, usual_s, begin, width)


@dataclass(frozen=True, slots=True)
class Plot:
    """
    What a job's pods requested over time, as bars. `bars` has begin, width and height of each in percent. The height of
    the plot is `limit`, which the job may have, in `unit`; `most` is the highest value and `now` the last one.
    """

    title: str
    unit: str
    limit: float
    most: float
    now: float
    bars: tuple[tuple[float, float, float], ...]


_PLOTS = (("CPU", "cores", 0), ("Memory", "GiB", 1), ("GPU", "GPUs", 2))


def build_plots(job: Job, now: datetime) -> list[Plot]:
    """
    The plots of CPU, memory and GPUs, from the reports in the record. Between two reports a bar has the mean. What was
    never requested has no plot.
    """
    usage = job.status.usage
    if usage is None or job.status.start_time is None:
        return []
    machine, nodes = accepted_of(job).machine, job.spec.machine.nodes
    limits = machine.cores(nodes), machine.memory_gib(nodes), machine.gpus(nodes)
    end = job.status.end_time or now
    reports = sorted((*job.status.usage_reports, usage, usage.at(end)), key=lambda each: each.time)
    first = Usage(time=job.status.start_time)
    parts = [
        (before.time, after.time, _mean_rates(before, after))
        for before, after in pairwise((first, *reports))
        if after.time > before.time
    ]
    span_s = max(0.001, (reports[-1].time - first.time).total_seconds())
    plots = []
    for title, unit, index in _PLOTS:
        most = max((rates[index] for _, _, rates in parts), default=0)
        if most > 0:
            limit = max(most, limits[index])
            bars = tuple(
                (
                    round(100 * (begin - first.time).total_seconds() / span_s, 2),
                    round(100 * (finish - begin).total_seconds() / span_s, 2),
                    round(100 * rates[index] / limit, 2),
                )
                for begin, finish, rates in parts
            )
            plots.append(Plot(title, unit, limit, round(most, 2), 0 if job.is_ended else usage.rates[index], bars))
    return plots


def _mean_rates(before: Usage, after: Usage) -> tuple[float, float, float]:
    passed_s = (after.time - before.time).total_seconds()
    return (
        max(0.0, after.core_seconds - before.core_seconds) / passed_s,
        max(0.0, after.gib_seconds - before.gib_seconds) / passed_s,
        max(0.0, after.gpu_seconds - before.gpu_seconds) / passed_s,
    )


def count_progress(steps: Iterable[Step]) -> tuple[int, int]:
    """How many of the steps of the start are over, and how many there are."""
    start = [step for step in steps if step.name not in _AFTER_START]
    over = (StepState.DONE, StepState.SKIPPED, StepState.FAILED, StepState.STOPPED)
    return sum(step.state in over for step in start), len(start)
