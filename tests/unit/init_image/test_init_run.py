"""A whole run in this process, against a fake kubectl and with pauses that do not wait."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runner.app import conclude
from runner.outcome import Terminated
from runner.output import Output

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from tests.unit.init_image.conftest import Ended, FakeApi, FakeKubectl, Sleeper

StepBuilder = Callable[..., dict[str, Any]]
PlanWriter = Callable[[Sequence[dict[str, Any]]], Path]


Runner = Callable[[Path], "Ended"]


def test_items_run_in_order_in_the_templates_folder(
    run: Runner, kubectl: FakeKubectl, a_step: StepBuilder, write_plan: PlanWriter, tmp_path: Path
) -> None:
    """Each kind of item becomes its command, with a header line, and its output follows."""
    plan = write_plan(
        [
            a_step("web"),
            a_step("inline", format="base64", path="a2luZDogeAo="),
            a_step("overlay", type="kustomize", path="overlays/lab"),
            a_step("script", script="pwd; echo to-stderr >&2"),
        ]
    )
    kubectl.answer("apply", (0, "web created\n", ""), (0, "", "a warning\n"))
    ended = run(plan)
    assert [
        "[1/4] web, attempt 1",
        "web created",
        "[2/4] inline, attempt 1",
        "a warning",
        "[3/4] overlay, attempt 1",
        "[4/4] script, attempt 1",
        str(tmp_path / "templates"),
        "to-stderr",
    ] == ended.lines
    assert kubectl.calls("apply") == [
        (["apply", "-f", "web.yml"], ""),
        (["apply", "-f", "-"], "kind: x\n"),
        (["apply", "-k", "overlays/lab"], ""),
    ]
    assert (ended.code, ended.message) == (0, {"result": "ok", "steps": 4})
    assert list((tmp_path / "work").iterdir()) == []


def test_a_failing_item_is_tried_again_after_its_pause(
    run: Runner, kubectl: FakeKubectl, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """Attempts are retries + 1, with pauses only between them; the next item waits for success."""
    plan = write_plan([a_step("web", retries=2, retrySleepSeconds=7), a_step("next", script="echo last")])
    kubectl.answer("apply", (1, "", "no such file\n"), (3, "", ""))
    ended = run(plan)
    assert ended.lines == [
        "[1/2] web, attempt 1",
        "no such file",
        "[1/2] web: attempt 1 failed (exit 1), next try in 7 s",
        "[1/2] web, attempt 2",
        "[1/2] web: attempt 2 failed (exit 3), next try in 7 s",
        "[1/2] web, attempt 3",
        "[2/2] next, attempt 1",
        "last",
    ]
    assert (sleeper.pauses, ended.code) == ([7, 7], 0)


def test_an_item_out_of_retries_ends_the_run(
    run: Runner, kubectl: FakeKubectl, api: FakeApi, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """No pause after the last attempt, no later item, and the message says which item and why."""
    plan = write_plan([a_step("web"), a_step("script", script="exit 7", retries=2), a_step("never")])
    ended = run(plan)
    assert ended.lines[-1] == "[2/3] script: attempt 3 failed (exit 7), no retries left"
    assert (sleeper.pauses, ended.code, len(kubectl.calls("apply"))) == ([15, 15], 1, 1)
    assert ended.message == {
        "result": "failed",
        "item": "script",
        "index": 1,
        "attempt": 3,
        "exitCode": 7,
        "reason": "ItemOutOfRetries",
        "message": "item 2/3 'script' failed after 3 attempts, last exit code 7",
    }
    assert list(api.progress or ()) == ["0"]


def test_a_second_run_goes_on_where_the_first_one_stopped(
    run: Runner, kubectl: FakeKubectl, api: FakeApi, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """Finished items are skipped, the failed one runs again."""
    plan = write_plan([a_step("web"), a_step("script", script="test -e marker")])
    assert run(plan).code == 1
    (plan.parent / "templates" / "marker").touch()
    ended = run(plan)
    assert ended.lines == ["[1/2] web, already done", "[2/2] script, attempt 1"]
    assert (ended.code, ended.message) == (0, {"result": "ok", "steps": 2})
    assert list(api.progress or ()) == ["0", "1"]
    assert len(kubectl.calls("apply")) == 1


def test_a_changed_item_runs_again(run: Runner, api: FakeApi, a_step: StepBuilder, write_plan: PlanWriter) -> None:
    """What is remembered is the content of an item, not its place; what no longer applies is forgotten."""
    assert run(write_plan([a_step("web"), a_step("more", path="more.yml")])).code == 0
    ended = run(write_plan([a_step("web", path="other.yml")]))
    assert ended.lines == ["[1/1] web, attempt 1"]
    assert list(api.progress or ()) == ["0"]


def test_progress_is_recorded_in_three_tries(
    run: Runner, api: FakeApi, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """The third try counts, and nothing is said of the first two."""
    api.fail("record", 2)
    ended = run(write_plan([a_step()]))
    assert ended.lines == ["[1/1] web, attempt 1"]
    assert (sleeper.pauses, ended.code, list(api.progress or ())) == ([1.0, 1.0], 0, ["0"])


def test_progress_that_cannot_be_recorded_is_a_warning(
    run: Runner, api: FakeApi, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """Three tries, then the app goes on; the next record holds both items."""
    api.fail("record", 3)
    ended = run(write_plan([a_step("web"), a_step("next")]))
    path = "/api/v1/namespaces/kube-system/configmaps/kns-init-progress"
    assert ended.lines[1].startswith(
        f"[1/2] web: warning: done, but this could not be recorded (PATCH {path}: 500 etcd is away)"
    )
    assert (sleeper.pauses, ended.code, list(api.progress or ())) == ([1.0, 1.0], 0, ["0", "1"])


@pytest.mark.parametrize(
    ("verb", "fault"),
    [
        ("mark", {"status": 404}),
        ("mark", {"status": 0}),
        ("mark", {"status": 401}),
        ("mark", {"status": 200, "body": "no json"}),
        ("mark", {"status": 200, "body": "[]"}),
        ("mark", {"status": 200, "body": '{"metadata": {"annotations": ["kns.io/record-uid"]}}'}),
        ("progress", {"status": 500}),
        ("progress", {"status": 200, "body": '{"data": ["x"]}'}),
        ("progress", {"status": 200, "body": f'{{"data": {{"0": "{"x" * 1024 * 1024}"}}}}'}),
    ],
)
def test_it_waits_silently_until_the_virtual_cluster_is_prepared(
    run: Runner, api: FakeApi, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter, verb: str, fault: Any
) -> None:
    """Whatever the API answers meanwhile; the items run at once afterwards."""
    api.fail(verb, 5, **fault)
    ended = run(write_plan([a_step()]))
    assert (sleeper.pauses, ended.lines, ended.code) == ([0.15] * 5, ["[1/1] web, attempt 1"], 0)


def test_the_mark_of_another_job_does_not_count(
    run: Runner, api: FakeApi, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """The state of a virtual cluster may come from another one."""
    api.mark = "uid-0"
    sleeper.on_pause = lambda: setattr(api, "mark", f"uid-{len(sleeper.pauses) - 1}")
    assert run(write_plan([a_step()])).code == 0
    assert sleeper.pauses == [0.15] * 2


def test_an_api_that_does_not_exist_yet_is_asked_again(
    run: Runner, api: FakeApi, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter, tmp_path: Path
) -> None:
    """As for most of the spawn: nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        config = api.kubeconfig()
        config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{unused.getsockname()[1]}"
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        sleeper.on_pause = lambda: (tmp_path / "kubeconfig").write_text(json.dumps(api.kubeconfig()))
        assert run(write_plan([a_step()])).code == 0
    assert sleeper.pauses == [0.15]


