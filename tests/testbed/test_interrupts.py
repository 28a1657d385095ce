"""A command that is ended from outside ends what it started."""

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from testbed import processes

# The command `build` with a compiler of its own. As soon as that runs, the command gets a signal. If it goes on, the
# compiler may end.
_COMMAND = """
import os, signal, sys
from testbed import cli, cluster, commands, paths

number, ignored, log = int(sys.argv[2]), sys.argv[3].split(), paths.pathlib.Path(sys.argv[4])
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts background jobs
for name in ("SIGTERM", "SIGHUP"):
    signal.signal(signal.Signals[name], signal.SIG_IGN if name in ignored else signal.SIG_DFL)
go = log.with_name("go")

def tick(line):
    if line and not go.exists():
        os.kill(os.getpid(), number)
        go.touch()

cluster.build = lambda: commands.run_long([sys.executable, "-c", sys.argv[1], str(go)], log=log, tick=tick)
sys.exit(cli.main(["build"]))
"""
_COMPILER = """
import os, pathlib, sys, time
print(os.getpid(), flush=True)
deadline = time.monotonic() + 60
while not pathlib.Path(sys.argv[1]).exists() and time.monotonic() < deadline:
    time.sleep(0.02)
"""


@pytest.fixture
def log(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    file = tmp_path / "compiler.log"
    yield file
    pid = int(file.read_text().split()[0])
    if processes.argv_of(pid)[1:2] == ["-c"]:
        os.kill(pid, signal.SIGKILL)


def _run(number: signal.Signals, log: pathlib.Path, *, ignored: str = "") -> int:
    """`ignored`: the signals that the command's caller ignores."""
    arguments = [_COMPILER, str(int(number)), ignored, str(log)]
    done = subprocess.run([sys.executable, "-c", _COMMAND, *arguments], check=False, capture_output=True, timeout=60)
    return done.returncode


@pytest.mark.parametrize("number", processes.INTERRUPTS)
def test_a_build_ends_with_the_command_that_started_it(number: signal.Signals, log: pathlib.Path) -> None:
    """Left alone, it would write into the folder in which the next build writes."""
    assert _run(number, log) == 130
    assert processes.argv_of(int(log.read_text().split()[0])) == []


def test_a_command_under_nohup_outlives_its_terminal(log: pathlib.Path) -> None:
    assert _run(signal.SIGHUP, log, ignored="SIGHUP") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_clean_up_that_ignores_signals_is_finished(number: signal.Signals, log: pathlib.Path) -> None:
    """As .ci/run takes the testbed down after Ctrl-C. A second Ctrl-C reaches the whole group."""
    assert _run(number, log, ignored="SIGTERM") == 0
