"""`.ci/run` ends with the status of the tests, and sends signals only to them."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / ".ci" / "run"
# `kill` is part of the shell, which reads this file first. Signals go where they should, and are written down.
_BASH_ENV = """
kill() { echo "kill $*" >>"$LOG"; builtin kill "$@"; }
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a `make` that fails, and a testbed that writes down its commands."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(RUN, tmp_path / ".ci" / "run")
    (tmp_path / "bash-env").write_text(_BASH_ENV)
    _write_program(tmp_path / "bin" / "make", "exit 3")
    _write_program(tmp_path / "bin" / "python3", 'echo "$*" >>"$LOG"')
    return tmp_path


def _write_program(file: Path, script: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def _run(checkout: Path) -> tuple[int, list[str]]:
    log = checkout / "log"
    environment = {
        "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
        "HOME": str(checkout),
        "LOG": str(log),
        "BASH_ENV": str(checkout / "bash-env"),
    }
    run = checkout / ".ci" / "run"
    done = subprocess.run([run], env=environment, check=False, capture_output=True, timeout=60)
    return done.returncode, log.read_text().splitlines()


def test_the_status_is_that_of_the_tests(checkout: Path) -> None:
    assert _run(checkout) == (3, ["-m testbed down", "-m testbed down"])


def test_a_signal_while_the_tests_run_ends_them(checkout: Path) -> None:
    _write_program(checkout / "bin" / "make", f"kill -{signal.SIGTERM.name[3:]} $PPID; exec sleep 60")
    status, log = _run(checkout)
    assert status == 143
    assert [line.split()[0] for line in log] == ["-m", "kill", "-m"]


def test_a_signal_after_the_tests_reaches_no_other_program(checkout: Path) -> None:
    """The number of the tests' process group is free then, and may be given to any other."""
    _write_program(
        checkout / "bin" / "python3",
        'echo "$*" >>"$LOG"; [ "$(wc -l <"$LOG")" -lt 2 ] || kill -TERM $PPID',
    )
    _, log = _run(checkout)
    assert log == ["-m testbed down", "-m testbed down"]
