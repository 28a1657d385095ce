"""
The plugin: one method per request of the Launcher, over `kns.plain`. No input or output of its own.

`accept` is called by the one thread that reads requests, in their order. What may wait for the cluster runs in worker
threads, so requests are answered in any order; a cancel is carried out at once, after its stream was opened.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from kns.launcher.fields import read_text
from kns.launcher.frames import FrameTooLargeError, Outbox
from kns.launcher.job_text import JobText, write_jobs
from kns.launcher.own_secret import check_secrets, find_own_secret
from kns.launcher.policy import apply_profile, build_cluster_info
from kns.launcher.ports import Options, Profiles
from kns.launcher.requests import (
    API_VERSION,
    Code,
    NotSupportedError,
    Request,
    RequestType,
    ResponseType,
    StaleError,
    check_version,
    choose_code,
    choose_user,
    describe,
    parse_request,
    read_fields,
    read_filter,
    read_operation,
    read_output_kind,
    require_user,
)
from kns.launcher.shapes import build_state
from kns.launcher.status_streams import StatusStreams
from kns.launcher.streams import ALL_JOBS, OutputStreams, ResourceStreams
from kns.logs import get_logger
from kns.model.errors import InvalidInputError, KnsError, clip
from kns.plain.jobs import PlainJobs
from kns.plain.output import Output
from kns.plain.views import EVERYBODY, View

log = get_logger(__name__)

_MOST_WAITING = 1000  # requests that no worker has taken yet; then the Launcher waits to write
_MOST_WAITING_BYTES = 16 * 1024 * 1024  # their messages; decoded, some kinds of JSON need thirty times as much
_MOST_WAITING_OF_ONE = 200  # of one user; more are refused, so that one user's burst leaves room for the others
_MOST_WAITING_BYTES_OF_ONE = 6 * 1024 * 1024  # one message of the largest, and small ones beside it
_MOST_CONTROLS = 100  # operations that no worker has taken yet; more are refused
_MOST_CONTROLS_OF_ONE = 20  # of one user
_CONTROL_WORKERS = 8  # of their own, because a user's container may hold up one for ten seconds
_MOST_TEXTS = 100_000  # of jobs; the text of a job that changed or is gone was dropped before
_CALLING = frozenset({RequestType.BOOTSTRAP, RequestType.SUBMIT_JOB, RequestType.JOB_NETWORK})
_ABOUT_JOBS = frozenset(
    {RequestType.GET_JOB, RequestType.JOB_STATUS, RequestType.JOB_OUTPUT, RequestType.JOB_RESOURCES}
)
_CHANGING = frozenset({RequestType.SUBMIT_JOB, RequestType.CONTROL_JOB})
_STALE_S = 90.0  # the Launcher gives up after 120 s, and a submission takes up to 30; nobody would know of the job
_SLOW_S = 5.0  # a request that takes longer is logged


class Plugin:
    def __init__(
        self,
        options: Options,
        jobs: PlainJobs,
        profiles: Profiles,
        outbox: Outbox,
        *,
        make_output: Callable[..., Output],
        await_cluster: Callable[[], None],
        read_token: Callable[[], str] = lambda: "",
    ) -> None:
        """
        `await_cluster` returns once all existing jobs are known, or raises KnsError. `read_token` returns the token
        with which the plugin asks the API server.
        """
        self._options = options
        self._jobs = jobs
        self._profiles = profiles
        self._outbox = outbox
        self._await_cluster = await_cluster
        self._read_token = read_token
        # Administrators ask as everybody, and so does a Launcher without authorization. Workbench may ask as itself.
        self._shared = frozenset({"", EVERYBODY, options.server_user})
        self._statuses = StatusStreams(jobs, outbox, shared=self._shared)
        self._resources = ResourceStreams(jobs, outbox, shared=self._shared)
        self._outputs = OutputStreams(make_output, outbox, shared=self._shared)
        self._waiting: queue.Queue[Request] = queue.Queue(_MOST_WAITING)  # answered from memory
        self._calls: queue.Queue[Request] = queue.Queue(_MOST_WAITING)  # need the cluster, which may be slow
        self._controls: queue.Queue[Request] = queue.Queue(_MOST_CONTROLS)
        self._held_bytes: Counter[str] = Counter()  # of the messages below, by user
        self._held: Counter[tuple[bool, str]] = Counter()  # requests that wait or are answered, by control and user
        self._room = threading.Condition()
        self._answers: dict[int, Callable[[Request], None]] = {
            RequestType.BOOTSTRAP: self._bootstrap,
            RequestType.SUBMIT_JOB: self._submit,
            RequestType.GET_JOB: self._get_jobs,
            RequestType.JOB_STATUS: self._follow_status,
            RequestType.CONTROL_JOB: self._control,
            RequestType.JOB_OUTPUT: self._follow_output,
            RequestType.JOB_RESOURCES: self._follow_resources,
            RequestType.JOB_NETWORK: self._get_network,
            RequestType.CLUSTER_INFO: self._get_cluster_info,
        }
        self._streams: dict[int, StatusStreams | ResourceStreams | OutputStreams] = {
            RequestType.JOB_STATUS: self._statuses,
            RequestType.JOB_RESOURCES: self._resources,
            RequestType.JOB_OUTPUT: self._outputs,
        }
        self._opening: set[tuple[int, int]] = set()  # streams whose request waits for a worker
        self._lock = threading.Lock()
        self._texts: dict[str, tuple[View, JobText]] = {}
        jobs.subscribe(self._forget_text)

    def start(self, stop: threading.Event) -> list[threading.Thread]:
        """The threads of the streams, and the workers. They end with the process."""
        runs: list[tuple[str, Callable[[], None]]] = [
            ("status", lambda: self._statuses.run(stop)),
            ("resources", lambda: self._resources.run(stop)),
            *(
                (f"worker-{index}", lambda: self._work(self._waiting, stop))
                for index in range(self._options.thread_pool_size)
            ),
            *(
                (f"caller-{index}", lambda: self._work(self._calls, stop))
                for index in range(self._options.thread_pool_size)
            ),
            *((f"control-{index}", lambda: self._work(self._controls, stop)) for index in range(_CONTROL_WORKERS)),
        ]
        threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in runs]
        for thread in threads:
            thread.start()
        return threads

    def accept(self, frame: bytes) -> None:
        """Take one message of the Launcher. Whatever it is, the plugin goes on."""
        try:
            request = parse_request(frame)
        except InvalidInputError as error:
            log.warning("request_unreadable", error=str(error))
            self._outbox.send_error(0, Code.INVALID_REQUEST, describe(error))
            return
        if request.type == RequestType.HEARTBEAT:
            return
        stream = self._streams.get(request.type)
        if stream is not None and request.is_cancel:
            with self._lock:
                self._opening.discard((request.type, request.id))
            stream.cancel(request.id)
            return
        if refusal := self._refuse_surplus(request):
            self._outbox.send_error(request.id, *refusal)
            return
        if stream is not None:
            with self._lock:
                self._opening.add((request.type, request.id))
        with self._room:
            self._room.wait_for(
                lambda: not self._held_bytes or self._held_bytes.total() + request.size <= _MOST_WAITING_BYTES
            )
            self._held_bytes[request.user] += request.size
            self._held[_holder(request)] += 1
        self._choose_queue(request).put(request)

    def _choose_queue(self, request: Request) -> "queue.Queue[Request]":
        """
        While the cluster is slow or away, what is in memory is still answered: lists of jobs, states, cluster info.
        """
        if request.type == RequestType.CONTROL_JOB:
            return self._controls
        return self._calls if self._needs_cluster(request) else self._waiting

    def _needs_cluster(self, request: Request) -> bool:
        if request.type in _CALLING:
            return True
        job_id = request.data.get("jobId")
        if request.type not in _ABOUT_JOBS or job_id == ALL_JOBS or not isinstance(job_id, str):
            return False
        try:
            return self._jobs.peek(job_id) is None  # only the cluster knows whether it exists
        except Exception:  # noqa: BLE001 - the caches are not filled yet, or a bug: the worker meets it again
            return False

    def _refuse_surplus(self, request: Request) -> tuple[Code, str] | None:
        """Why a request may not wait; None if it may. Only the thread of `accept` adds requests."""
        is_control = request.type == RequestType.CONTROL_JOB
        if is_control and self._controls.full():
            return Code.CONTROL_FAILURE, "too many operations wait; try again"
        most = _MOST_CONTROLS_OF_ONE if is_control else _MOST_WAITING_OF_ONE
        with self._room:
            count, size = self._held[_holder(request)], self._held_bytes[request.user]
        if request.user in self._shared:
            return None
        what = "operations" if is_control else "requests"
        code = Code.CONTROL_FAILURE if is_control else Code.UNKNOWN
        if count >= most:
            return code, f"{most} {what} of this user wait; try again"
        if size and size + request.size > _MOST_WAITING_BYTES_OF_ONE:
            return code, f"the {what} of this user that wait are too large together ({size} bytes); try again"
        return None

    def _work(self, requests: "queue.Queue[Request]", stop: threading.Event) -> None:
        while not stop.is_set():
            request = requests.get()
            self.answer(request)
            with self._room:
                self._held_bytes[request.user] -= request.size
                self._held[_holder(request)] -= 1
                self._held_bytes, self._held = +self._held_bytes, +self._held  # without users who hold nothing
                self._room.notify_all()

    def answer(self, request: Request) -> None:
        """Answer one request, with an error if there is one."""
        began = time.monotonic()
        try:
            _check_age(request, began)
            self._answers.get(request.type, _refuse)(request)
        except KnsError as error:
            code = choose_code(error)
            log.info("request_refused", type=request.type, request=request.id, code=int(code), error=describe(error))
            self._outbox.send_error(request.id, code, describe(error))
        except Exception as error:  # a bug; the plugin must go on
            log.exception("request_crashed", type=request.type, request=request.id)
            self._outbox.send_error(request.id, Code.UNKNOWN, describe(error))
        finally:
            with self._lock:  # a stream that was refused was not opened
                self._opening.discard((request.type, request.id))
        took_s = time.monotonic() - began
        (log.warning if took_s > _SLOW_S else log.debug)(
            "request_answered", type=request.type, request=request.id, took_s=round(took_s, 3)
        )

    # --- requests

    def _bootstrap(self, request: Request) -> None:
        check_version(request)
        self._await_cluster()
        major, minor, patch = API_VERSION
        version = {"major": major, "minor": minor, "patch": patch}
        self._reply(request, ResponseType.BOOTSTRAP, {"version": version})

    def _submit(self, request: Request) -> None:
        data = request.data.get("job")
        if not isinstance(data, dict):
            raise InvalidInputError("job", "is missing or is not an object")
        user = choose_user(read_text(data, "user"), request, server_user=self._options.server_user)
        job = apply_profile(
            data,
            self._profiles.for_user(user),
            user=user,
            share_process_namespace=self._options.shared_process_namespace,
            can_nest=self._options.can_nest,
        )
        check_secrets(job, find_own_secret(self._read_token(), namespace=self._options.namespace))
        view = self._jobs.submit(job, check=lambda: _check_age(request, time.monotonic()))
        log.info(
            "job_submitted", job=view.id, user=user, requested_by=clip(str(request.data.get("requestUsername")), 64)
        )
        self._reply_jobs(request, [view])
        self._statuses.report_submitted(view)

    def _get_jobs(self, request: Request) -> None:
        user = require_user(request)
        if request.job_id != ALL_JOBS:
            self._reply_jobs(request, [self._jobs.find(request.job_id, user)])
            return
        wanted = read_filter(request.data)
        self._reply_jobs(
            request,
            [
                view
                for view in self._jobs.list_views(user)
                if wanted.tags <= set(view.job.tags)
                and (not wanted.statuses or view.state.status in wanted.statuses)
                and (wanted.start is None or view.stored.submitted >= wanted.start)
                and (wanted.end is None or view.stored.submitted <= wanted.end)
            ],
        )

    def _reply_jobs(self, request: Request, views: list[View]) -> None:
        texts = [self._write_text(view) for view in views]
        listed = write_jobs(texts, read_fields(request.data), room=self._outbox.room)
        if listed.left_out:
            log.warning("jobs_too_large", jobs=len(texts), left_out=listed.left_out, missing=listed.missing)
        self._outbox.send_pieces(ResponseType.JOB_STATE, [b'"requestId":%d,"jobs":' % request.id, *listed.pieces])

    def _write_text(self, view: View) -> JobText:
        """The JSON of a view, which is made once: views of unchanged jobs are the same object."""
        known = self._texts.get(view.id)
        if known is not None and known[0] is view:
            return known[1]
        text = JobText.of(build_state(view, cluster=self._options.cluster), is_completed=view.state.is_completed)
        if len(self._texts) >= _MOST_TEXTS:
            self._texts = {}
        self._texts[view.id] = (view, text)
        return text

    def _forget_text(self, job_id: str) -> None:
        self._texts.pop(job_id, None)

    def _follow_status(self, request: Request) -> None:
        user, job_id = require_user(request), request.job_id
        self._open(request, lambda: self._statuses.open(request.id, user, job_id))

    def _follow_resources(self, request: Request) -> None:
        user, job_id = require_user(request), self._require_one(request)
        self._open(request, lambda: self._resources.open(request.id, user, job_id))

    def _follow_output(self, request: Request) -> None:
        user, job_id, kind = require_user(request), self._require_one(request), read_output_kind(request)
        self._jobs.find(job_id, user)
        self._open(request, lambda: self._outputs.open(request.id, user, job_id, kind))

    def _open(self, request: Request, open_stream: Callable[[], None]) -> None:
        """Open a stream, unless its cancel came first."""
        key = (request.type, request.id)
        with self._lock:
            is_wanted = key in self._opening
        if not is_wanted:
            return
        open_stream()
        with self._lock:
            is_wanted = key in self._opening
            self._opening.discard(key)
        if not is_wanted:
            self._streams[request.type].cancel(request.id)

    def _control(self, request: Request) -> None:
        done = self._jobs.control(self._require_one(request), read_operation(request), require_user(request))
        body: dict[str, Any] = {"statusMessage": done.message, "operationComplete": done.is_complete}
        self._reply(request, ResponseType.CONTROL_JOB, body)

    def _get_network(self, request: Request) -> None:
        host, addresses = self._jobs.read_network(self._require_one(request), require_user(request))
        self._reply(request, ResponseType.JOB_NETWORK, {"host": host, "ipAddresses": addresses})

    def _get_cluster_info(self, request: Request) -> None:
        info = build_cluster_info(self._profiles.for_user(request.user))
        self._reply(request, ResponseType.CLUSTER_INFO, info)

    def _require_one(self, request: Request) -> str:
        if request.job_id == ALL_JOBS:
            raise InvalidInputError("jobId", "* is not possible here; name one job")
        return request.job_id

    def _reply(self, request: Request, message_type: ResponseType, body: dict[str, Any]) -> None:
        try:
            self._outbox.send(message_type, {"requestId": request.id, **body})
        except FrameTooLargeError as error:
            log.warning("response_too_large", type=request.type, request=request.id, error=str(error))
            raise


def _holder(request: Request) -> tuple[bool, str]:
    return request.type == RequestType.CONTROL_JOB, request.user


def _check_age(request: Request, now: float) -> None:
    if request.type in _CHANGING and now - request.received > _STALE_S:
        raise StaleError("the cluster is slow or away, and the request waited too long; nothing was done")


def _refuse(request: Request) -> None:
    raise NotSupportedError(f"messageType {request.type} is not supported by this plugin")
