"""
A Launcher for tests: it speaks the plugin protocol with a real process over stdin and stdout.

Waiting is by condition: `wait` returns the first message that fits, and fails with the last messages.
"""

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S

Message = dict[str, Any]


class Launcher:
    """`messages` has every frame of the plugin, without heartbeats, which `heartbeats` counts."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self.messages: list[Message] = []
        self.heartbeats = 0
        self.is_over = False
        self._arrived = threading.Condition()
        self._next = 1
        self._log = log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send_raw(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send_body(self, body: bytes) -> None:
        self.send_raw(struct.pack(">I", len(body)) + body)

    def send(self, message_type: int, *, request_id: int | None = None, **fields: Any) -> int:
        """Send a request and return its id."""
        if request_id is None:
            request_id, self._next = self._next, self._next + 1
        message = {"messageType": message_type, "requestId": request_id, **fields}
        self.send_body(json.dumps(message).encode())
        return request_id

    def wait(self, fits: Callable[[Message], bool], *, after: int = 0) -> Message:
        """The first message that fits, among those from the position `after` on."""

        def find() -> Message | None:
            return next((message for message in self.messages[after:] if fits(message)), None)

        with self._arrived:
            self._arrived.wait_for(lambda: find() is not None or self.is_over, PATIENCE_S)
            found = find()
        assert found is not None, self._describe(after)
        return found

    def until(self, holds: Callable[[], bool]) -> None:
        """Ask the plugin for something small until a condition holds that no message reports."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, self._describe(0)
            self.ask(9, username="ana")

    def _describe(self, after: int) -> str:
        """The last messages, and the end of the log."""
        shown = "\n".join(json.dumps(message)[:300] for message in self.messages[after:][-8:])
        return f"no such message; the last were:\n{shown}\n{self._log.read_text()[-1500:]}"

    def ask(self, message_type: int, **fields: Any) -> Message:
        """Send a request and wait for its response or error."""
        return self.answer(self.send(message_type, **fields))

    def answer(self, request_id: int) -> Message:
        return self.wait(lambda message: message["requestId"] == request_id)

    def bootstrap(self) -> Message:
        return self.ask(1, version={"major": 3, "minor": 0, "patch": 0})

    def submit(self, **job: Any) -> Message:
        """The job of the response."""
        user = job.pop("user", "ana")
        given = {"name": "a job", "container": {"image": "debian"}, "user": user, **job}
        answer = self.ask(2, username=user, requestUsername=user, job=given)
        assert answer["messageType"] == 2, answer
        found: Message = answer["jobs"][0]
        return found

    def get(self, job_id: str, user: str = "*", **fields: Any) -> Message:
        return self.ask(3, username=user, jobId=job_id, **fields)

    def state(self, job_id: str) -> Message:
        found: Message = self.get(job_id)["jobs"][0]
        return found

    def control(self, job_id: str, operation: int) -> Message:
        return self.ask(5, username="ana", jobId=job_id, operation=operation)

    def follow(self, job_id: str) -> int:
        """Ask for the mixed output of a job; the id of the request."""
        return self.send(6, username="ana", jobId=job_id, outputType=2, cancel=False)

    def wait_status(self, job_id: str, status: str) -> Message:
        """Follow a job until it has this status. One stream of all jobs must be open."""
        return self.wait(lambda m: m["messageType"] == 3 and (m["id"], m["status"]) == (job_id, status))

    def output(self, request_id: int) -> tuple[str, list[Message]]:
        """All text of an output stream, and its messages, once it is complete."""
        self.wait(lambda m: m["requestId"] == request_id and m.get("complete") is True)
        with self._arrived:
            own = [m for m in self.messages if m["messageType"] == 5 and m["requestId"] == request_id]
        return "".join(message.get("output", "") for message in own), own

    def wait_heartbeats(self, count: int) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.heartbeats >= count, PATIENCE_S)

    def close_input(self) -> int:
        """End the input; the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while (head := stream.read(4)) and len(head) == 4:
            body = stream.read(struct.unpack(">I", head)[0])
            message = json.loads(body)
            with self._arrived:
                if message["messageType"] == 0:
                    self.heartbeats += 1
                    assert message == {"messageType": 0, "requestId": 0, "responseId": 0}
                else:
                    self.messages.append(message)
                self._arrived.notify_all()
        with self._arrived:
            self.is_over = True
            self._arrived.notify_all()
