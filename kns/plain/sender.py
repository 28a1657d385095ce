"""
Sends the inputs of jobs whose container has just started, beside the keeper's other work.

A process that does not read its input holds a worker until the deadline of the call. So inputs have workers of their
own, and one user's inputs are sent one after the other.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

from kns.logs import get_logger
from kns.model.errors import KnsError, RefusedError, TransientError
from kns.plain.inputs import InputFiles
from kns.plain.ports import Cluster
from kns.plain.views import View

log = get_logger(__name__)

_WORKERS = 8  # the number of users whose inputs are sent at a time


class InputSender:
    """Safe for use in many threads."""

    def __init__(self, cluster: Cluster, inputs: InputFiles) -> None:
        self._cluster = cluster
        self._inputs = inputs
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="input")
        self._waiting: dict[str, dict[str, View]] = {}  # by user and job; a user who is here has one worker at most
        self._lock = threading.Lock()
        self._is_closed = False

    def offer(self, view: View) -> None:
        """Send the input of a job whose container runs, as soon as it is its user's turn. It does not block."""
        with self._lock:
            is_new = view.job.user not in self._waiting
            self._waiting.setdefault(view.job.user, {})[view.id] = view
            if is_new:
                self._start(view.job.user)

    def close(self) -> None:
        """Send no more. What has begun ends at its deadline."""
        with self._lock:
            self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def send(self, view: View) -> None:
        """
        Send the input of a job whose container runs, if it has one.

        Raises:
            KnsError: nothing was sent; the next look repeats it.
        """
        claim = self._inputs.claim(view.id)
        if claim is None:
            return
        try:
            self._cluster.send_input(view.state.pod, view.state.container, claim.data)
        except TransientError:
            self._inputs.release(claim)
            raise
        except RefusedError as error:  # a process that does not read its input would hold up a worker again and again
            log.warning("input_not_sent", job=view.id, error=str(error))
        self._inputs.discard(view.id)

    def _start(self, user: str) -> None:
        if not self._is_closed:
            self._pool.submit(self._send_next, user)

    def _send_next(self, user: str) -> None:
        """Users take turns: the next input of this one waits behind those of others."""
        with self._lock:
            waiting = self._waiting[user]
            view = waiting.pop(next(iter(waiting)))
        try:
            self.send(view)
        except KnsError as error:
            log.warning("input_not_sent_yet", job=view.id, error=str(error))
        except Exception:  # a bug; the other inputs must still be sent
            log.exception("keeper_crashed", job=view.id)
        finally:
            with self._lock:
                if self._waiting[user]:
                    self._start(user)
                else:
                    del self._waiting[user]
