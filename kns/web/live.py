"""
Keep open pages current: tell each page when the job that it shows has changed.

One instance serves all pages of a process. The watch of the records calls `wake`, so a page whose job does not change
costs nothing but a comment line now and then. Nothing here reads the records per page. A stream carries no data of a
job, only the word that it changed: the page then asks for itself again, as that user, with all checks.

A job's output is not part of its record, so no watch reports it. While the output of a job with an open page may grow,
one task reads it, a few jobs at a time.
"""

import asyncio
import itertools
import random
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from kns.logs import get_logger
from kns.model.errors import KnsError, clip
from kns.model.job.conditions import ConditionType
from kns.model.job.job import Job, JobState

MAX_STREAMS = 1000  # of all pages in one process; a stream needs about 50 KiB
MAX_STREAMS_OF_USER = 20  # as many tabs as a person may have open; a browser itself opens 6 to one host over HTTP/1.1
GATHER_S = 1.0  # changes within this time become one event, so that a page is rendered at most once in it
PING_S = 25.0  # proxies close a connection without data after 30 s or more
STREAM_S = 900.0  # then the browser connects anew and is authenticated again
OUTPUT_S = 2.0  # between two reads of outputs; the leader stores a growing log about as often
OUTPUTS_PER_TURN = 10  # outputs read in one turn, so that many starting jobs do not burden the host's API
RETRY_MS = 3000  # after which a browser connects again, at the earliest
RETRY_SPREAD_MS = 5000  # by which it differs, so that the pages of a replica that ended do not all come back at once

_CHANGED = b"event: changed\ndata: 1\n\n"
_PING = b": \n\n"

log = get_logger(__name__)


class TooManyPagesError(KnsError):
    """The user, or all users together, have as many live pages as are allowed."""


