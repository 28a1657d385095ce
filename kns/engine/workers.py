"""Threads that take keys from the queue and reconcile them. An error requeues the key and never ends the thread."""

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

_RETRY_AFTER_S = 1.0


class Workers:
    """
    `may_work` is called before each reconcile; while it returns False, keys wait.

    `on_death` is called if a thread ends although it was not stopped. It must end the process, because a leader without
    workers would stop all jobs from making progress.
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
        self._run_ids = itertools.count(1)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for number in range(self._count):
            thread = threading.Thread(target=self._live, name=f"worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Hand out no more keys and wait for the running reconciles. Returns whether all ended in time."""
        self._queue.close()
        deadline = self._clock.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _live(self) -> None:
        try:
            self._work()
        except BaseException:
            self._on_death()  # before the log, which may be what failed
            log.exception("worker_died")

    def _work(self) -> None:
        while (key := self._queue.take()) is not None:
            metrics.set_queue_depth(self._queue.depth)
            try:
                if not self._may_work():
                    self._queue.add_after(key, _RETRY_AFTER_S)
                    continue
                with bound(job=key, pass_id=next(self._run_ids)):
                    self._reconcile(key)
            finally:
                self._queue.done(key)

    def _reconcile(self, key: str) -> None:
        began = self._clock.monotonic()
        summary, detail, requeue_after_s = "error", "", None
        try:
            result = self._reconciler.reconcile(key)
            summary, detail, requeue_after_s = result.summary, result.detail, result.requeue_after_s
            self._queue.forget_failures(key)
            if requeue_after_s is not None:
                self._queue.add_after(key, requeue_after_s)
        except ConflictError:
            summary, requeue_after_s = "conflict", self._queue.add_failed(key)
        except TransientError as error:
            summary, detail = "transient", str(error)
            requeue_after_s = self._queue.add_failed(key, at_least_s=error.retry_after_s or 0.0)
        except Exception as error:  # a bug in kns: log it, keep the worker, try again later
            summary, detail = "error", repr(error)
            requeue_after_s = self._queue.add_failed(key)
            log.exception("reconcile_crashed")
        duration_s = self._clock.monotonic() - began
        metrics.observe_reconcile(outcome=summary, duration_s=duration_s)
        log.info(
            "reconcile_finished",
            outcome=summary,
            detail=detail,
            requeue_after_s=requeue_after_s,
            duration_s=round(duration_s, 3),
        )
