"""
The streams of the Launcher: status, resource use and output. Each belongs to a request and ends with a request of the
same id that cancels it.

Watches tell only that a job changed. One thread reads the state of the jobs that changed and writes what differs from
what each stream has sent, so that a slow Launcher holds up no watch, and several requests share one response. It waits
for no API server: an end that must be confirmed there is written by a thread of a small pool.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from kns.launcher.frames import Outbox
from kns.launcher.requests import ResponseType, TooManyError, choose_code, describe
from kns.logs import get_logger
from kns.model.errors import InvalidInputError, KnsError, MetricsMissingError, UnavailableError
from kns.plain.errors import NotRunningError
from kns.plain.jobs import EVERYBODY, PlainJobs, Usage, View
from kns.plain.output import Kind, Output
from kns.plain.state import COMPLETED, Status

log = get_logger(__name__)

ALL_JOBS = "*"
USAGE_INTERVAL_S = 10.0  # metrics-server measures every 15 s by default
MOST_STREAMS = 2000  # of one kind; the Launcher itself opens one of all jobs, and a few per open page
MOST_STREAMS_OF_ONE = 100  # of one kind and one user: far more than pages that one person has open
MOST_OUTPUTS = 300  # each is a thread and a connection
MOST_OUTPUTS_OF_ONE = 50
_MOST_USAGE_FAILURES = 3  # of one job, one after the other, before its streams end
_CONFIRMERS = 8  # threads; each waits for the API server about one job
_LEASE_S = 30.0  # how long a thread waits at most before it looks whether it shall end

Shown = tuple[str, str, str]  # name of the job, status and message, as the Launcher has them


@dataclass(slots=True)
class _Stream:
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


class StatusStreams:
    """All status streams. `run` is the thread that writes changes."""

    def __init__(self, jobs: PlainJobs, outbox: Outbox) -> None:
        self._jobs = jobs
        self._outbox = outbox
        self._streams: dict[int, _Stream] = {}
        self._changed: set[str] = set()
        self._submitted: dict[str, View] = {}  # by job, until the thread has written them
        self._shown: dict[str, Shown] = {}  # by job: one object for all streams, which may be many
        self._wake = threading.Condition()
        self._writing = threading.Lock()  # orders what is sent about one job; nobody waits for the cluster with it
        self._confirming: set[str] = set()  # jobs about which the API server is asked
        jobs.subscribe(self._note)

    def open(self, request_id: int, user: str, job_id: str) -> None:
        """
        Send the state of every job that the stream sees, and each change from then on. An end is sent once it is
        confirmed.

        Raises:
            UnknownJobError: the stream is of one job, which does not exist.
            TooManyError: there are too many streams.
        """
        views = [] if job_id == ALL_JOBS else [self._jobs.find(job_id, user)]
        stream = _Stream(request_id, user, job_id)
        with self._writing:
            with self._wake:
                _require_room(self._streams, request_id, MOST_STREAMS)
                _require_share([each.user for each in self._streams.values()], user, MOST_STREAMS_OF_ONE)
                self._streams[request_id] = stream
                # What changed before this moment was not reported to the stream.
                self._changed.update(view.id for view in views)
                self._wake.notify_all()
            try:
                for view in self._jobs.list_views(user) if job_id == ALL_JOBS else views:
                    if _is_unconfirmed(view):
                        self._note(view.id)
                    else:
                        self._write(view, [stream])
            except KnsError:
                self.cancel(request_id)
                raise

    def cancel(self, request_id: int) -> bool:
        with self._wake:
            return self._streams.pop(request_id, None) is not None

    def report_submitted(self, view: View) -> None:
        """
        The Launcher knows the job from the response of its submission. If the job is deleted before the first look at
        it, the streams that see it are told of its end, as if they had shown it.
        """
        with self._wake:
            self._submitted[view.id] = view
        self._note(view.id)

    def run(self, stop: threading.Event) -> None:
        with ThreadPoolExecutor(_CONFIRMERS, thread_name_prefix="status") as pool:
            while not stop.is_set():
                for job_id in self._take(stop):
                    with _going_on(job_id):
                        if not self._look(job_id):
                            pool.submit(self._confirm, job_id)

    def wake(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def _note(self, job_id: str) -> None:
        with self._wake:
            self._changed.add(job_id)
            self._wake.notify_all()

    def _take(self, stop: threading.Event) -> list[str]:
        with self._wake:
            while not self._changed and not stop.is_set():
                self._wake.wait(_LEASE_S)
            taken, self._changed = sorted(self._changed), set()
            return taken

    def _look(self, job_id: str) -> bool:
        """Write the job's state from memory. False if that is an end, which the caller must have confirmed."""
        with self._writing:  # before the list: a stream that opens meanwhile gets the change in the same frame
            view = self._jobs.peek(job_id)
            if view is None or not _is_unconfirmed(view) or not self._streams:
                self._report(job_id, view)
                return True
            is_asked = job_id in self._confirming
            self._confirming.add(job_id)
            return is_asked

    def _confirm(self, job_id: str) -> None:
        """
        Ask the API server, then write the job's state: an end is final for the Launcher. If it does not answer, the
        caches decide.
        """
        with _going_on(job_id):
            is_gone = False
            try:
                with contextlib.suppress(KnsError):
                    is_gone = self._jobs.confirm(job_id) is None
            finally:
                with self._writing:
                    self._confirming.discard(job_id)
            with self._writing:  # from the caches, which have the answer, and what changed since
                self._report(job_id, None if is_gone else self._jobs.peek(job_id))

    def _report(self, job_id: str, view: View | None) -> None:
        with self._wake:
            streams = list(self._streams.values())
            submitted = self._submitted.pop(job_id, None)
        if not streams:
            self._shown.clear()  # nobody is told of the jobs that end from now on
            return
        if view is not None:
            self._write(view, [stream for stream in streams if stream.sees(view)])
            return
        if submitted is not None:
            for stream in streams:
                if stream.sees(submitted):
                    stream.sent.setdefault(job_id, _show(submitted))
        self._write_gone(job_id, streams)

    def _write(self, view: View, streams: Iterable[_Stream]) -> None:
        shown = _show(view)
        known = self._shown.get(view.id)
        if known == shown:
            shown = known
        self._shown[view.id] = shown
        behind = [stream for stream in streams if stream.sent.get(view.id) != shown]
        for stream in behind:
            stream.sent[view.id] = shown
        self._send(view.id, shown, behind)

    def _write_gone(self, job_id: str, streams: Iterable[_Stream]) -> None:
        """A completed job has expired. Any other was deleted by somebody, and the Launcher would wait for its end."""
        self._shown.pop(job_id, None)
        followers = [stream for stream in streams if job_id in stream.sent]
        left = [stream for stream in followers if Status(stream.sent[job_id][1]) not in COMPLETED]
        if left:
            name = left[0].sent[job_id][0]
            self._send(job_id, (name, str(Status.KILLED), "the Kubernetes Job was deleted"), left)
        for stream in followers:
            del stream.sent[job_id]

    def _send(self, job_id: str, shown: Shown, streams: Iterable[_Stream]) -> None:
        name, status, message = shown
        with self._wake:
            sequences = [each.next_sequence() for each in streams if self._streams.get(each.request_id) is each]
        if not sequences:
            return
        body: dict[str, Any] = {"requestId": 0, "sequences": sequences, "id": job_id, "name": name, "status": status}
        if message:
            body["statusMessage"] = message
        self._outbox.send(ResponseType.JOB_STATUS, body)


