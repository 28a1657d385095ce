"""
The streams of the Launcher: resource use and output here, status in `status_streams`. Each belongs to a request and
ends with a request of the same id that cancels it.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kns.launcher.frames import Outbox
from kns.launcher.requests import ResponseType, TooManyError, choose_code, describe
from kns.logs import get_logger
from kns.model.errors import InvalidInputError, KnsError, MetricsMissingError
from kns.plain.errors import NotRunningError
from kns.plain.output import Kind, Output
from kns.plain.state import Status
from kns.plain.views import EVERYBODY, JobViews, View

log = get_logger(__name__)

ALL_JOBS = "*"
USAGE_INTERVAL_S = 10.0  # metrics-server measures every 15 s by default
MOST_STREAMS = 2000  # of one kind; the Launcher itself opens one of all jobs, and a few per open page
MOST_STREAMS_OF_ONE = 100  # of one kind and one user: far more than pages that one person has open
MOST_OUTPUTS = 300  # each is a thread and a connection
MOST_OUTPUTS_OF_ONE = 50
_LONGEST_CHARACTER = 12  # bytes of JSON: two escapes
_LONGEST_OUTPUT_ENVELOPE = 200  # bytes of a piece of output beside its text
_MOST_USAGE_FAILURES = 3  # of one job, one after the other, before its streams end

Shown = tuple[str, str, str]  # name of the job, status and message, as the Launcher has them


@dataclass(slots=True)
class Stream:
    request_id: int
    user: str
    job_id: str
    sent: dict[str, Shown] = field(default_factory=dict)  # by job
    count: int = 0

    def next_sequence(self) -> dict[str, int]:
        self.count += 1
        return {"requestId": self.request_id, "seqId": self.count}

    def sees(self, view: View) -> bool:
        return self.job_id in (ALL_JOBS, view.id) and self.user in (EVERYBODY, view.job.user)


class Streams:
    """All open streams of one kind, which one thread serves."""

    def __init__(self, jobs: JobViews, outbox: Outbox, *, shared: Collection[str] = (EVERYBODY,)) -> None:
        """`shared` are users who ask for many, and have no share."""
        self._jobs = jobs
        self._outbox = outbox
        self._shared = shared
        self._streams: dict[int, Stream] = {}
        self._wake = threading.Condition()

    def cancel(self, request_id: int) -> bool:
        with self._wake:
            return self._streams.pop(request_id, None) is not None

    def wake(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def _add(self, stream: Stream) -> None:
        """The caller holds `_wake`."""
        require_room(self._streams, stream.request_id, MOST_STREAMS)
        users = [each.user for each in self._streams.values()]
        require_share(users, stream.user, MOST_STREAMS_OF_ONE, shared=self._shared)
        self._streams[stream.request_id] = stream
        self._wake.notify_all()


class ResourceStreams(Streams):
    """All streams of what jobs use. `run` is the thread that measures: each job once, for all its streams."""

    def __init__(self, jobs: JobViews, outbox: Outbox, *, shared: Collection[str] = (EVERYBODY,)) -> None:
        super().__init__(jobs, outbox, shared=shared)
        self._failures: dict[str, int] = {}
        self._due: set[str] = set()
        self._next_all = time.monotonic() + USAGE_INTERVAL_S
        jobs.subscribe(self._note)

    def open(self, request_id: int, user: str, job_id: str) -> None:
        """
        Raises:
            UnknownJobError: there is no such job.
            NotRunningError: it does not run.
            TooManyError: there are too many streams.
        """
        view = self._jobs.find(job_id, user)
        if view.state.status not in (Status.RUNNING, Status.SUSPENDED):
            raise NotRunningError(f"Job {job_id} is not running.")
        with self._wake:
            self._add(Stream(request_id, user, job_id))
            self._due.add(job_id)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            for job_id in self._take(stop):
                if stop.is_set():
                    return
                self._measure_safely(job_id)

    def _note(self, job_id: str) -> None:
        """A job that changed may have ended."""
        with self._wake:
            if any(stream.job_id == job_id for stream in self._streams.values()):
                self._due.add(job_id)
                self._wake.notify_all()

    def _take(self, stop: threading.Event) -> list[str]:
        """The jobs with new streams or changes, and after each interval all, however many of them change."""
        with self._wake:
            if not self._due and not stop.is_set():
                self._wake.wait(max(0.0, self._next_all - time.monotonic()))
            taken, self._due = self._due, set()
            if time.monotonic() >= self._next_all:
                self._next_all = time.monotonic() + USAGE_INTERVAL_S
                taken = {stream.job_id for stream in self._streams.values()}
                self._failures = {key: count for key, count in self._failures.items() if key in taken}
            return sorted(taken)

    def _measure_safely(self, job_id: str) -> None:
        try:
            usage = self._jobs.read_usage(job_id)
        except NotRunningError:
            self._send(job_id, {"complete": True}, ends=True)
        except MetricsMissingError as error:
            self._fail(job_id, error)
        except KnsError as error:
            failures = self._failures.get(job_id, 0) + 1
            self._failures[job_id] = failures
            if failures >= _MOST_USAGE_FAILURES:
                self._fail(job_id, error)
        except Exception:  # a bug; the other jobs must still be measured
            log.exception("resource_stream_crashed", job=job_id)
        else:
            self._failures.pop(job_id, None)
            if usage is not None:
                body = {"cpuPercent": usage.cpu_percent, "residentMemory": usage.resident_mb, "complete": False}
                self._send(job_id, body, ends=False)

    def _send(self, job_id: str, body: Mapping[str, Any], *, ends: bool) -> None:
        with self._wake:
            found = [stream for stream in self._streams.values() if stream.job_id == job_id]
            sequences = [stream.next_sequence() for stream in found]
            if ends:
                self._forget(job_id)
        if sequences:
            self._outbox.send(ResponseType.JOB_RESOURCES, {"requestId": 0, "sequences": sequences, **body})

    def _fail(self, job_id: str, error: KnsError) -> None:
        with self._wake:
            ids = [stream.request_id for stream in self._streams.values() if stream.job_id == job_id]
            self._forget(job_id)
        for request_id in ids:
            self._outbox.send_error(request_id, choose_code(error), describe(error))

    def _forget(self, job_id: str) -> None:
        self._streams = {key: stream for key, stream in self._streams.items() if stream.job_id != job_id}
        self._failures.pop(job_id, None)


class OutputStreams:
    """All streams of output, each with a thread of its own: a log may be silent for hours."""

    def __init__(
        self, make: Callable[[str, Kind], Output], outbox: Outbox, *, shared: Collection[str] = (EVERYBODY,)
    ) -> None:
        """`shared` are users who ask for many, and have no share."""
        self._make = make
        self._outbox = outbox
        self._shared = shared
        self._outputs: dict[int, Output] = {}
        self._running: list[str] = []  # the users of threads; one of a cancelled stream may wait for the API server
        self._lock = threading.Lock()

    def open(self, request_id: int, user: str, job_id: str, kind: Kind) -> None:
        """
        Raises:
            TooManyError: there are too many streams.
        """
        output = self._make(job_id, kind)
        with self._lock:
            require_room(self._outputs, request_id, MOST_OUTPUTS, used=len(self._running))
            require_share(self._running, user, MOST_OUTPUTS_OF_ONE, shared=self._shared)
            self._running.append(user)
            self._outputs[request_id] = output
        thread = threading.Thread(
            target=self._run_counted, args=(request_id, user, output), name=f"output-{request_id}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            with self._lock:
                self._running.remove(user)
                self._outputs.pop(request_id, None)
            raise TooManyError("the system has no room for another thread of the plugin; try again") from error

    def cancel(self, request_id: int) -> bool:
        with self._lock:
            output = self._outputs.pop(request_id, None)
        if output is not None:
            output.cancel()
        return output is not None

    def _run_counted(self, request_id: int, user: str, output: Output) -> None:
        try:
            self._run(request_id, output)
        finally:
            with self._lock:
                self._running.remove(user)

    def _run(self, request_id: int, output: Output) -> None:
        sequence, most = 0, (self._outbox.room - _LONGEST_OUTPUT_ENVELOPE) // _LONGEST_CHARACTER

        def emit(kind: Kind, text: str) -> None:
            nonlocal sequence
            for start in range(0, len(text), most):
                sequence += 1
                body = {"complete": False, "output": text[start : start + most], "outputType": str(kind)}
                self._send(request_id, sequence, body)

        try:
            output.run(emit)
        except Exception as error:
            if not isinstance(error, KnsError):
                log.exception("output_stream_crashed", request=request_id)
            if self._end(request_id, output):
                self._outbox.send_error(request_id, choose_code(error), describe(error))
            return
        if self._end(request_id, output):
            self._send(request_id, sequence + 1, {"complete": True})

    def _send(self, request_id: int, sequence: int, body: Mapping[str, Any]) -> None:
        self._outbox.send(ResponseType.JOB_OUTPUT, {"requestId": request_id, "seqId": sequence, **body})

    def _end(self, request_id: int, output: Output) -> bool:
        """Whether the stream ended by itself. A cancelled one gets no response."""
        with self._lock:
            if self._outputs.get(request_id) is not output:
                return False
            del self._outputs[request_id]
            return True


def require_room(streams: Mapping[int, object], request_id: int, most: int, *, used: int = 0) -> None:
    if request_id in streams:
        raise InvalidInputError("requestId", f"{request_id} already has a stream; cancel it first")
    if max(len(streams), used) >= most:
        raise TooManyError(f"{most} streams of this kind are open; cancel some of them")


def require_share(users: Sequence[str], user: str, most: int, *, shared: Collection[str]) -> None:
    """Those who ask for many users (`shared`) have what all have."""
    if user not in shared and users.count(user) >= most:
        raise TooManyError(f"{most} streams of this kind are open for this user; cancel some of them")