@dataclass(eq=False, slots=True)
class Listener:
    """
    One open page. `record` is None for a list; `shows` then decides whether a job that changed is in it. It receives
    None for a job whose record is gone.
    """

    user: str
    record: str | None
    shows: Callable[[Job | None], bool]
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class LivePages:
    """The open pages of this process. All methods but `wake` and `close` belong to the thread of the HTTP server."""

    def __init__(self, *, read_job: Callable[[str], Job | None], read_mark: Callable[[Job], Hashable]) -> None:
        """
        `read_job` reads a record from memory. `read_mark` reads from the host a value that differs when the output of
        the job does.
        """
        self._read_job, self._read_mark = read_job, read_mark
        self._users: Counter[str] = Counter()
        self._by_record: defaultdict[str, set[Listener]] = defaultdict(set)
        self._lists: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._marks: dict[str, Hashable] = {}  # of the jobs whose output may grow
        self._outputs: asyncio.Task[None] | None = None
        self._closed = False
        self._lock = threading.Lock()  # guards the two below
        self._woken: set[str] = set()
        self._is_flush_due = False

    def __len__(self) -> int:
        return self._users.total()

    def wake(self, record: str) -> None:
        """A record has changed. Any thread may call it; it does not block."""
        loop = self._loop
        if loop is None:
            return
        with self._lock:
            self._woken.add(record)
            if self._is_flush_due:
                return
            self._is_flush_due = True
        with suppress(RuntimeError):  # the loop has ended, and with it all pages
            loop.call_soon_threadsafe(loop.call_later, GATHER_S, self._flush)

    def close(self) -> None:
        """End all streams, because a server that stops waits for them. Any thread may call it."""
        self._closed = True
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake_all)

    def listen(
        self, user: str, *, job: Job | None = None, shows: Callable[[Job | None], bool] | None = None
    ) -> Listener:
        """
        Register a page about `job`, or a list of the jobs that `shows` selects, by default those of `user`. Call
        `leave` when the page is gone.

        Raises:
            TooManyPagesError: there are too many pages.
        """
        if len(self) >= MAX_STREAMS or self._users[user] >= MAX_STREAMS_OF_USER:
            raise TooManyPagesError(f"{user} has {self._users[user]} live pages, all users have {len(self)}")
        self._loop = asyncio.get_running_loop()
        own = shows or (lambda job: job is not None and job.spec.user == user)
        listener = Listener(user, job.record if job else None, own)
        self._users[user] += 1
        if job is None:
            self._lists.add(listener)
        else:
            self._by_record[job.record].add(listener)
            self._follow_output(job.record, job)
        return listener

    async def stream(self, listener: Listener) -> AsyncIterator[bytes]:
        """The bytes of the stream, until the browser leaves, the server stops, or `STREAM_S` have passed."""
        loop = asyncio.get_running_loop()
        until = loop.time() + STREAM_S * random.uniform(0.8, 1.2)  # noqa: S311 - so that not all come back at once
        retry_ms = RETRY_MS + random.randrange(RETRY_SPREAD_MS)  # noqa: S311 - for the same reason
        yield f"retry: {retry_ms}\n\n".encode()
        while not self._closed and loop.time() < until:
            try:
                await asyncio.wait_for(listener.changed.wait(), PING_S)
            except TimeoutError:
                yield _PING
                continue
            listener.changed.clear()
            if not self._closed:
                yield _CHANGED

    def leave(self, listener: Listener) -> None:
        """The page is gone."""
        self._users[listener.user] -= 1
        if self._users[listener.user] <= 0:
            del self._users[listener.user]
        self._lists.discard(listener)
        if listener.record is None:
            return
        listeners = self._by_record[listener.record]
        listeners.discard(listener)
        if not listeners:
            del self._by_record[listener.record]
            self._marks.pop(listener.record, None)

    def _flush(self) -> None:
        with self._lock:
            woken, self._woken = self._woken, set()
            self._is_flush_due = False
        for record in woken:
            if record not in self._by_record and not self._lists:
                continue
            try:
                job = self._read_job(record)
            except KnsError as error:
                log.warning("live_not_read", record=record, error=clip(str(error)))
                continue
            self._follow_output(record, job)
            self._notify(record, job)

    def _notify(self, record: str, job: Job | None) -> None:
        for listener in self._by_record.get(record, ()):
            listener.changed.set()
        for listener in self._lists:
            if listener.shows(job):
                listener.changed.set()

    def _wake_all(self) -> None:
        for listener in itertools.chain(self._lists, *self._by_record.values()):
            listener.changed.set()

    # --- Output

    def _follow_output(self, record: str, job: Job | None) -> None:
        """Follow the output of a job that deploys; after that it changes only together with the record."""
        if record not in self._by_record:
            return
        if job is None or not _has_growing_output(job):
            self._marks.pop(record, None)
            return
        self._marks.setdefault(record, None)
        if self._outputs is None or self._outputs.done():
            self._outputs = asyncio.get_running_loop().create_task(self._read_outputs())

    async def _read_outputs(self) -> None:
        """Read the outputs in turns while there are any to follow."""
        while self._marks and not self._closed:
            await asyncio.sleep(OUTPUT_S)
            for record in list(self._marks)[:OUTPUTS_PER_TURN]:
                await self._read_output(record)

    async def _read_output(self, record: str) -> None:
        try:
            job = self._read_job(record)
            mark = None if job is None else await run_in_threadpool(self._read_mark, job)
        except KnsError as error:  # it is read again in a moment
            log.info("live_output_not_read", record=record, error=clip(str(error)))
            return
        if record not in self._marks:
            return
        known = self._marks.pop(record)
        self._marks[record] = mark  # at the end of the turn
        if known is not None and known != mark:
            for listener in self._by_record.get(record, ()):
                listener.changed.set()


class EventStream(StreamingResponse):
    """The stream of one page. It leaves its place however it ends, even before its first byte."""

    media_type = "text/event-stream"

    def __init__(self, pages: LivePages, listener: Listener) -> None:
        super().__init__(pages.stream(listener), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._pages, self._listener = pages, listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pages.leave(self._listener)


def _has_growing_output(job: Job) -> bool:
    is_running = job.status.job_status is JobState.PROCESSING
    return is_running and not job.status.is_true(ConditionType.DEPLOYED)
