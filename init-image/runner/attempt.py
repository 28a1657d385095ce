"""
One attempt of one step: start its command, stream its output, return its exit code.

A command runs in its own process group. Its background processes end with it, so that the next attempt starts clean and
a forgotten `kubectl port-forward &` cannot delay the job.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from runner.output import Output, split_lines
from runner.plan import Action, Apply, ApplyInline, Script
from runner.shutdown import Shutdown

CANNOT_START = 126
NOT_FOUND = 127
"""Exit codes for a command that did not start, as in shells."""

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Command:
    argv: tuple[str, ...]
    stdin: bytes
    label: str
    """The name in the message if the command does not start."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """The folders of the attempts, and their output."""

    templates_dir: Path
    work_dir: Path
    """Writable and not mounted noexec, because scripts are started from here."""
    output: Output
    shutdown: Shutdown
    drain_s: float = 2.0
    """Time for further output after the end of a command, for example from a `tee`, before its group is killed."""

    def attempt(self, action: Action) -> int:
        """Run the action once. Returns its exit code, or 128 + n if signal n ended it."""
        with contextlib.ExitStack() as stack:
            label = type(action).__name__
            try:
                private_dir = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="item-", dir=self.work_dir, ignore_cleanup_errors=True)
                )
                command = _prepare(action, Path(private_dir))
                label = command.label
                process = self._start(command)
            except OSError as err:
                self.output.line(f"cannot start {label!r}: {err.strerror}")
                return NOT_FOUND if isinstance(err, FileNotFoundError) else CANNOT_START
            return self._follow(process)

    def _start(self, command: _Command) -> subprocess.Popen[bytes]:
        # A file and not a pipe, which would need a writer while the output is read. The file has no name.
        with tempfile.TemporaryFile(dir=self.work_dir) as stdin:
            stdin.write(command.stdin)
            stdin.seek(0)
            return subprocess.Popen(
                command.argv,
                bufsize=0,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.templates_dir,
                start_new_session=True,
            )

    def _follow(self, process: subprocess.Popen[bytes]) -> int:
        reader = threading.Thread(target=self._stream, args=(process.stdout,), daemon=True)
        reader.start()
        with self.shutdown.forwarding(process.pid):
            # WNOWAIT leaves the process as a zombie, so that its group number is not reused before the kill below.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        reader.join(self.drain_s)
        with contextlib.suppress(ProcessLookupError):  # no background process is left
            os.killpg(process.pid, signal.SIGKILL)
        reader.join(self.drain_s)  # only a daemon in its own session can still hold the pipe now
        code = process.wait()
        return code if code >= 0 else 128 - code

    def _stream(self, pipe: IO[bytes]) -> None:
        with pipe:  # closed even if the output is broken, so that the child fails and does not hang
            for line in split_lines(iter(partial(os.read, pipe.fileno(), _CHUNK_BYTES), b"")):
                self.output.line(line)


def _prepare(action: Action, private_dir: Path) -> _Command:
    """
    The command for an action.

    Raises:
        OSError: the script could not be written.
    """
    match action:
        case Apply(arguments):
            return _Command(argv=("kubectl", "apply", *arguments), stdin=b"", label="kubectl")
        case ApplyInline(manifest):
            return _Command(argv=("kubectl", "apply", "-f", "-"), stdin=manifest, label="kubectl")
        case Script(content):
            return _prepare_script(content, private_dir / "script")


def _prepare_script(content: bytes, path: Path) -> _Command:
    path.touch(mode=0o700)
    path.write_bytes(content)
    if not content.startswith(b"#!"):
        return _Command(argv=("/bin/bash", str(path)), stdin=b"", label="/bin/bash")
    # The first line and not the file, because "no such file" means the interpreter, or a \r after its name.
    first_line = content.split(b"\n", 1)[0][:200].decode("utf-8", "replace")
    return _Command(argv=(str(path),), stdin=b"", label=first_line)
