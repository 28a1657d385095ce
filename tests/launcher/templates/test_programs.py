"""Programs of `exec`: real ones, with a time limit."""

import contextlib
import os
import select
from pathlib import Path

import pytest

from kns.launcher.templates.limits import MAX_EXEC_BYTES
from kns.launcher.templates.programs import ExecResult, run_program


def run(script: str, folder: Path) -> ExecResult:
    return run_program(["/bin/sh", "-c", script], folder=folder, limit_s=60)


def test_outputs_and_exit_code(tmp_path: Path) -> None:
    assert run("echo out; echo err >&2; exit 3", tmp_path) == ExecResult(3, "exit status 3", "out\n", "err\n")
    assert run("echo out", tmp_path) == ExecResult(0, None, "out\n", "")
    assert str(run("echo out", tmp_path)) == "out\n"


def test_a_signal_is_exit_code_minus_one(tmp_path: Path) -> None:
    assert run("kill -9 $$", tmp_path) == ExecResult(-1, "signal: Killed", "", "")


def test_arguments_are_not_read_by_a_shell(tmp_path: Path) -> None:
    assert run_program(["echo", "$(id); `id`", "a b"], folder=tmp_path).Stdout == "$(id); `id` a b\n"


def test_a_program_runs_in_the_scratch_folder_without_stdin(tmp_path: Path) -> None:
    assert run("pwd; cat", tmp_path).Stdout == f"{tmp_path}\n"


@pytest.mark.parametrize("arguments", [[], ["/no/program"], ["a\0b"], ["/"], ["true"] * 101])
def test_what_cannot_run_is_a_result(tmp_path: Path, arguments: list[str]) -> None:
    result = run_program(arguments, folder=tmp_path)

    assert result.ExitCode == -1
    assert result.Err


def await_end(pid: int) -> None:
    """A signal takes a moment."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            assert select.select([fd], [], [], 60)[0], f"process {pid} goes on"
        finally:
            os.close(fd)


@pytest.mark.proves("security", "make a template run without end, or make an endless object")
def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    """The clock's second reading waits for the child, and is past the end."""
    started = tmp_path / "started"
    os.mkfifo(started)
    children: list[int] = []

    def read_child() -> float:
        children.append(int(started.read_text()))
        return 1000.0

    readings = iter([lambda: 0.0, read_child])

    def clock() -> float:
        return next(readings)()

    result = run_program(
        ["/bin/sh", "-c", "sleep 300 & echo $! > started; wait"],
        folder=tmp_path, limit_s=60, clock=clock,
    )  # fmt: skip

    assert result == ExecResult(-1, "the program did not end within 60 s", "", "")
    await_end(children[0])


def test_a_child_that_is_left_behind_is_not_waited_for(tmp_path: Path) -> None:
    assert run("sleep 300 & echo done", tmp_path) == ExecResult(0, None, "done\n", "")


def test_a_closed_output_is_not_the_end(tmp_path: Path) -> None:
    assert run("exec >&- 2>&-; exit 4", tmp_path) == ExecResult(4, "exit status 4", "", "")


def test_endless_output_ends(tmp_path: Path) -> None:
    result = run("yes", tmp_path)

    assert (result.ExitCode, result.Err) == (-1, f"the program wrote more than {MAX_EXEC_BYTES} bytes")
    assert len(result.Stdout) == MAX_EXEC_BYTES


def test_output_that_is_no_text_is_replaced(tmp_path: Path) -> None:
    assert run("printf '\\377'", tmp_path).Stdout == "\ufffd"
