"""
The reconciler: reads record and world, finds the first stage that is not done, acts, and writes the status once.

It keeps nothing in memory. Every decision follows from (record, world, now), so a reconcile can be repeated, and can be
killed after any call. The end of a job has a module of its own (`kns.engine.ending`).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from kns import metrics
from kns.engine.ending import CLOCK_RETRY_AFTER_S, ENDS, Ending
from kns.engine.metering import meter, pause
from kns.engine.notes import note, note_retry, note_retry_ahead, note_skipped, note_wait
from kns.engine.resting import (
    begin_to_sleep,
    begin_to_wake,
    must_begin_to_sleep,
    must_begin_to_wake,
    must_withdraw_sleep,
    note_asleep,
    note_awake,
    note_message,
    note_refusal,
    waking_for_s,
)
from kns.engine.result import IMMEDIATELY_S, Result, earliest, write_changed
from kns.logs import get_logger
from kns.model import names
from kns.model.errors import ConflictError, InvalidInputError, KnsError, RefusedError, RenderError, TransientError
from kns.model.job.conditions import Reason, with_condition
from kns.model.job.job import (
    Accepted,
    Job,
    JobState,
    JobStatus,
    Rest,
    StopReason,
    Substatus,
)
from kns.model.site import Site
from kns.ports import Clock, Context, JobStore, RecordWriter, World
from kns.stages.lifecycle import Lifecycle, Stage, Verb
from kns.stages.outcome import Done, Failed, Outcome, Skipped, Wait

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Term:
    """
    Since when this process leads, and whether this machine's clock agrees with the host API's. These decide about times
    only. A standby builds its reconciler long before it leads, so each reconcile asks again.
    """

    since: Callable[[], datetime | None] = lambda: None
    is_clock_trusted: Callable[[], bool] = lambda: True


class Reconciler:
    """Brings the world to what a record says, one record per call. Threads may call it for different records."""

    def __init__(
        self,
        *,
        store: JobStore,
        writer: RecordWriter,
        world: World,
        site: Site,
        clock: Clock,
        intake: Callable[[Job], Accepted],
        lifecycle: Lifecycle,
        term: Term,
    ) -> None:
        self._store = store
        self._writer = writer
        self._world = world
        self._site = site
        self._clock = clock
        self._intake = intake
        self._lifecycle = lifecycle
        self._term = term
        self._ending = Ending(
            store=store, writer=writer, site=site, lifecycle=lifecycle, is_clock_trusted=term.is_clock_trusted
        )

    def reconcile(self, record: str) -> Result:
        """
        Reconcile one record once.

        Raises:
            TransientError: the same call may succeed later; nothing is lost.
        """
        retained = self._store.find_retained(record)  # most records are, so a new leader parses the others only
        waiting = self._ending.await_retention(retained, self._clock.now()) if retained is not None else None
        return waiting or self._reconcile(record)

    def _reconcile(self, record: str) -> Result:
        job = self._store.get(record)
        if job is None or (job.deleting and names.FINALIZER not in job.finalizers):
            return Result("gone")
        if names.FINALIZER not in job.finalizers:
            self._writer.set_finalizer(job, present=True)
            return Result("finalizer_added", IMMEDIATELY_S)
        if job.read_error is not None and not job.is_ended and not job.deleting:
            return self._ending.end(job, JobState.FAILED, Reason.UNREADABLE, job.read_error, now=self._read_time(job))
        if job.spec.accepted is None:
            return self._accept(job)
        ctx = Context(
            job=job,
            accepted=job.spec.accepted,
            now=self._read_time(job),
            site=self._site,
            world=self._world,
            is_time_trusted=self._term.is_clock_trusted(),
            leading_since=self._term.since(),
        )
        return self._ending.after_end(ctx) if job.is_ended else self._advance(ctx)

    def _read_time(self, job: Job) -> datetime:
        """
        The time for this job. While this machine's clock is wrong, it is not before the record: every limit that begins
        now would otherwise be over as soon as the clock is right.
        """
        now = self._clock.now()
        return now if self._term.is_clock_trusted() else max(now, job.created)

    # --- a record that is not accepted yet

    def _accept(self, job: Job) -> Result:
        """Check a record that was applied by hand like a submission, and store its accepted part."""
        now = self._read_time(job)
        if job.deleting:
            self._writer.set_finalizer(job, present=False)
            return Result("released")
        if job.is_ended:
            return self._ending.retain(job, now)
        if job.stop_reason is not None:
            return self._ending.end(job, JobState.CANCELED, *ENDS[job.stop_reason], now=now)
        try:
            accepted = self._intake(job)
        except TransientError:
            raise
        except KnsError as error:
            return self._ending.end(job, JobState.FAILED, Reason.NOT_ACCEPTED, str(error), now=now)
        try:
            self._writer.accept(job, accepted)
        except RefusedError as error:
            message = f"the host cluster refused the accepted record: {error}"
            return self._ending.end(job, JobState.FAILED, Reason.REFUSED_BY_HOST, message, now=now)
        return Result("accepted", IMMEDIATELY_S)

    # --- a live job

    def _advance(self, ctx: Context) -> Result:
        job, now = ctx.job, ctx.now
        reason = job.stop_reason
        if (
            reason is None
            and job.walltime_end is not None
            and now >= job.walltime_end
            and self._ending.may_end_by_time(job)
        ):
            reason = StopReason.WALLTIME
        if reason is not None:
            return self._ending.stop(ctx, reason)
        status, resting = self._rest(ctx)
        if resting is not None:
            return resting
        requeues_s: list[float | None] = []
        for index, stage in enumerate(self._lifecycle.stages):
            if stage is self._lifecycle.starting and status.spawn_start_time is None:
                status = status.model_copy(update={"spawn_start_time": now})
            outcome = self._call(stage.ensure, ctx, note_error=partial(note_retry, status, stage))
            if isinstance(outcome, Failed):
                return self._fail(ctx, status, stage, outcome)
            if isinstance(outcome, Wait):
                return self._wait(ctx, note_wait(status, stage, outcome, now), index, outcome)
            if isinstance(outcome, Skipped):
                status = note_skipped(status, stage, outcome, now)
                requeues_s.append(outcome.requeue_after_s)
                continue
            requeues_s.append(outcome.requeue_after_s)
            status = self._note_done(job, status, stage, outcome, now)
            if stage is self._lifecycle.starting and ctx.accepted.adopted and job.status.start_time is None:
                return self._start_adopted(ctx, status, index)
        status = status.model_copy(update={"substatus": Substatus.NONE, "reason": None, "message": None, "stuck": None})
        status, metering_s = self._meter(ctx, status)
        write_changed(self._writer, job, status)
        requeues_s += [metering_s, self._until_walltime(job, status, now), self._follow(ctx, status)]
        return Result("serving", earliest(*requeues_s))

    def _rest(self, ctx: Context) -> tuple[JobStatus, Result | None]:
        """
        Reconcile a job that shall be asleep, or that is woken. Without a result the job is awake with this status, and
        its stages follow.
        """
        job, now, rest = ctx.job, ctx.now, ctx.job.status.rest
        if must_begin_to_sleep(job):
            write_changed(self._writer, job, begin_to_sleep(job.status, now))
            return job.status, Result(str(Rest.FALLING_ASLEEP), IMMEDIATELY_S)
        if must_begin_to_wake(job):
            write_changed(self._writer, job, begin_to_wake(job.status, now))
            return job.status, Result(str(Rest.WAKING), IMMEDIATELY_S)
        if must_withdraw_sleep(job):
            self._store.set_sleep(job, asleep=False)
            return job.status, Result("sleep_withdrawn", IMMEDIATELY_S)
        if rest is Rest.AWAKE:
            return job.status, None
        outcome = self._call(
            self._lifecycle.wake if rest is Rest.WAKING else self._lifecycle.sleep,
            ctx,
            note_error=lambda message, now: note_message(job.status, message, now),
        )
        if isinstance(outcome, Failed):
            return job.status, self._ending.end(job, JobState.FAILED, outcome.reason, outcome.message, now=now)
        if isinstance(outcome, Skipped) and rest is not Rest.WAKING:
            return note_refusal(job.status, outcome.message, now), None
        if rest is Rest.WAKING and not isinstance(outcome, Wait):
            metrics.observe_wake(waking_for_s(job.status, now))
            return note_awake(job.status, now), None
        status = note_message(job.status, outcome.message or "", now)
        if isinstance(outcome, Done):
            status = note_asleep(pause(status, now if ctx.is_time_trusted else None), outcome.message or "", now)
        status, metering_s = self._meter(ctx, status)
        write_changed(self._writer, job, status)
        requeue_after_s = earliest(outcome.requeue_after_s, metering_s, self._until_walltime(job, status, now))
        return status, Result(str(status.rest), requeue_after_s, outcome.message or "")

    def _wait(self, ctx: Context, status: JobStatus, index: int, waiting: Wait) -> Result:
        """
        Wait for the stage at `index`, and meanwhile let the later stages make what does not need it.

        Every stage needs those before the starting one. The record says what the job waits for, and nothing of what is
        made ahead, so that conditions become True in the order of the stages.
        """
        requeues_s: list[float | None] = [waiting.requeue_after_s]
        if index >= self._lifecycle.stages.index(self._lifecycle.starting):
            made = self._make_ahead(ctx, status, index)
            if isinstance(made, Result):
                return made
            requeues_s += made
        status, _ = self._meter(ctx, status)
        write_changed(self._writer, ctx.job, status)
        after_s = earliest(*requeues_s, self._follow(ctx, status), self._until_walltime(ctx.job, status, ctx.now))
        return Result("wait", after_s, f"{waiting.reason}: {waiting.message}")

    def _start_adopted(self, ctx: Context, status: JobStatus, index: int) -> Result:
        """
        Start a job in a namespace where everything runs already. It never waited, so nothing was made ahead, and that
        comes first. Then the record says that the job runs, and the next reconcile goes on with the stages.
        """
        made = self._make_ahead(ctx, status, index)
        if isinstance(made, Result):
            return made
        for following in self._lifecycle.stages[index + 1 : index + 2]:
            status = status.model_copy(update={"substatus": following.substatus})
        status, _ = self._meter(ctx, status)
        write_changed(self._writer, ctx.job, status)
        return Result("started", IMMEDIATELY_S)

    def _make_ahead(self, ctx: Context, status: JobStatus, index: int) -> list[float | None] | Result:
        """
        Let the stages after the one at `index` make ahead what they can. Returns after how many seconds they want the
        next reconcile, or the result of the job's end.
        """
        requeues_s: list[float | None] = []
        for stage in self._lifecycle.stages[index + 1 :]:
            if stage.ahead is None or status.is_true(stage.condition):
                continue
            outcome = self._call(stage.ahead, ctx, note_error=partial(note_retry_ahead, status, stage))
            if isinstance(outcome, Failed):
                return self._fail(ctx, status, stage, outcome)
            requeues_s.append(outcome.requeue_after_s)
            if isinstance(outcome, Wait):
                break
        return requeues_s

    def _fail(self, ctx: Context, status: JobStatus, stage: Stage, outcome: Failed) -> Result:
        status = note(status, stage, outcome, ctx.now)
        return self._ending.end(ctx.job, JobState.FAILED, outcome.reason, outcome.message, now=ctx.now, status=status)

    def _meter(self, ctx: Context, status: JobStatus) -> tuple[JobStatus, float | None]:
        """Usage counts from the start of the job, and not while it is asleep or the clock is wrong."""
        if status.job_status is not JobState.PROCESSING or status.rest is Rest.ASLEEP or not ctx.is_time_trusted:
            return status, None
        return meter(status, self._lifecycle.measure(ctx, status), site=ctx.site, now=ctx.now)

    def _follow(self, ctx: Context, status: JobStatus) -> float | None:
        return self._lifecycle.follow(ctx) if status.job_status is JobState.PROCESSING else None

    def _call(self, verb: Verb, ctx: Context, *, note_error: Callable[[str, datetime], JobStatus]) -> Outcome:
        """
        The outcome of `verb`. A permanent error is the job's end.

        Any other error is raised, after the status that `note_error` returns for its message was written.
        """
        try:
            return verb(ctx)
        except ConflictError:
            raise
        except RefusedError as error:
            return Failed(Reason.REFUSED_BY_HOST, f"the host cluster refused: {error}")
        except RenderError as error:
            return Failed(Reason.RENDER_FAILED, str(error))
        except InvalidInputError as error:  # an input of the accepted job is no longer there
            return Failed(Reason.NOT_ACCEPTED, str(error))
        except TransientError as error:  # the record says why the job hangs; the queue's backoff times the next try
            self._write_error(ctx, note_error(str(error), ctx.now))
            raise
        except Exception as error:  # a bug in kns; only the log gets its text, which may contain anything
            message = f"unexpected error, see kns's log: {type(error).__name__}"
            self._write_error(ctx, note_error(message, ctx.now))
            raise

    def _write_error(self, ctx: Context, status: JobStatus) -> None:
        """Usage goes on to count, so that no error that a tenant can cause makes a machine free of charge."""
        with suppress(TransientError):  # what the caches do not know now is counted by the next reconcile
            status, _ = self._meter(ctx, status)
        write_changed(self._writer, ctx.job, status)

    def _note_done(self, job: Job, status: JobStatus, stage: Stage, outcome: Done, now: datetime) -> JobStatus:
        changes = outcome.status_changes()
        known = status.condition(stage.condition)
        is_new = known is None or not known.is_true
        if is_new and (stage is not self._lifecycle.starting or status.job_status is JobState.SUBMITTED):
            metrics.observe_stage_done(stage=stage.name, elapsed_s=(now - job.submit_time).total_seconds())
        if is_new or outcome.message is not None:
            message = outcome.message or ""
            changes["conditions"] = with_condition(
                status.conditions, stage.condition, true=True, reason=Reason.OK, message=message, now=now
            )
        if stage is self._lifecycle.starting and status.job_status is JobState.SUBMITTED:
            changes |= {"job_status": JobState.PROCESSING, "start_time": now}
        return status.model_copy(update=changes) if changes else status

    def _until_walltime(self, job: Job, status: JobStatus, now: datetime) -> float | None:
        end = replace(job, status=status).walltime_end
        if end is None:
            return None
        left_s = (end - now).total_seconds()
        return left_s if left_s > 0 else CLOCK_RETRY_AFTER_S