def test_a_wait_that_is_too_long_ends_the_run(
    run: Runner, api: FakeApi, sleeper: Sleeper, a_step: StepBuilder, write_plan: PlanWriter
) -> None:
    """Exit 2 at the limit of the plan. The output says after a minute what it waits for."""
    sleeper.slowness = 200
    api.mark = None
    ended = run(write_plan([a_step()]))
    expected = "the virtual cluster was not ready for the items within 120 s, last try: kns has not prepared it yet"
    assert ended.code == 2
    assert sleeper.clock() == pytest.approx(120.0)
    assert {"result": "failed", "reason": "NestedApiUnreachable", "message": expected} == ended.message
    assert [
        "still waiting for the virtual cluster after 60 s: kns has not prepared it yet",
        expected,
    ] == ended.lines


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ('#!/bin/sh\necho "$0" | grep -c /work/item-; stat -c %a "$0" "${0%/*}"', ["1", "700", "700"]),
        ("echo ${BASH_VERSION:+bash}", ["bash"]),
        ("#!/usr/bin/env bash\nprintf 'no newline'", ["no newline"]),
        ("printf 'caf\\xe9\\n'", ["caf\ufffd"]),
        ("head -c 20000 /dev/zero | tr '\\0' x", ["x" * 16384 + " [line cut, 3616 bytes left out]"]),
        ("cat; echo end of input", ["end of input"]),
    ],
)
def test_a_script_runs_as_promised(
    run: Runner, a_step: StepBuilder, write_plan: PlanWriter, script: str, lines: list[str]
) -> None:
    """By its first line, else by bash; private; with nothing on standard input; any bytes as output."""
    ended = run(write_plan([a_step(script=script)]))
    assert (["[1/1] web, attempt 1", *lines], 0) == (ended.lines, ended.code)


