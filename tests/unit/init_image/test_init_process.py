"""The runner as a process of its own: its entry point, SIGTERM, and what it must never print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.init_image.conftest import FakeApi, FakeKubectl

StepBuilder = Callable[..., dict[str, Any]]
PlanWriter = Callable[[Sequence[dict[str, Any]]], Path]
Start = Callable[..., "subprocess.Popen[str]"]

RUNNER_DIR = Path(__file__).resolve().parents[3] / "init-image"


@pytest.fixture
def start(tmp_path: Path, kubectl: FakeKubectl, api: FakeApi) -> Start:
    """Start the runner as the image does."""

    def start_it(*arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", "-B", RUNNER_DIR, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "KNS_WORK_DIR": str(tmp_path / "work"),
                "KUBECONFIG": str(tmp_path / "kubeconfig"),
                "KNS_TERMINATION_LOG": str(tmp_path / "log"),
                **environ,
            },
        )

    return start_it


def _read_until(process: subprocess.Popen[str], ending: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.rstrip("\n").endswith(ending):
            return
    raise AssertionError(f"output ended without {ending!r}")


def _terminate(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, rest.splitlines()


def test_sigterm_reaches_the_running_script(
    start: Start, api: FakeApi, a_step: StepBuilder, write_plan: PlanWriter, tmp_path: Path
) -> None:
    """Exit 143, the script got its chance, and its own exit code 0 does not make it done."""
    script = "trap 'echo got it; exit 0' TERM\necho ready\nwhile :; do sleep 600 & wait; done"
    plan = write_plan([a_step("web"), a_step("long", script=script, retries=3)])
    process = start("--plan", str(plan))
    _read_until(process, "ready")
    code, rest = _terminate(process)
    message = "the init pod was ended during item 2/2 'long'"
    assert (143, ["got it", message]) == (code, rest)
    assert {
        "result": "failed",
        "item": "long",
        "index": 1,
        "attempt": 1,
        "reason": "Terminated",
        "message": message,
    } == json.loads((tmp_path / "log").read_text())
    assert list(api.progress or ()) == ["0"]


def test_sigterm_ends_a_pause(start: Start, a_step: StepBuilder, write_plan: PlanWriter) -> None:
    """A long pause between attempts does not hold up the end."""
    process = start("--plan", str(write_plan([a_step(script="exit 1", retries=1, retrySleepSeconds=3600)])))
    _read_until(process, "next try in 3600 s")
    assert _terminate(process)[0] == 143


def test_sigterm_ends_the_wait_for_the_api(
    start: Start, api: FakeApi, a_step: StepBuilder, write_plan: PlanWriter, tmp_path: Path
) -> None:
    """Also before the first item."""
    waits = threading.Event()
    api.mark, api.on_request = None, waits.set
    process = start("--plan", str(write_plan([a_step()])))
    assert waits.wait(60)
    assert _terminate(process)[0] == 143
    assert json.loads((tmp_path / "log").read_text())["reason"] == "Terminated"


def test_no_value_of_the_environment_is_printed(start: Start, a_step: StepBuilder, write_plan: PlanWriter) -> None:
    """Neither in good times nor in bad ones: the environment holds the job's secrets."""
    plan = write_plan([a_step(script='test -n "$KNS_JOB_PASSWORD"'), a_step("bad", script="exit 9")])
    process = start("--plan", str(plan), KNS_JOB_PASSWORD="s3cr3t-v4lue")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "[2/2] bad: attempt 1 failed (exit 9), no retries left" in out
    assert "s3cr3t-v4lue" not in out


@pytest.mark.proves("security", "replace a module of the runner")
def test_a_file_in_the_working_folder_replaces_no_module(
    start: Start, a_step: StepBuilder, write_plan: PlanWriter, tmp_path: Path
) -> None:
    """A `json.py` that a script left behind is not what a restarted runner imports."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    process = start("--plan", str(write_plan([a_step()])))
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_python_variable_of_the_job_changes_only_its_scripts(
    start: Start, a_step: StepBuilder, write_plan: PlanWriter, tmp_path: Path
) -> None:
    """An app may set PYTHONPATH for its own programs; the runner starts as without it."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    process = start(
        "--plan",
        str(write_plan([a_step(script="echo $PYTHONPATH")])),
        PYTHONPATH=str(tmp_path),
        PYTHONHOME="/none",
        PYTHONHASHSEED="no number",
        PYTHONINSPECT="1",
    )
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out.splitlines()[1]) == (0, str(tmp_path))


def test_wrong_usage_is_not_taken_for_an_unreachable_api(start: Start) -> None:
    """argparse would exit with 2."""
    process = start("--no-such-option")
    process.communicate(timeout=60)
    assert process.returncode == 64
