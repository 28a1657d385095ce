"""
The output of one job: live while it runs, and afterwards while its pod exists.

`Output.run` blocks in the caller's thread until the output is complete or `cancel` was called. A job that waits to
start is waited for. Where the server can, stdout and stderr are separate; otherwise both come as one, marked mixed.
"""

import codecs
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum

from kns.model.errors import KnsError, NotFoundError, RefusedError, UnavailableError
from kns.plain.errors import OutputMissingError, UnknownJobError
from kns.plain.logs import LogReader
from kns.plain.ports import MIXED, STDERR, STDOUT, Cluster, LogStream
from kns.plain.state import State, Status
from kns.plain.views import JobViews

_LOOK_AGAIN_S = 5.0  # when no change of the job is announced
_REOPEN_S = 0.5  # between two connections to the log of a job that runs
_MOST_FAILURES = 60  # of the log of a job that has ended, one after the other: about nine minutes with their delays
_MOST_DELAY_S = 10.0


class Kind(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"
    MIXED = "mixed"


_STREAMS = {Kind.STDOUT: STDOUT, Kind.STDERR: STDERR, Kind.MIXED: MIXED}
Emit = Callable[[Kind, str], None]


class Output:
    """One reader of a job's output."""

    def __init__(self, jobs: JobViews, cluster: Cluster, job_id: str, kind: Kind) -> None:
        """`kind` MIXED means both."""
        self._jobs = jobs
        self._cluster = cluster
        self._job_id = job_id
        self._kind = kind
        self._changed = threading.Event()
        self._cancelled = False
        self._open: set[LogStream] = set()
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """End `run` soon, from any thread."""
        with self._lock:
            self._cancelled = True
            streams = tuple(self._open)
        self._changed.set()
        for stream in streams:
            stream.close()

    def run(self, emit: Emit) -> None:
        """
        Pass each piece to `emit`, which may be called by two threads, one after the other.

        Raises:
            OutputMissingError: the job ended before it started, or its pod is gone.
            UnknownJobError: the job was deleted.
        """
        self._jobs.watch(self._job_id, self._changed)
        try:
            state = self._await_start()
            if state is None:
                return
            if self._kind is Kind.MIXED and self._can_split(state):
                self._run_both(emit, state)
            elif self._kind is not Kind.MIXED and not self._can_split(state):
                self._follow(Kind.MIXED, emit, state)
            else:
                self._follow(self._kind, emit, state)
        finally:
            self._jobs.unwatch(self._job_id, self._changed)

    def _await_start(self) -> State | None:
        """The state of the job once it has output; None if the reader was cancelled."""
        while not self._cancelled:
            self._changed.clear()
            state = self._jobs.find(self._job_id).state
            if state.has_run and state.pod:
                return state
            if state.is_completed:
                why = "its pod was deleted" if state.has_run else "it never started"
                raise OutputMissingError(f"Job {self._job_id} has no output, because {why}")
            self._changed.wait(_LOOK_AGAIN_S)
        return None

    def _can_split(self, state: State) -> bool:
        if not self._cluster.can_split_streams():
            return False
        try:
            self._cluster.open_log(state.pod, state.container, stream=STDERR, since="", follow=False).close()
        except RefusedError:
            return False
        except KnsError:
            return True  # the reader repeats what failed for another reason
        return True

    def _run_both(self, emit: Emit, state: State) -> None:
        problems: list[Exception] = []
        lock = threading.Lock()

        def emit_alone(kind: Kind, text: str) -> None:
            with lock:
                emit(kind, text)

        def follow_errors() -> None:
            try:
                self._follow(Kind.STDERR, emit_alone, state)
            except Exception as error:  # noqa: BLE001 - raised again below, in the thread of the caller
                problems.append(error)

        other = threading.Thread(target=follow_errors, name=f"stderr-{self._job_id}", daemon=True)
        other.start()
        try:
            self._follow(Kind.STDOUT, emit_alone, state)
        except BaseException:
            self.cancel()
            raise
        finally:
            other.join()
        if problems:
            raise problems[0]

    def _follow(self, kind: Kind, emit: Emit, state: State) -> None:
        reader, failures = LogReader(), 0
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while not self._cancelled:
            is_last = state.is_completed
            self._changed.clear()
            reader.restart()
            try:
                for data in self._read(kind, state, since=reader.since, follow=not is_last):
                    if (text := decoder.decode(reader.read(data))) and not self._cancelled:
                        failures = 0  # what was passed on before is no progress
                        emit(kind, text)
                if is_last:
                    break
            except NotFoundError as error:
                if self._find_state(state).is_completed:
                    if not reader.has_read:
                        raise OutputMissingError(
                            f"Job {self._job_id} has no output, because its pod was deleted"
                        ) from error
                    break
            except (RefusedError, UnavailableError) as error:
                failures += 1
                if failures > _MOST_FAILURES and is_last:
                    raise OutputMissingError(f"the output of job {self._job_id} cannot be read: {error}") from error
            if not self._cancelled:
                self._changed.wait(min(_REOPEN_S * max(1, failures), _MOST_DELAY_S))
                state = self._find_state(state)
        if not self._cancelled and (text := decoder.decode(b"", final=True)):
            emit(kind, text)

    def _read(self, kind: Kind, state: State, *, since: str, follow: bool) -> Iterator[bytes]:
        stream = self._cluster.open_log(state.pod, state.container, stream=_STREAMS[kind], since=since, follow=follow)
        with self._lock:
            self._open.add(stream)
        try:
            if not self._cancelled:  # `cancel` closes what was added before it
                yield from stream
        finally:
            stream.close()
            with self._lock:
                self._open.discard(stream)

    def _find_state(self, known: State) -> State:
        """The state now. A deleted job has ended; its log may still be read for a moment."""
        try:
            found = self._jobs.find(self._job_id).state
        except UnknownJobError:
            return known if known.is_completed else replace(known, status=Status.KILLED)
        except UnavailableError:
            return known
        return replace(found, pod=found.pod or known.pod, container=found.container or known.container)
