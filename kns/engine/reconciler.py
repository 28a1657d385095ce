"""
One pass: read record and world, find the first stage that is not done, act, write the status once.

The pass keeps nothing in memory. Whatever it decides follows from (record, world, now), so it is safe to run twice and
to kill after any call. A job ends in the record first; only then is anything removed, and a removal that is stuck
never changes how the job ended.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from kns import metrics
from kns.engine.metering import close_account, meter
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import ConflictError, InvalidInputError, KnsError, RefusedError, RenderError, TransientError
from kns.model.job.conditions import ConditionType, Reason, with_condition
from kns.model.job.job import EXIT_CODES, TRANSITIONS, Accepted, Job, JobState, JobStatus, StopReason, Substatus
from kns.model.site import Site
from kns.ports import Clock, Context, JobStore, RecordWriter, World
from kns.stages import STAGES, Stage, Verb
from kns.stages.outcome import Done, Failed, Outcome, Wait, Without

log = get_logger(__name__)

AT_ONCE = 0.0
_REMOVAL_RETRY_S = 5.0

_ENDS: dict[StopReason, tuple[Reason, str]] = {
    StopReason.SHUTDOWN: (Reason.SHUTDOWN, "the job was shut down"),
    StopReason.TERMINATE: (Reason.TERMINATE, "the job was terminated"),
    StopReason.WALLTIME: (Reason.WALLTIME, "the walltime is over"),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What a pass came to: a word for log and metrics, and when to look again (None: when something changes)."""

    outcome: str
    requeue_s: float | None = None
    detail: str = ""


