"""
A process is signalled only if it is still the one that was recorded.
"""

import dataclasses
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from testbed import processes


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


def test_recognises_the_recorded_process(child: subprocess.Popen[bytes]) -> None:
    identity = processes.identify(child.pid)
    assert identity is not None
    assert processes.is_alive(identity)
    assert pathlib.Path(identity.exe).name.startswith("python")


@pytest.mark.parametrize("change", [{"start_time": 1}, {"exe": "/usr/bin/other"}, {"boot_id": "another"}])
def test_does_not_signal_a_stranger_with_the_same_pid(
    child: subprocess.Popen[bytes], change: dict[str, str | int]
) -> None:
    identity = processes.identify(child.pid)
    assert identity is not None
    stranger = dataclasses.replace(identity, **change)  # type: ignore[arg-type]
    assert not processes.is_alive(stranger)
    assert processes.stop_all([stranger], grace_s=0) == []
    assert child.poll() is None


def test_stops_the_recorded_process(child: subprocess.Popen[bytes]) -> None:
    identity = processes.identify(child.pid)
    assert identity is not None
    assert processes.stop_all([identity], grace_s=5) == []
    assert processes.identify(child.pid) is None


_FIRST_THREAD_ENDS = """
import ctypes, sys, threading

def last():
    first.join(0.01)
    print("on", flush=True)
    sys.stdin.read()

first = threading.current_thread()
threading.Thread(target=last).start()
ctypes.CDLL(None).syscall(60, 0)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of exit(2) is that of x86_64")
def test_a_process_is_there_as_long_as_any_of_its_threads() -> None:
    """It still holds its ports; who starts its successor then finds them taken."""
    program = [sys.executable, "-c", _FIRST_THREAD_ENDS]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        identity = processes.identify(started.pid)
        assert identity is not None
        assert started.stdout is not None
        assert started.stdout.readline() == b"on\n"
        deadline = time.monotonic() + 10
        while processes.is_alive(identity):
            assert time.monotonic() < deadline
        assert processes.has_live_thread(identity.pid, identity.start_time)
        assert not processes.has_live_thread(identity.pid, identity.start_time + 1)
        started.kill()
    assert not processes.has_live_thread(identity.pid, identity.start_time)


@pytest.mark.usefixtures("interrupts_heard")
def test_interrupt_waits_for_the_end_of_the_block() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), processes.interrupts_deferred():  # noqa: PT012 the block is the test
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached
