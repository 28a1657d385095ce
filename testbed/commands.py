"""
Runs other programs: short ones for their output, and long ones with progress.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from testbed.errors import TestbedError

CLIP = 2000
DEFAULT_TIMEOUT_S = 60.0
_GRACE_S = 10.0  # of an interrupted program; a Java virtual machine needs some seconds


def run(
    argv: Sequence[str | pathlib.Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> subprocess.CompletedProcess[str]:
    """
    Run a short program and return its output.

    Raises:
        TestbedError: it is not installed, took longer than timeout_s, or (with check) failed.
    """
    command = [str(part) for part in argv]
    try:
        done = subprocess.run(
            command, input=stdin, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError as err:
        raise TestbedError(f"{command[0]} is not installed; `python3 -m testbed up` installs what is missing") from err
    except subprocess.TimeoutExpired as err:
        raise TestbedError(f"`{' '.join(command)}` did not end within {timeout_s:.0f}s") from err
    if check and done.returncode != 0:
        raise TestbedError(
            f"`{clip(' '.join(command))}` ended with {done.returncode}: {clip(done.stderr or done.stdout)}"
        )
    return done


def run_long(
    argv: Sequence[str | pathlib.Path],
    *,
    log: pathlib.Path,
    tick: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    cwd: pathlib.Path | None = None,
) -> None:
    """
    Run a long program with its output in a log file. Meanwhile tick is called with the newest log line.

    The program gets a process group of its own, so that Ctrl-C ends it together with its children.

    Raises:
        TestbedError: it failed; the message ends with the tail of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(part) for part in argv]
    with log.open("w", encoding="utf-8") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            while child.poll() is None:
                time.sleep(0.1)
                tick(tail(log, 1)[:90])
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_S)
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            raise
    if child.returncode != 0:
        raise TestbedError(f"`{clip(' '.join(command))}` ended with {child.returncode}; end of {log}:\n{tail(log, 25)}")


def tail(path: pathlib.Path, lines: int, *, span_bytes: int = 65536) -> str:
    """
    The last lines within the last span_bytes of a text file; empty if there is no file.
    """
    if not path.exists():
        return ""
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - span_bytes))
        text = stream.read().decode("utf-8", "replace")
    return "\n".join(text.rstrip().splitlines()[-lines:])


def clip(text: str) -> str:
    """
    Shorten a text to what fits on a screen. The end of an error is more useful than its beginning.
    """
    stripped = text.strip()
    return stripped if len(stripped) <= CLIP else "... " + stripped[-CLIP:]


def wait_until(
    probe: Callable[[], str | None], *, timeout_s: float, tick: Callable[[str], None], every_s: float = 0.1
) -> None:
    """
    Call probe until it returns None. Until then it returns what is missing, as text.

    Raises:
        TestbedError: timeout_s passed; the message has the last answer of the probe.
    """
    deadline = time.monotonic() + timeout_s
    while (missing := probe()) is not None:
        if time.monotonic() > deadline:
            raise TestbedError(f"gave up after {timeout_s:.0f}s: {missing}")
        tick(missing)
        time.sleep(every_s)