@contextlib.contextmanager
def _going_on(job_id: str) -> Iterator[None]:
    """The other jobs must be reported whatever happens with this one."""
    try:
        yield
    except UnavailableError:  # the caches are not filled yet; the list announces every job again
        return
    except Exception:  # a bug
        log.exception("status_stream_crashed", job=job_id)


def _is_unconfirmed(view: View) -> bool:
    """Whether nobody has stored this end, so that `PlainJobs.confirm` asks the API server."""
    return view.state.is_completed and not view.stored.end


def _show(view: View) -> Shown:
    return view.job.name, str(view.state.status), view.state.message


class ResourceStreams:
    """All streams of what jobs use. `run` is the thread that measures: each job once, for all its streams."""

    def __init__(self, jobs: PlainJobs, outbox: Outbox) -> None:
        self._jobs = jobs
        self._outbox = outbox
        self._streams: dict[int, _Stream] = {}
        self._failures: dict[str, int] = {}
        self._due: set[str] = set()
        self._next_all = time.monotonic() + USAGE_INTERVAL_S
        self._wake = threading.Condition()
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
            _require_room(self._streams, request_id, MOST_STREAMS)
            _require_share([each.user for each in self._streams.values()], user, MOST_STREAMS_OF_ONE)
            self._streams[request_id] = _Stream(request_id, user, job_id)
            self._due.add(job_id)
            self._wake.notify_all()

    def cancel(self, request_id: int) -> bool:
        with self._wake:
            return self._streams.pop(request_id, None) is not None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            for job_id in self._take(stop):
                if stop.is_set():
                    return
                self._measure_safely(job_id)

    def wake(self) -> None:
        with self._wake:
            self._wake.notify_all()

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
                self._send(job_id, {**_build_usage(usage), "complete": False}, ends=False)

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


def _build_usage(usage: Usage) -> dict[str, float]:
    return {"cpuPercent": usage.cpu_percent, "residentMemory": usage.resident_mb}


class OutputStreams:
    """All streams of output, each with a thread of its own: a log may be silent for hours."""

    def __init__(self, make: Callable[[str, Kind], Output], outbox: Outbox) -> None:
        self._make = make
        self._outbox = outbox
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
            _require_room(self._outputs, request_id, MOST_OUTPUTS, used=len(self._running))
            _require_share(self._running, user, MOST_OUTPUTS_OF_ONE)
            self._running.append(user)
            self._outputs[request_id] = output
        threading.Thread(
            target=self._run_counted, args=(request_id, user, output), name=f"output-{request_id}", daemon=True
        ).start()

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
        sequence = 0

        def emit(kind: Kind, text: str) -> None:
            nonlocal sequence
            sequence += 1
            self._send(request_id, sequence, {"complete": False, "output": text, "outputType": str(kind)})

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


def _require_room(streams: Mapping[int, object], request_id: int, most: int, *, used: int = 0) -> None:
    if request_id in streams:
        raise InvalidInputError("requestId", f"{request_id} already has a stream; cancel it first")
    if max(len(streams), used) >= most:
        raise TooManyError(f"{most} streams of this kind are open; cancel some of them")


def _require_share(users: Sequence[str], user: str, most: int) -> None:
    """Administrators ask as everybody, and so does a Launcher without authorization: they have what all have."""
    if user != EVERYBODY and users.count(user) >= most:
        raise TooManyError(f"{most} streams of this kind are open for this user; cancel some of them")
