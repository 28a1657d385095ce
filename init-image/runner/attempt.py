"""
One attempt of one step: start its command, stream its output, return its exit code.

A command runs in its own process group. Its background processes end with it, so that the next attempt starts clean and
a forgotten `kubectl port-forward &` cannot delay the job. What a script changed in the
templates folder is put back before its next attempt.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runner.faults import find_fault, needs_server_side_apply
from runner.folder import TemplatesFolder
from runner.output import AttemptOutput, Output, split_lines
from runner.plan import Apply, ApplyInline, Script, Step
from runner.shutdown import Shutdown

CANNOT_START = 126
NOT_FOUND = 127
"""Exit codes for a command that did not start, as in shells."""

SERVER_SIDE = ("--server-side", "--force-conflicts", "--field-manager=kns-items")
"""`kubectl apply` without the annotation. Forced, because client-side apply overwrites other managers' fields too."""

_CHUNK_BYTES = 64 * 1024
_TICK_S = 1.0
_NEVER_STARTS = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_UTF8_BOM, _UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_HELM_PENDING = "another operation (install/upgrade/rollback) is in progress"
_SAVE_AGAIN = "save it as UTF-8 without a byte order mark, with Unix line endings (LF), and encode it again"


@dataclass(frozen=True, slots=True)
class Attempted:
    """How an attempt ended."""

    code: int
    """Exit code, 128 + n if signal n ended the command."""
    fault: str = ""
    """What is wrong and what to do, if no further attempt can succeed."""
    unwritten: tuple[str, ...] = ()
    """The last lines of its output, if the output's limit did not admit them."""


@dataclass(slots=True)
class _Watch:
    """What a command's lines say of the item. Only kubectl's own decide anything; a script may print what it likes."""

    is_kubectl: bool = False
    fetched: bool = False
    fault: str = ""
    too_large: bool = False
    """Only client-side apply is too small for an object."""
    helm_pending: bool = False

    def see(self, line: str) -> None:
        self.helm_pending = self.helm_pending or _HELM_PENDING in line
        if self.is_kubectl:
            self.fault = self.fault or find_fault(line, fetched=self.fetched)
            self.too_large = self.too_large or needs_server_side_apply(line)


