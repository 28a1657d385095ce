"""A task of the leader that is repeated, in a thread of its own. It knows nothing of what the task does."""

import threading
from collections.abc import Callable

from kns.logs import get_logger
from kns.model.errors import KnsError

log = get_logger(__name__)

RETRY_S = 60.0


class Periodic:
    """
    `task` returns the seconds until its next call. After an error, or if it returns None, they are `interval_s`. The
    first call is after `first_s`. Only the leader works, so `may_work` is asked before each call.

    A process that ends does not wait for the thread.
    """

    def __init__(
        self,
        name: str,
        task: Callable[[], float | None],
        *,
        may_work: Callable[[], bool],
        interval_s: float = RETRY_S,
        first_s: float = 0.0,
    ) -> None:
        self.name = name
        self._task = task
        self._may_work = may_work
        self._interval_s = interval_s
        self._first_s = first_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Begin no further work. Returns whether the running work ended in time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def call(self) -> float:
        """Call the task once, if this replica may work. Returns the seconds until the next call."""
        delay_s = None
        if self._may_work():
            try:
                delay_s = self._task()
            except KnsError as error:
                log.warning("periodic_task_failed", task=self.name, error=str(error))
            except Exception:  # a bug in kns must not stop all further calls
                log.exception("periodic_task_crashed", task=self.name)
        return self._interval_s if delay_s is None else delay_s

    def _run(self) -> None:
        delay_s = self._first_s
        while not self._stop.wait(delay_s):
            delay_s = self.call()
