"""`make dev`: the scheduler that it starts ends with it."""

import os
import signal
import sys
from pathlib import Path

import pytest

from demo import dev
from testbed import processes

# It stops its parent as Ctrl-C does, and once more when it is told to end, and never ends by itself.
_SCHEDULER = f"""#!{sys.executable}
import os, pathlib, signal

signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
os.kill(os.getppid(), signal.SIGINT)
while True:
    signal.pause()
"""


@pytest.mark.usefixtures("interrupts_heard")
def test_a_second_ctrl_c_leaves_no_scheduler_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold the port, and compete with the replicas that are started again in the cluster."""
    program = tmp_path / "python"
    program.write_text(_SCHEDULER)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(KeyboardInterrupt):
        dev._run_child(os.environ)
    left = processes.identify(int((tmp_path / "pid").read_text()))
    if left is not None:
        os.kill(left.pid, signal.SIGKILL)
    assert left is None
