"""
The end of a job: how it is stopped, its last status, the removal of its objects, and the time that its record stays.

The end is first written to the record; only then are the job's objects removed, and a removal that cannot finish never
changes how the job ended.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from kns import metrics
from kns.engine.metering import close_account
from kns.engine.result import IMMEDIATELY_S, Result, write_changed
from kns.logs import get_logger
from kns.model.errors import KnsError, RefusedError
from kns.model.job.conditions import ConditionType, Reason, with_condition
from kns.model.job.job import EXIT_CODES, TRANSITIONS, Job, JobState, JobStatus, Rest, StopReason, Stuck, Substatus
from kns.model.site import Site
from kns.ports import MOST_SURPLUS, Context, JobStore, RecordWriter, Retained
from kns.stages.lifecycle import Lifecycle
from kns.stages.outcome import Done, Failed, Wait

log = get_logger(__name__)

CLOCK_RETRY_AFTER_S = 60.0
_REMOVAL_RETRY_AFTER_S = 5.0
_SURPLUS_AFTER_S = 1.0
_NOTED_AFTER_S = 20.0  # twice what a removal usually takes: only a slow one is worth a write
_NOTED_AT_LEAST_EACH_S = 600.0  # if there is something new

ENDS: dict[StopReason, tuple[Reason, str]] = {
    StopReason.SHUTDOWN: (Reason.SHUTDOWN, "the job was shut down"),
    StopReason.TERMINATE: (Reason.TERMINATE, "the job was terminated"),
    StopReason.WALLTIME: (Reason.WALLTIME, "the walltime is over"),
}


class Ending:
    """Part of the reconciler, and like it without a memory. `is_clock_trusted` decides about limits of time only."""

    def __init__(
        self,
        *,
        store: JobStore,
        writer: RecordWriter,
        site: Site,
        lifecycle: Lifecycle,
        is_clock_trusted: Callable[[], bool],
    ) -> None:
        self._store = store
        self._writer = writer
        self._site = site
        self._lifecycle = lifecycle
        self._is_clock_trusted = is_clock_trusted

    def may_end_by_time(self, job: Job) -> bool:
        """Whether this machine's clock agrees with the host API's. If not, the time is no reason to end or delete."""
        is_trusted = self._is_clock_trusted()
        if not is_trusted:
            log.error("clock_not_trusted", record=job.record)
        return is_trusted

    def stop(self, ctx: Context, reason: StopReason) -> Result:
        job, now = ctx.job, ctx.now
        if job.status.job_status is JobState.SUBMITTED:
            return self.end(job, JobState.CANCELED, *ENDS[reason], now=now)
        if reason is not StopReason.SHUTDOWN:
            return self.end(job, JobState.TERMINATED, *ENDS[reason], now=now)
        if self._is_kept(job):  # all objects stay, even the app's pods
            return self.end(job, JobState.COMPLETED, *ENDS[reason], now=now)
        if job.status.condition(ConditionType.DRAINED) is None:  # the grace period starts now
            return self._note_drain(ctx, Wait(IMMEDIATELY_S, Reason.GRACE, "ending the app's pods"))
        try:
            outcome = self._lifecycle.drain(ctx)
        except RefusedError as error:  # the namespace is terminating already, and its pods with it
            log.warning("drain_refused", error=str(error))
            outcome = Done()
        if isinstance(outcome, Wait):
            return self._note_drain(ctx, outcome)
        return self.end(job, JobState.COMPLETED, *ENDS[reason], now=now)

    def _note_drain(self, ctx: Context, waiting: Wait) -> Result:
        conditions = with_condition(
            ctx.job.status.conditions,
            ConditionType.DRAINED,
            true=False,
            reason=waiting.reason,
            message=waiting.message,
            now=ctx.now,
        )
        write_changed(self._writer, ctx.job, ctx.job.status.model_copy(update={"conditions": conditions}))
        return Result("draining", waiting.requeue_after_s, waiting.message)

    def end(
        self, job: Job, state: JobState, reason: Reason, message: str, *, now: datetime, status: JobStatus | None = None
    ) -> Result:
        """Write the end of the job. The next reconcile removes its objects."""
        status = status or job.status
        if state not in TRANSITIONS[status.job_status]:
            raise AssertionError(f"{job.record}: job_status cannot change from {status.job_status} to {state}")
        status = close_account(status, now if self._is_clock_trusted() else None).model_copy(
            update={
                "job_status": state,
                "exit_code": EXIT_CODES[state],
                "end_time": now,
                "reason": str(reason),
                "message": message,
                "substatus": Substatus.REMOVING if job.spec.accepted and not self._is_kept(job) else Substatus.NONE,
                "conditions": with_condition(
                    status.conditions, ConditionType.ENDED, true=True, reason=reason, message=message, now=now
                ),
            }
        )
        write_changed(self._writer, job, status)
        metrics.count_end(str(reason))
        log.info("job_ended", status=str(state), reason=str(reason), message=message)
        return Result("ended", IMMEDIATELY_S, f"{reason}: {message}")

    def _is_kept(self, job: Job) -> bool:
        return self._lifecycle.explain_kept(job, self._site) is not None

    def after_end(self, ctx: Context) -> Result:
        job = ctx.job
        if not job.deleting and job.status.is_true(ConditionType.REMOVED):
            return self.retain(job, ctx.now)
        kept = self._lifecycle.explain_kept(job, self._site)
        if kept is not None:
            if _has_ended_pods(job.status) and job.status.condition(ConditionType.REMOVED) is None:
                self._lifecycle.let_run(ctx)
            self._write_removed(job, true=False, reason=Reason.KEPT, message=kept, now=ctx.now)
            return Result("kept")
        waiting = self._remove_all(ctx)
        if waiting is not None:
            if _is_worth_a_note(ctx, waiting):
                self._write_removed(job, true=False, reason=waiting.reason, message=waiting.message, now=ctx.now)
            return Result("removing", waiting.requeue_after_s, waiting.message)
        if job.deleting:
            self._writer.set_finalizer(job, present=False)
            return Result("released")
        self._write_removed(job, true=True, reason=Reason.OK, message="", now=ctx.now)
        return Result("removed", IMMEDIATELY_S)

    def _remove_all(self, ctx: Context) -> Wait | None:
        """
        Call every stage's `remove`, from the last stage to the first. Returns None when everything is removed.

        After an error the other stages are still removed. A stage that waits stops the removal of the stages before it.
        """
        first: Wait | None = None
        for stage in reversed(self._lifecycle.stages):
            if stage.remove is None:
                continue
            try:
                outcome = stage.remove(ctx)
            except KnsError as error:
                log.warning("removal_failed", stage=stage.name, error=str(error))
                outcome = Wait(_REMOVAL_RETRY_AFTER_S, Reason.REMOVING, f"{stage.name}: {error}")
                first = first or outcome
                continue
            if isinstance(outcome, Failed):
                outcome = Wait(_REMOVAL_RETRY_AFTER_S, outcome.reason, outcome.message)
            if isinstance(outcome, Wait):
                return first or outcome
        return first

    def _write_removed(self, job: Job, *, true: bool, reason: Reason, message: str, now: datetime) -> None:
        conditions = with_condition(
            job.status.conditions, ConditionType.REMOVED, true=true, reason=reason, message=message, now=now
        )
        is_over = true or reason is Reason.KEPT
        noted = job.status.stuck if conditions == job.status.conditions else Stuck(reason=Reason.REMOVING, since=now)
        changes = {
            "conditions": conditions,
            "substatus": Substatus.NONE if is_over else Substatus.REMOVING,
            "stuck": None if is_over else noted,
        }
        write_changed(self._writer, job, job.status.model_copy(update=changes))

    def retain(self, job: Job, now: datetime) -> Result:
        """Keep the record and its output for the retention time, then delete the record."""
        waiting = self.await_retention(Retained(job.spec.user, job.status.end_time or now), now)
        if waiting is not None:
            return waiting
        if not self.may_end_by_time(job):
            return Result("retained", CLOCK_RETRY_AFTER_S)
        self._writer.delete(job)
        return Result("expired")

    def await_retention(self, retained: Retained, now: datetime) -> Result | None:
        """`retain` for a job that need not be parsed; None if its record is due."""
        left_s = (retained.end + timedelta(seconds=self._site.retention_s) - now).total_seconds()
        if left_s <= 0:
            return None
        may_be_more = self._expire_surplus(retained.user)
        return Result("retained", min(left_s, _SURPLUS_AFTER_S) if may_be_more else left_s)

    def _expire_surplus(self, username: str) -> bool:
        """
        Delete the user's oldest ended records beyond the site's limit, a few at once; whether there may be more. It
        costs nothing while there are fewer.
        """
        if self._site.retained_jobs == 0:
            return False
        surplus = self._store.list_surplus(username, most=self._site.retained_jobs)
        for job in surplus:
            log.info("record_surplus", surplus=job.record, user=username)
            self._writer.delete(job)
        return len(surplus) == MOST_SURPLUS


def _has_ended_pods(status: JobStatus) -> bool:
    """Whether pods were ended on purpose before the job did."""
    return status.rest is not Rest.AWAKE or status.condition(ConditionType.DRAINED) is not None


def _is_worth_a_note(ctx: Context, waiting: Wait) -> bool:
    """
    Whether the record shall say what the removal waits for: not in its first seconds, and from then on ever less often.

    A note is a change of the record, which starts the next try, and an error may have another text at each try.
    """
    end, stuck = ctx.job.status.end_time, ctx.job.status.stuck
    if stuck is not None and stuck.reason == Reason.REMOVING:
        noted_after_s = (stuck.since - (end or stuck.since)).total_seconds()
        pause_s = min(max(noted_after_s / 2, _NOTED_AFTER_S), _NOTED_AT_LEAST_EACH_S)
        return ctx.elapsed_since(stuck.since).total_seconds() >= pause_s
    if waiting.reason is not Reason.REMOVING or end is None:  # a record without a time of its end cannot tell
        return True
    return ctx.elapsed_since(end).total_seconds() >= _NOTED_AFTER_S