class Reconciler:
    """Brings one job at a time to what its record says. Many threads may call it, each for another record."""

    def __init__(
        self,
        *,
        store: JobStore,
        writer: RecordWriter,
        world: World,
        site: Site,
        clock: Clock,
        intake: Callable[[Job], Accepted],
        drain: Verb,
        stages: tuple[Stage, ...] = STAGES,
    ) -> None:
        self._store = store
        self._writer = writer
        self._world = world
        self._site = site
        self._clock = clock
        self._intake = intake
        self._drain = drain
        self._stages = stages

    def reconcile(self, record: str) -> Result:
        """
        One pass over one record.

        Raises:
            TransientError: look again later; nothing is lost.
        """
        job = self._store.get(record)
        if job is None:
            return Result("gone")
        if job.deleting and names.FINALIZER not in job.finalizers:
            return Result("gone")
        if names.FINALIZER not in job.finalizers:
            self._writer.set_finalizer(job, present=True)
            return Result("finalizer_added", AT_ONCE)
        if job.fault is not None and not job.is_ended and not job.deleting:
            return self._end(job, JobState.FAILED, Reason.UNREADABLE, job.fault, now=self._clock.now())
        if job.spec.accepted is None:
            return self._take_in(job)
        ctx = Context(job=job, accepted=job.spec.accepted, now=self._clock.now(), site=self._site, world=self._world)
        return self._after_end(ctx) if job.is_ended else self._advance(ctx)

    # --- a record that kns has not taken yet

    def _take_in(self, job: Job) -> Result:
        """A record applied by hand: check it as a submission would be, and freeze what it needs."""
        now = self._clock.now()
        if job.deleting:
            self._writer.set_finalizer(job, present=False)
            return Result("released")
        if job.is_ended:
            return self._retain(job, now)
        if job.stop_reason is not None:
            return self._end(job, JobState.CANCELED, *_ENDS[job.stop_reason], now=now)
        try:
            accepted = self._intake(job)
        except TransientError:
            raise
        except KnsError as error:
            return self._end(job, JobState.FAILED, Reason.NOT_ACCEPTED, str(error), now=now)
        self._writer.accept(job, accepted)
        return Result("accepted", AT_ONCE)

    # --- a live job

    def _advance(self, ctx: Context) -> Result:
        job, now = ctx.job, ctx.now
        reason = job.stop_reason
        if reason is None and job.walltime_end is not None and now >= job.walltime_end:
            reason = StopReason.WALLTIME
        if reason is not None:
            return self._stop(ctx, reason)
        status, stages_s = job.status, []
        for stage in self._stages:
            if stage.condition is ConditionType.VIRTUAL_CLUSTER_READY and status.spawn_start_time is None:
                status = status.model_copy(update={"spawn_start_time": now})
            try:
                outcome = self._ensure(stage, ctx)
            except ConflictError:
                raise
            except TransientError as error:  # a job that hangs says why; the queue's backoff decides when to try again
                self._write(job, _note_wait(status, stage, Wait(0, Reason.RETRYING, str(error)), now))
                raise
            except Exception as error:  # a fault of ours; its text may hold anything, so it stays in the log
                fault = f"unexpected error, see kns's log: {type(error).__name__}"
                self._write(job, _note_wait(status, stage, Wait(0, Reason.RETRYING, fault), now))
                raise
            if isinstance(outcome, Failed):
                status = _note(status, stage, outcome, now)
                return self._end(job, JobState.FAILED, outcome.reason, outcome.message, now=now, status=status)
            if isinstance(outcome, Wait):
                status, _ = self._meter(ctx, _note_wait(status, stage, outcome, now))
                self._write(job, status)
                return Result("wait", outcome.after_s, f"{outcome.reason}: {outcome.message}")
            if isinstance(outcome, Without):
                status = _note_without(status, stage, outcome, now)
                stages_s.append(outcome.after_s)
                continue
            stages_s.append(outcome.look_s)
            status = self._note_done(job, status, stage, outcome, now)
        status = status.model_copy(update={"substatus": Substatus.NONE, "reason": None, "message": None})
        status, look_s = self._meter(ctx, status)
        self._write(job, status)
        looks_s = (look_s, self._until_walltime(job, status, now), *stages_s)
        return Result("serving", min((s for s in looks_s if s is not None), default=None))

    def _meter(self, ctx: Context, status: JobStatus) -> tuple[JobStatus, float | None]:
        """What is used counts from the start on."""
        return meter(ctx, status) if status.job_status is JobState.PROCESSING else (status, None)

    def _ensure(self, stage: Stage, ctx: Context) -> Outcome:
        try:
            return stage.ensure(ctx)
        except RefusedError as error:
            return Failed(Reason.REFUSED_BY_HOST, f"the host cluster refused: {error}")
        except RenderError as error:
            return Failed(Reason.RENDER_FAILED, str(error))
        except InvalidInputError as error:  # what the job was accepted with is there no longer
            return Failed(Reason.NOT_ACCEPTED, str(error))

    def _note_done(self, job: Job, status: JobStatus, stage: Stage, outcome: Done, now: datetime) -> JobStatus:
        changes: dict[str, Any] = {
            key: value
            for key in ("url", "address", "control_plane_uid")
            if (value := getattr(outcome, key)) is not None
        }
        if not status.is_true(stage.condition):
            metrics.observe_stage_done(stage=stage.name, after_s=(now - job.submit_time).total_seconds())
            changes["conditions"] = with_condition(
                status.conditions, stage.condition, true=True, reason=Reason.OK, message=outcome.message, now=now
            )
        if stage.condition is ConditionType.VIRTUAL_CLUSTER_READY and status.job_status is JobState.SUBMITTED:
            changes |= {"job_status": JobState.PROCESSING, "start_time": now}
        return status.model_copy(update=changes) if changes else status

    def _until_walltime(self, job: Job, status: JobStatus, now: datetime) -> float | None:
        accepted = job.spec.accepted
        if accepted is None or accepted.walltime_s is None or status.start_time is None:
            return None
        return max(AT_ONCE, (status.start_time + timedelta(seconds=accepted.walltime_s) - now).total_seconds())

    # --- the end

    def _stop(self, ctx: Context, reason: StopReason) -> Result:
        job, now = ctx.job, ctx.now
        if job.status.job_status is JobState.SUBMITTED:
            return self._end(job, JobState.CANCELED, *_ENDS[reason], now=now)
        if reason is not StopReason.SHUTDOWN:
            return self._end(job, JobState.TERMINATED, *_ENDS[reason], now=now)
        if self._keeps(job):  # everything stays as it is, the app's pods too
            return self._end(job, JobState.COMPLETED, *_ENDS[reason], now=now)
        if job.status.condition(ConditionType.DRAINED) is None:  # the grace counts from here, come what may
            return self._note_drain(ctx, Wait(AT_ONCE, Reason.GRACE, "the app's pods are told to end"))
        try:
            outcome = self._drain(ctx)
        except RefusedError as error:  # the namespace is going already: nobody is left to be given grace
            log.warning("drain_refused", error=str(error))
            outcome = Done()
        if isinstance(outcome, Wait):
            return self._note_drain(ctx, outcome)
        return self._end(job, JobState.COMPLETED, *_ENDS[reason], now=now)

    def _note_drain(self, ctx: Context, waiting: Wait) -> Result:
        conditions = with_condition(
            ctx.job.status.conditions,
            ConditionType.DRAINED,
            true=False,
            reason=waiting.reason,
            message=waiting.message,
            now=ctx.now,
        )
        self._write(ctx.job, ctx.job.status.model_copy(update={"conditions": conditions}))
        return Result("draining", waiting.after_s, waiting.message)

    def _end(
        self, job: Job, state: JobState, reason: Reason, message: str, *, now: datetime, status: JobStatus | None = None
    ) -> Result:
        """Write how the job ended, its last line of output first; removal is for the next pass."""
        status = status or job.status
        if state not in TRANSITIONS[status.job_status]:
            raise AssertionError(f"{job.record}: {status.job_status} never becomes {state}")
        output = replace(self._world.outputs.read(job.record), end=message)
        try:
            self._world.outputs.write(job, output)
        except RefusedError as error:  # for good, and an end must not hang on it: the status says the same
            log.warning("last_line_refused", error=str(error))
        status = close_account(status, now).model_copy(
            update={
                "job_status": state,
                "exit_code": EXIT_CODES[state],
                "end_time": now,
                "reason": str(reason),
                "message": message,
                "substatus": Substatus.REMOVING if job.spec.accepted and not self._keeps(job) else Substatus.NONE,
                "conditions": with_condition(
                    status.conditions, ConditionType.ENDED, true=True, reason=reason, message=message, now=now
                ),
            }
        )
        self._write(job, status)
        metrics.count_end(str(reason))
        log.info("job_ended", status=str(state), reason=str(reason), message=message)
        return Result("ended", AT_ONCE, f"{reason}: {message}")

    def _keeps(self, job: Job) -> bool:
        return self._site.keep_vclusters and not job.deleting

    def _after_end(self, ctx: Context) -> Result:
        job = ctx.job
        if not job.deleting and job.status.is_true(ConditionType.REMOVED):
            return self._retain(job, ctx.now)
        if self._keeps(job):
            message = (
                f"JARVICE_KNS_KEEP_VCLUSTERS is on: everything was kept; remove it with "
                f"'kubectl delete nj {job.record} -n {ctx.site.system_namespace}'"
            )
            self._write_removed(job, true=False, reason=Reason.KEPT, message=message, now=ctx.now)
            return Result("kept")
        waiting = self._remove_all(ctx)
        if waiting is not None:
            self._write_removed(job, true=False, reason=waiting.reason, message=waiting.message, now=ctx.now)
            return Result("removing", waiting.after_s, waiting.message)
        if job.deleting:
            self._writer.set_finalizer(job, present=False)
            return Result("released")
        self._write_removed(job, true=True, reason=Reason.OK, message="", now=ctx.now)
        return Result("removed", AT_ONCE)

    def _remove_all(self, ctx: Context) -> Wait | None:
        """
        One step of every stage's removal, from the last stage to the first; None when all is gone.

        A stage that fails does not keep the others from going; a stage that waits keeps back those that it stands on.
        """
        first: Wait | None = None
        for stage in reversed(self._stages):
            try:
                outcome = stage.remove(ctx)
            except KnsError as error:
                log.warning("removal_failed", stage=stage.name, error=str(error))
                outcome = Wait(_REMOVAL_RETRY_S, Reason.REMOVING, f"{stage.name}: {error}")
                first = first or outcome
                continue
            if isinstance(outcome, Failed):
                outcome = Wait(_REMOVAL_RETRY_S, outcome.reason, outcome.message)
            if isinstance(outcome, Wait):
                return first or outcome
        return first

    def _write_removed(self, job: Job, *, true: bool, reason: Reason, message: str, now: datetime) -> None:
        conditions = with_condition(
            job.status.conditions, ConditionType.REMOVED, true=true, reason=reason, message=message, now=now
        )
        substatus = Substatus.NONE if true or reason is Reason.KEPT else Substatus.REMOVING
        self._write(job, job.status.model_copy(update={"conditions": conditions, "substatus": substatus}))

    def _retain(self, job: Job, now: datetime) -> Result:
        """The record and its output stay for the retention, then go."""
        end = job.status.end_time or now
        left_s = (end + timedelta(seconds=self._site.retention_s) - now).total_seconds()
        if left_s > 0:
            return Result("retained", left_s)
        self._writer.delete(job)
        return Result("expired")

    def _write(self, job: Job, status: JobStatus) -> None:
        """One write, and only if something differs."""
        status = status.model_copy(update={"observed_generation": job.generation})
        if status != job.status:
            self._writer.write_status(job, status)


def _note_wait(status: JobStatus, stage: Stage, outcome: Wait, now: datetime) -> JobStatus:
    """The record says for what it waits; a condition that has been true stays so (the stage looks after itself)."""
    if not status.is_true(stage.condition):
        status = _note(status, stage, outcome, now)
    return status.model_copy(
        update={"substatus": stage.substatus, "reason": str(outcome.reason), "message": outcome.message}
    )


def _note(status: JobStatus, stage: Stage, outcome: Wait | Failed, now: datetime) -> JobStatus:
    conditions = with_condition(
        status.conditions, stage.condition, true=False, reason=outcome.reason, message=outcome.message, now=now
    )
    return status.model_copy(update={"conditions": conditions})


def _note_without(status: JobStatus, stage: Stage, outcome: Without, now: datetime) -> JobStatus:
    if outcome.reason is None:
        return status
    return _note(status, stage, Wait(0, outcome.reason, outcome.message), now)
