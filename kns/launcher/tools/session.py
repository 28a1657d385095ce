"""
`kns posit run`: a small Launcher. It starts the plugin, submits one job, and shows its states and its output.

It speaks the protocol to the real program, so an administrator tests what Workbench would use.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kns.launcher.frames import FrameReader, encode_frame
from kns.model.errors import KnsError

MAX_MESSAGE_BYTES = 5 * 1024 * 1024
ANSWER_S = 120.0  # as the Launcher waits for the start and for a request
STOP_S = 10.0
_READ_BYTES = 65536
_BOOTSTRAP, _SUBMIT, _STATUS, _CONTROL, _OUTPUT = 1, 2, 4, 5, 6
_ERROR, _HEARTBEAT, _JOBS, _STATUS_ANSWER, _OUTPUT_ANSWER = -1, 0, 2, 3, 5
_KILL = 3
ENDED = frozenset({"Finished", "Failed", "Killed", "Canceled"})

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where the session shows things: output of the job by stream, and lines about it."""

    out: Callable[[str], None]
    err: Callable[[str], None]
    note: Callable[[str], None]


class PluginProcess:
    """A plugin program and its frames. Use it as a context manager; it ends the program."""

    def __init__(self, argv: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise KnsError(f"{argv[0]} cannot be started: {error.strerror or error}") from error
        self._reader = FrameReader(max_bytes=MAX_MESSAGE_BYTES)
        self._waiting: list[Message] = []
        self._number = 0

    def __enter__(self) -> "PluginProcess":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._process.stdout.close()

    def send(self, message_type: int, **fields: Any) -> int:
        """Send a request; return its number."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._number += 1
        try:
            self._process.stdin.write(encode_frame({"messageType": message_type, "requestId": self._number, **fields}))
            self._process.stdin.flush()
        except OSError as error:
            raise KnsError(f"the plugin ended: {self._why()}") from error
        return self._number

    def receive(self, limit_s: float) -> Message | None:
        """
        The next message that is no heartbeat; None if none came in time.

        Raises:
            KnsError: the plugin ended, or sent something that is no message.
        """
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        fd = self._process.stdout.fileno()
        deadline = time.monotonic() + limit_s
        while True:
            while self._waiting:
                message = self._waiting.pop(0)
                if message.get("messageType") != _HEARTBEAT:
                    return message
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                return None
            data = os.read(fd, _READ_BYTES)
            if not data:
                raise KnsError(f"the plugin ended: {self._why()}")
            try:
                self._waiting += [json.loads(frame) for frame in self._reader.feed(data)]
            except ValueError as error:
                raise KnsError("the plugin wrote something that is no message to stdout") from error

    def _why(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(STOP_S)
            return f"exit status {code}; its messages are above and in its log file"
        return "it closed its output"


def run_job(
    plugin: PluginProcess, job: Mapping[str, Any], *, user: str, sinks: Sinks, limit_s: float | None = None
) -> int:
    """
    Submit a job and follow it until it ends; its exit code, or 1 if it did not run to its end.

    Ctrl-C kills the job.

    Raises:
        KnsError: the plugin refuses the job, ends, or does not answer.
    """
    plugin.send(_BOOTSTRAP, version={"major": 3, "minor": 0, "patch": 0})
    _expect(plugin, _BOOTSTRAP)
    plugin.send(_SUBMIT, username=user, requestUsername=user, job=dict(job))
    submitted = _expect(plugin, _JOBS)["jobs"][0]
    job_id = submitted["id"]
    sinks.note(f"job {job_id}: {submitted.get('status', 'Pending')}")
    try:
        return _follow(plugin, job_id, user=user, sinks=sinks, limit_s=limit_s)
    except KeyboardInterrupt:
        plugin.send(_CONTROL, jobId=job_id, username=user, operation=_KILL)
        plugin.receive(ANSWER_S)
        sinks.note(f"job {job_id}: killed")
        return 128 + signal.SIGINT


def _follow(plugin: PluginProcess, job_id: str, *, user: str, sinks: Sinks, limit_s: float | None) -> int:
    plugin.send(_STATUS, jobId=job_id, username=user)
    output = plugin.send(_OUTPUT, jobId=job_id, username=user, outputType=2, cancel=False)
    status, has_all_output = "", False
    for message in _messages(plugin, limit_s):
        kind = message.get("messageType")
        if kind == _STATUS_ANSWER and message.get("id") == job_id:
            if message.get("status") != status or message.get("statusMessage"):
                status = str(message.get("status"))
                reason = message.get("statusMessage")
                sinks.note(f"job {job_id}: {status}{f' ({reason})' if reason else ''}")
            has_all_output = has_all_output or status in ("Canceled",)
        elif kind == _OUTPUT_ANSWER and message.get("requestId") == output:
            if text := message.get("output"):
                (sinks.err if message.get("outputType") == "stderr" else sinks.out)(text)
            has_all_output = has_all_output or bool(message.get("complete"))
        elif kind == _ERROR:
            sinks.note(f"error {message.get('errorCode')}: {message.get('errorMessage')}")
            has_all_output = has_all_output or message.get("requestId") == output
        if status in ENDED and has_all_output:
            break
    else:
        raise KnsError(f"job {job_id} did not end within {limit_s:g} s; it goes on")
    plugin.send(3, jobId=job_id, username=user)
    final = _expect(plugin, _JOBS)["jobs"][0]
    code = final.get("exitCode")
    return int(code) if status == "Finished" and isinstance(code, int) else int(status != "Finished")


def _messages(plugin: PluginProcess, limit_s: float | None) -> Iterator[Message]:
    """Messages until the time is over."""
    deadline = None if limit_s is None else time.monotonic() + limit_s
    while True:
        left = ANSWER_S if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return
        message = plugin.receive(min(left, ANSWER_S))
        if message is not None:
            yield message


def _expect(plugin: PluginProcess, kind: int) -> Message:
    """
    The next message of a kind. Others, such as states of other jobs, are passed over.

    Raises:
        KnsError: an error of the plugin, or no answer.
    """
    deadline = time.monotonic() + ANSWER_S
    while (left := deadline - time.monotonic()) > 0:
        message = plugin.receive(left)
        if message is None:
            break
        if message.get("messageType") == _ERROR:
            raise KnsError(f"error {message.get('errorCode')}: {message.get('errorMessage')}")
        if message.get("messageType") == kind:
            return message
    raise KnsError(f"the plugin did not answer within {ANSWER_S:g} s")
