"""A command that is ended from outside ends what it started."""

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from testbed import processes

# A build whose compiler ends the command by a signal and then compiles on.
_COMMAND = """
import signal, sys
from testbed import cli, cluster, commands, paths

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts background jobs
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[3] == "nohup" else signal.SIG_DFL)
compiler = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
cluster.build = lambda: commands.run_long(compiler, log=paths.pathlib.Path(sys.argv[4]), tick=lambda _: None)
sys.exit(cli.main(["build"]))
"""
_COMPILER = """
import os, signal, sys
print(os.getpid(), flush=True)
os.kill(os.getppid(), int(sys.argv[1]))
signal.pause()
"""
_SURVIVOR = _COMPILER.replace("signal.pause()", "sys.exit(0)")


@pytest.fixture
def log(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    file = tmp_path / "compiler.log"
    yield file
    pid = int(file.read_text().split()[0])
    if processes.argv_of(pid)[1:2] == ["-c"]:
        os.kill(pid, signal.SIGKILL)


def _run(compiler: str, number: signal.Signals, log: pathlib.Path, *, nohup: bool = False) -> int:
    arguments = [compiler, str(int(number)), "nohup" if nohup else "", str(log)]
    done = subprocess.run([sys.executable, "-c", _COMMAND, *arguments], check=False, capture_output=True, timeout=60)
    return done.returncode


@pytest.mark.parametrize("number", processes.INTERRUPTS)
def test_a_build_ends_with_the_command_that_started_it(number: signal.Signals, log: pathlib.Path) -> None:
    """Left alone, it would write into the folder in which the next build writes."""
    assert _run(_COMPILER, number, log) == 130
    assert processes.argv_of(int(log.read_text().split()[0])) == []


def test_a_command_under_nohup_outlives_its_terminal(log: pathlib.Path) -> None:
    assert _run(_SURVIVOR, signal.SIGHUP, log, nohup=True) == 0
