"""Threads that take keys from the queue and run passes; what a pass raises becomes a later look, not a dead thread."""

import itertools
import threading
from collections.abc import Callable

from kns import metrics
from kns.engine.queue import WorkQueue
from kns.engine.reconciler import Reconciler
from kns.logs import bound, get_logger
from kns.model.errors import ConflictError, TransientError
from kns.ports import Clock

log = get_logger(__name__)

_HOLD_S = 1.0


class Workers:
    """
    `may_work` is asked before each pass: while it says no, keys wait.

    `on_death` is told if a thread ends before it was stopped, and must end the process: with the lead in the hands of
    a process that works no more, all jobs would stand still.
    """

    def __init__(
        self,
        queue: WorkQueue,
        reconciler: Reconciler,
        *,
        clock: Clock,
        count: int,
        may_work: Callable[[], bool],
        on_death: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._reconciler = reconciler
        self._clock = clock
        self._count = count
        self._may_work = may_work
        self._on_death = on_death
        self._passes = itertools.count(1)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for number in range(self._count):
            thread = threading.Thread(target=self._live, name=f"worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Hand out no further key and let the passes in flight end; whether all did in time."""
        self._queue.close()
        deadline = self._clock.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _live(self) -> None:
        try:
            self._work()
        except BaseException:
            self._on_death()  # first, for the log may be what failed
            log.exception("worker_died")

    def _work(self) -> None:
        while (key := self._queue.take()) is not None:
            metrics.set_queue_depth(self._queue.depth)
            try:
                if not self._may_work():
                    self._queue.add_after(key, _HOLD_S)
                    continue
                with bound(job=key, pass_id=next(self._passes)):
                    self._pass(key)
            finally:
                self._queue.done(key)

    def _pass(self, key: str) -> None:
        began = self._clock.monotonic()
        outcome, detail, after_s = "error", "", None
        try:
            result = self._reconciler.reconcile(key)
            outcome, detail, after_s = result.outcome, result.detail, result.requeue_s
            self._queue.forget_failures(key)
            if after_s is not None:
                self._queue.add_after(key, after_s)
        except ConflictError:
            outcome, after_s = "conflict", self._queue.add_failed(key)
        except TransientError as error:
            outcome, detail = "transient", str(error)
            after_s = self._queue.add_failed(key, at_least_s=error.retry_after_s or 0.0)
        except Exception as error:  # a fault of ours: keep the worker, tell, look again
            outcome, detail = "error", repr(error)
            after_s = self._queue.add_failed(key)
            log.exception("pass_crashed")
        duration_s = self._clock.monotonic() - began
        metrics.observe_pass(outcome=outcome, duration_s=duration_s)
        log.info("pass_finished", outcome=outcome, detail=detail, after_s=after_s, duration_s=round(duration_s, 3))
