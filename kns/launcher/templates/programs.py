"""`exec`: a program of the site, with a time limit and a bounded output."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kns.launcher.templates.limits import EXEC_S, MAX_EXEC_ARGUMENTS, MAX_EXEC_BYTES

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class ExecResult:
    """
    What a template sees of a program: the documents fix the names of the fields.

    ExitCode is -1 if the program did not run, was killed by a signal, or took too long. Printed by itself, a result is
    its stdout.
    """

    ExitCode: int = 0
    Err: str | None = None
    Stdout: str = ""
    Stderr: str = ""

    def __str__(self) -> str:
        return self.Stdout


def run_program(
    arguments: Sequence[str], *, folder: Path, limit_s: float = EXEC_S, clock: Callable[[], float] = time.monotonic
) -> ExecResult:
    """Run a program without a shell and without stdin, in a process group that ends with it."""
    if not arguments or len(arguments) > MAX_EXEC_ARGUMENTS:
        return ExecResult(-1, f"exec needs 1 to {MAX_EXEC_ARGUMENTS} arguments, not {len(arguments)}")
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return ExecResult(-1, f"exec: {arguments[0]!r}: {getattr(error, 'strerror', None) or error}")
    with process:
        try:
            (out, err), trouble = _read_outputs(process, clock() + max(0.0, limit_s), limit_s, clock)
        finally:
            _end_group(process)
        process.wait()
    stdout, stderr = (part.decode("utf-8", errors="replace") for part in (out, err))
    if trouble:
        return ExecResult(-1, trouble, stdout, stderr)
    code = process.returncode
    if code < 0:
        return ExecResult(-1, f"signal: {signal.strsignal(-code) or -code}", stdout, stderr)
    return ExecResult(code, f"exit status {code}" if code else None, stdout, stderr)


def _read_outputs(
    process: subprocess.Popen[bytes], deadline: float, limit_s: float, clock: Callable[[], float]
) -> tuple[tuple[bytes, bytes], str]:
    """
    Both outputs, and why reading ended early, "" if it did not.

    Reading ends with the program, not with the last writer: a process that it left behind may hold the pipes open.
    """
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    buffers = [bytearray() for _ in streams]
    exit_fd = os.pidfd_open(process.pid)
    trouble = ""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(exit_fd, selectors.EVENT_READ)
            for stream in streams:
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
            has_ended = False
            while not has_ended and not trouble:
                left = deadline - clock()
                ready = {key.fd for key, _ in selector.select(left)} if left > 0 else set()
                has_ended = exit_fd in ready
                if not ready:
                    trouble = f"the program did not end within {limit_s:g} s"
                for stream, buffer in zip(streams, buffers, strict=True):
                    is_open = stream in selector.get_map()
                    if is_open and (stream.fileno() in ready or has_ended) and not _drain(stream.fileno(), buffer):
                        selector.unregister(stream)
                    if len(buffer) > MAX_EXEC_BYTES:
                        del buffer[MAX_EXEC_BYTES:]
                        trouble = f"the program wrote more than {MAX_EXEC_BYTES} bytes"
    finally:
        os.close(exit_fd)
    return (bytes(buffers[0]), bytes(buffers[1])), trouble


def _drain(fd: int, buffer: bytearray) -> bool:
    """Read what is there, up to the limit. False at the end of the stream."""
    while len(buffer) <= MAX_EXEC_BYTES:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        buffer += chunk
    return True


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what the program left behind. It is not reaped yet, so the number of its group is still its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
