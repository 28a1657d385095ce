"""
The status streams of the Launcher.

Watches tell only that a job changed. One thread reads the state of the jobs that changed and writes what differs from
what each stream has sent, so that a slow Launcher holds up no watch, and several requests share one response. It waits
for no API server: an end that must be confirmed there is written by a thread of a small pool.
"""

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kns.launcher.frames import Outbox
from kns.launcher.requests import ResponseType
from kns.launcher.streams import ALL_JOBS, Shown, Stream, Streams
from kns.logs import get_logger
from kns.model.errors import KnsError, UnavailableError
from kns.plain.state import COMPLETED, Status
from kns.plain.views import EVERYBODY, JobViews, View

log = get_logger(__name__)

_CONFIRMERS = 8  # threads; each waits for the API server about one job
_LEASE_S = 30.0  # how long a thread waits at most before it looks whether it shall end


class StatusStreams(Streams):
    """All status streams. `run` is the thread that writes changes."""

    def __init__(self, jobs: JobViews, outbox: Outbox, *, shared: Collection[str] = (EVERYBODY,)) -> None:
        super().__init__(jobs, outbox, shared=shared)
        self._changed: set[str] = set()
        self._submitted: dict[str, View] = {}  # by job, until the thread has written them
        self._shown: dict[str, Shown] = {}  # by job: one object for all streams, which may be many
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
        stream = Stream(request_id, user, job_id)
        with self._writing:
            with self._wake:
                self._add(stream)
                # What changed before this moment was not reported to the stream.
                self._changed.update(view.id for view in views)
            try:
                for view in self._jobs.list_views(user) if job_id == ALL_JOBS else views:
                    if _is_unconfirmed(view):
                        self._note(view.id)
                    else:
                        self._write(view, [stream])
            except KnsError:
                self.cancel(request_id)
                raise

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

    def _write(self, view: View, streams: Iterable[Stream]) -> None:
        shown = _show(view)
        known = self._shown.get(view.id)
        if known == shown:
            shown = known
        self._shown[view.id] = shown
        behind = [stream for stream in streams if stream.sent.get(view.id) != shown]
        for stream in behind:
            stream.sent[view.id] = shown
        self._send(view.id, shown, behind)

    def _write_gone(self, job_id: str, streams: Iterable[Stream]) -> None:
        """A completed job has expired. Any other was deleted by somebody, and the Launcher would wait for its end."""
        self._shown.pop(job_id, None)
        followers = [stream for stream in streams if job_id in stream.sent]
        left = [stream for stream in followers if Status(stream.sent[job_id][1]) not in COMPLETED]
        if left:
            name = left[0].sent[job_id][0]
            self._send(job_id, (name, str(Status.KILLED), "the Kubernetes Job was deleted"), left)
        for stream in followers:
            del stream.sent[job_id]

    def _send(self, job_id: str, shown: Shown, streams: Iterable[Stream]) -> None:
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
    """Whether nobody has stored this end, so that `JobViews.confirm` asks the API server."""
    return view.state.is_completed and not view.stored.end


def _show(view: View) -> Shown:
    return view.job.name, str(view.state.status), view.state.message