@pytest.mark.parametrize(
    ("script", "code", "line"),
    [
        ("#!/no/such/shell\n", 127, "cannot start '#!/no/such/shell': No such file or directory"),
        ("#!/etc\n", 126, "cannot start '#!/etc': Permission denied"),
        ("kill -KILL $$", 137, None),
    ],
)
def test_a_script_that_cannot_run_has_a_shell_exit_code(
    run: Runner, a_step: StepBuilder, write_plan: PlanWriter, script: str, code: int, line: str | None
) -> None:
    """The output has the system's own word for it."""
    ended = run(write_plan([a_step(script=script)]))
    assert (1, code) == (ended.code, ended.message["exitCode"])
    assert line is None or line == ended.lines[1]


@pytest.mark.proves("security", "a template script that leaves processes behind")
def test_what_a_script_leaves_behind_is_killed(
    run: Runner, a_step: StepBuilder, write_plan: PlanWriter, tmp_path: Path
) -> None:
    """A process in the background neither holds up the run nor outlives its item."""
    child = tmp_path / "child"
    ended = run(write_plan([a_step(script=f"sleep 600 >/dev/null 2>&1 & echo $! > {child}")]))
    assert ended.code == 0
    stat, deadline = Path(f"/proc/{child.read_text().strip()}/stat"), time.monotonic() + PATIENCE_S
    while _runs(stat):  # a killed process ends when it gets the processor
        assert time.monotonic() < deadline, stat.read_text()


def _runs(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_output_that_outlives_the_script_is_kept(run: Runner, a_step: StepBuilder, write_plan: PlanWriter) -> None:
    """As with `exec > >(tee ...)`: what still writes at the end may finish; more than a pipe holds."""
    ended = run(write_plan([a_step(script="seq 1 20000 &")]))
    assert [ended.lines[1], ended.lines[-1], len(ended.lines)] == ["1", "20000", 20001]


def test_a_plan_of_another_version_runs_nothing(run: Runner, api: FakeApi, tmp_path: Path) -> None:
    """Exit 64, with the reason in the output and in the termination message, before any call."""
    plan = tmp_path / "plan.json"
    plan.write_text('{"version": 9}')
    ended = run(plan)
    assert (ended.code, ended.message["reason"]) == (64, "PlanRefused")
    assert "plan has version 9, this init image supports version 2" in ended.lines[0]
    assert api.asked == []


def test_a_missing_templates_folder_is_refused(run: Runner, a_step: StepBuilder, write_plan: PlanWriter) -> None:
    """The pod was built wrongly; no retry would help."""
    plan = write_plan([a_step()])
    (plan.parent / "templates").rmdir()
    ended = run(plan)
    assert (ended.code, "is not a folder in this container" in ended.lines[0]) == (64, True)


def test_a_work_folder_that_is_missing_fails_the_item(run: Runner, a_step: StepBuilder, write_plan: PlanWriter) -> None:
    """The output says why, and the run ends as for any failed item."""
    plan = write_plan([a_step()])
    (plan.parent / "work").rmdir()
    ended = run(plan)
    assert (ended.code, ended.lines[1]) == (1, "cannot start 'kubectl': No such file or directory")


def test_a_defect_does_not_pass_for_a_failed_item(tmp_path: Path) -> None:
    """Exit 70, a traceback in the output, and a termination message."""

    def broken(_output: Output) -> int:
        raise KeyError("oops")

    log, sink = tmp_path / "log", io.BytesIO()
    assert conclude(broken, output=Output(sink), termination_log=log) == 70
    assert json.loads(log.read_text())["message"] == "the init runner itself failed: KeyError: 'oops'"
    assert b"Traceback" in sink.getvalue()


class _Closed(io.BytesIO):
    """An output whose reader has gone."""

    def write(self, _data: object, /) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize(
    ("failure", "code"), [(Terminated("the init pod was ended"), 143), (KeyError("oops"), 70), (BrokenPipeError(), 70)]
)
def test_a_closed_output_does_not_pass_for_a_failed_item(tmp_path: Path, failure: Exception, code: int) -> None:
    """Python would end with 1, which means that an item is out of retries, and without a termination message."""

    def end(_output: Output) -> int:
        raise failure

    log = tmp_path / "log"
    assert conclude(end, output=Output(_Closed()), termination_log=log) == code
    assert json.loads(log.read_text())["result"] == "failed"
    assert conclude(lambda _output: 1, output=Output(_Closed()), termination_log=tmp_path / "none" / "log") == 0


def test_a_lost_termination_log_is_reported(tmp_path: Path) -> None:
    """The exit code stays, the output names the file."""
    sink = io.BytesIO()
    missing = tmp_path / "missing" / "log"
    assert conclude(lambda _output: 1, output=Output(sink), termination_log=missing) == 0
    assert (
        f"warning: no termination message: cannot write {missing}: No such file or directory\n"
        == sink.getvalue().decode()
    )
