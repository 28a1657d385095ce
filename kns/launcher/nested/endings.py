"""
What follows the end of a nested job: its output is saved, then its cluster ends.

The job's user controls how its cluster sends the output. So each output has a limited time, and each user a share of
the workers; otherwise the outputs of others would be lost with their clusters.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator

from kns.launcher.nested.known import KnownJob, KnownJobs
from kns.launcher.nested.outputs import OutputFiles
from kns.launcher.nested.site import KnsSite
from kns.logs import get_logger
from kns.model.errors import KnsError, NotFoundError, RefusedError, UnavailableError, clip
from kns.plain import names
from kns.plain.ports import MIXED, Cluster, LogStream
from kns.plain.stored import Stored, find_container, read_time
from kns.ports import Clock

log = get_logger(__name__)

_LATE_S = 10.0  # between two looks at a job that has ended and whose cluster remains
_TURN_S = 2.0  # until the next look at a job whose output waits for other outputs of its user
LINGER_S = 60.0  # from the end of a job to the end of its cluster: each plugin that knows the job saves the output
GIVE_UP_S = 600.0  # an output that cannot be read does not keep the cluster longer
_MOST_SAVE_S = 60.0  # for one output: whoever sends it slowly holds one of the savers
_MOST_SAVES_OF_ONE = 2  # of one user, at a time; whoever sends outputs slowly must not make others lose theirs


class Endings:
    """Saves the outputs of jobs and ends their clusters. Safe for use in many threads."""

    def __init__(
        self, records: Cluster, site: KnsSite, known: KnownJobs, *, outputs: OutputFiles, clock: Clock
    ) -> None:
        self._records = records
        self._site = site
        self._known = known
        self._outputs = outputs
        self._clock = clock
        self._saves: Counter[str] = Counter()  # by user
        self._logs: dict[str, tuple[float, LogStream]] = {}  # by job: until when its output may be read
        self._lock = threading.Lock()  # of both

    def close_slow_logs(self) -> None:
        """A reader that waits for the next part of an output would not notice that its time is over."""
        with self._lock:
            slow = [stream for until, stream in self._logs.values() if self._clock.monotonic() > until]
        for stream in slow:
            stream.close()

    def look(self, stored: Stored, known: KnownJob) -> None:
        """
        Save the output while there is a cluster, then end the cluster. The caller holds `known.lock`.

        Raises:
            KnsError: kns or a cluster did not do it; the next look repeats it.
        """
        known.due = self._clock.monotonic() + _LATE_S
        ended = read_time(stored.end.get("ended"))
        pod = str(stored.end.get("pod") or "")
        is_saved = not (stored.end.get("hasRun") and pod) or self._outputs.has(stored.id)
        if not is_saved:
            saved = self._save(stored, known, pod)
            if saved is None:  # others of its user come first
                known.due = self._clock.monotonic() + _TURN_S
                return
            is_saved = saved
        age_s = (self._clock.now() - ended).total_seconds() if ended else LINGER_S
        lingers = bool(stored.end.get("hasRun")) and age_s < LINGER_S
        if (is_saved and not lingers) or age_s > GIVE_UP_S:
            self._site.terminate(known.number)
            self._records.patch_job(stored.id, {"metadata": {"annotations": {names.NESTED_OVER: "true"}}})
            self._known.forget(stored.id)

    def _save(self, stored: Stored, known: KnownJob, pod: str) -> bool | None:
        """Whether there is nothing left to save; None if the user's other outputs must be saved first."""
        user = stored.job.user
        with self._lock:
            if self._saves[user] >= _MOST_SAVES_OF_ONE:
                return None
            self._saves[user] += 1
        try:
            return self._read_output(stored, known, pod)
        finally:
            with self._lock:
                self._saves[user] -= 1
                if not self._saves[user]:
                    del self._saves[user]

    def _read_output(self, stored: Stored, known: KnownJob, pod: str) -> bool:
        try:
            pods = [each for each in known.inner.read_pods(stored.id) if each["metadata"]["name"] == pod]
            container = str(find_container(pods[0]["spec"]).get("name") or "") if pods else ""
            if not container:
                return True
            until = self._clock.monotonic() + _MOST_SAVE_S
            stream = known.inner.open_log(pod, container, stream=MIXED, since="", follow=False)
            with self._lock:
                self._logs[stored.id] = (until, stream)
            try:
                self._outputs.store(stored.id, self._read_in_time(stream, until))
            finally:
                with self._lock:
                    del self._logs[stored.id]
                stream.close()
        except (NotFoundError, RefusedError, KeyError, TypeError, AttributeError):
            return True  # the pod, or its log, is gone, or it is none that Kubernetes makes
        except KnsError as error:
            log.warning("nested_output_not_saved", job=stored.id, error=clip(str(error)))
            found = self._site.read(known.number)
            return found is None or found.is_ended
        return True

    def _read_in_time(self, stream: LogStream, until: float) -> Iterator[bytes]:
        """
        The parts of an output.

        Raises:
            UnavailableError: it takes too long.
        """
        for part in itertools.chain(stream, (b"",)):  # a stream that was closed ends like a complete one
            if self._clock.monotonic() > until:
                raise UnavailableError(f"the output is not complete after {_MOST_SAVE_S:.0f} s")
            yield part
