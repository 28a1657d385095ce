"""A task of the leader that is repeated, in a thread of its own. It knows nothing of what the task does."""

from collections.abc import Callable

from kns.engine.background import Background
from kns.logs import get_logger
from kns.model.errors import KnsError

log = get_logger(__name__)

RETRY_S = 60.0  # after an error


class Periodic(Background):
    """
    `task` returns the seconds until its next call. Only the leader works, so `may_work` is asked before each call.
    """

    def __init__(self, name: str, task: Callable[[], float], *, may_work: Callable[[], bool]) -> None:
        super().__init__(name)
        self._name = name
        self._task = task
        self._may_work = may_work

    def call(self) -> float:
        """Call the task once, if this replica may work. Returns the seconds until the next call."""
        if not self._may_work():
            return RETRY_S
        try:
            return self._task()
        except KnsError as error:
            log.warning("periodic_task_failed", task=self._name, error=str(error))
        except Exception:  # a bug in kns must not stop all further calls
            log.exception("periodic_task_crashed", task=self._name)
        return RETRY_S

    def _run(self) -> None:
        delay_s = 0.0
        while not self._stop.wait(delay_s):
            delay_s = self.call()