@dataclass(frozen=True, slots=True)
class Workplace:
    """The folders of the attempts, and their output."""

    templates_dir: Path
    work_dir: Path
    """Writable and not mounted noexec, because scripts are started from here."""
    output: Output
    shutdown: Shutdown
    folder: TemplatesFolder
    drain_s: float = 2.0
    """Time for further output after the end of a command, for example from a `tee`, before its group is killed."""

    def attempt(self, step: Step, number: int) -> Attempted:
        """Run the step once; `number` counts its attempts from 1."""
        try:
            if isinstance(step.action, Script):
                if number == 1:
                    self._keep_folder(step)
                else:
                    self.folder.restore()
        except OSError as err:
            self.output.line(f"cannot put {self.templates_dir} back as it was before the item: {err.strerror}")
            return Attempted(CANNOT_START)
        if not self.templates_dir.is_dir():  # the system would say the same of a program that does not exist
            return Attempted(
                CANNOT_START, f"this item or one before it removed {self.templates_dir}; let it keep the folder"
            )
        match step.action:
            case Apply(arguments):
                fetched = arguments[-1].startswith(("http://", "https://"))
                return self._apply(arguments, stdin=b"", fetched=fetched)
            case ApplyInline(manifest):
                return self._apply(("-f", "-"), stdin=manifest, fetched=False)
            case Script(content):
                return self._run_script(content)

    def _keep_folder(self, step: Step) -> None:
        if not step.retries:
            return
        try:
            self.folder.keep()
        except OSError as err:
            self.output.line(
                f"warning: no copy of {self.templates_dir} can be kept ({err.strerror}); a retry will find there what "
                "the attempt before left"
            )

    def _apply(self, arguments: tuple[str, ...], *, stdin: bytes, fetched: bool) -> Attempted:
        """
        Client-side; again server-side if only client-side apply is too small for the manifest.

        Not server-side from the start: it refuses manifests that client-side apply takes (a list entry given twice,
        `managedFields`).
        """
        watch = _Watch(is_kubectl=True, fetched=fetched)
        attempted = self._run_kubectl(arguments, stdin=stdin, watch=watch)
        if attempted.code == 0 or not watch.too_large or self.shutdown.requested:
            return attempted
        self.output.line("an object is too large for client-side apply; the item is applied server-side")
        again = _Watch(is_kubectl=True, fetched=fetched)
        return self._run_kubectl((*SERVER_SIDE, *arguments), stdin=stdin, watch=again)

    def _run_script(self, content: bytes) -> Attempted:
        try:
            with tempfile.TemporaryDirectory(prefix="item-", dir=self.work_dir, ignore_cleanup_errors=True) as private:
                path = Path(private) / "script"
                path.touch(mode=0o700)
                path.write_bytes(content)
                return self._start_script(content, path)
        except OSError as err:
            self.output.line(f"cannot write the script into {self.work_dir}: {err.strerror}")
            return Attempted(_shell_code(err))

    def _start_script(self, content: bytes, path: Path) -> Attempted:
        problem = _find_encoding_fault(content)
        if problem:
            return Attempted(CANNOT_START, problem)
        # The first line and not the file, because "no such file" means the interpreter, or a \r after its name.
        first_line = content.split(b"\n", 1)[0][:200].decode("utf-8", "replace")
        has_interpreter, is_windows = first_line.startswith("#!"), first_line.endswith("\r")
        argv = (str(path),) if has_interpreter else ("/bin/bash", str(path))
        try:
            process = self._start(argv, stdin=b"")
        except OSError as err:
            self._report_not_started(first_line if has_interpreter else argv[0], err)
            return Attempted(_shell_code(err), _find_start_fault(err, is_windows) if has_interpreter else "")
        if is_windows:
            self.output.line(
                "warning: the script has Windows line endings (CRLF), and shells take the CR as part of each line's "
                f"last word; {_SAVE_AGAIN}"
            )
        watch = _Watch()
        attempted = self._follow(process, watch)
        if attempted.code and watch.helm_pending:
            self.output.line(
                "hint: a helm that was killed leaves its release unfinished, and no later one goes on; "
                "run kns-helm-unlock RELEASE --namespace NAMESPACE before helm"
            )
        return attempted

    def _run_kubectl(self, arguments: tuple[str, ...], *, stdin: bytes, watch: _Watch) -> Attempted:
        try:
            process = self._start(("kubectl", "apply", *arguments), stdin=stdin)
        except OSError as err:
            self._report_not_started("kubectl", err)
            return Attempted(_shell_code(err))
        return self._follow(process, watch)

    def _report_not_started(self, what: str, err: OSError) -> None:
        self.output.line(f"cannot start {what!r}: {err.strerror}")

    def _start(self, argv: tuple[str, ...], *, stdin: bytes) -> subprocess.Popen[bytes]:
        # A file and not a pipe, which would need a writer while the output is read. The file has no name.
        with tempfile.TemporaryFile(dir=self.work_dir) as source:
            source.write(stdin)
            source.seek(0)
            return subprocess.Popen(
                argv,
                bufsize=0,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.templates_dir,
                start_new_session=True,
            )

    def _follow(self, process: subprocess.Popen[bytes], watch: _Watch) -> Attempted:
        printed = AttemptOutput(self.output)
        reader = threading.Thread(target=_stream, args=(process.stdout, printed, watch), daemon=True)
        reader.start()
        with self.shutdown.forwarding(process.pid):
            # WNOWAIT leaves the process as a zombie, so that its group number is not reused before the kill below.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        reader.join(self.drain_s)
        with contextlib.suppress(ProcessLookupError):  # no background process is left
            os.killpg(process.pid, signal.SIGKILL)
        reader.join(self.drain_s)  # only a daemon in its own session can still hold the pipe now
        code = process.wait()
        return Attempted(code if code >= 0 else 128 - code, watch.fault if code else "", tuple(printed.close()))


def _stream(pipe: IO[bytes], printed: AttemptOutput, watch: _Watch) -> None:
    with pipe:  # closed even if the output is broken, so that the child fails and does not hang
        for line in split_lines(_read(pipe.fileno(), printed)):
            watch.see(line)
            printed.line(line)


def _read(fd: int, printed: AttemptOutput) -> Iterator[bytes]:
    """The chunks. While lines are held and nothing comes, time alone lets them out."""
    while True:
        if printed.holding and not select.select([fd], [], [], _TICK_S)[0]:
            printed.tick()
            continue
        chunk = os.read(fd, _CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


def _find_encoding_fault(content: bytes) -> str:
    """What the system, or bash, would only answer with a confusing message, or run in part."""
    if content.startswith(_UTF16_BOMS):
        return f"cmd is a script in UTF-16; {_SAVE_AGAIN}"
    if content.startswith(_UTF8_BOM):
        return f"cmd is a script that begins with a byte order mark (BOM), which hides its first line; {_SAVE_AGAIN}"
    return ""


def _find_start_fault(err: OSError, is_windows: bool) -> str:
    """Why no attempt can start a script with this first line; "" if one may."""
    if err.errno not in _NEVER_STARTS:
        return ""
    if is_windows:
        return (
            "cmd is a script with Windows line endings (CRLF), so its first line names a program that does not exist; "
            f"{_SAVE_AGAIN}"
        )
    return "the first line of cmd names a program that the init image cannot run; correct it"


def _shell_code(err: OSError) -> int:
    return NOT_FOUND if isinstance(err, FileNotFoundError) else CANNOT_START
