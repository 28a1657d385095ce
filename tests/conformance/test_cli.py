"""The command: which tests the options choose, the job around them, and the exit status."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance import cli, images, page, programs
from conformance.choice import Portion, read_choice
from conformance.errors import ConformanceError
from conformance.results import Outcome, Result
from conformance.suite import REPORT, Suite

A = "[sig-api-machinery] a [Conformance]"
B = "[sig-auth] b [Conformance]"
C = "[sig-auth] c [Conformance]"
PORTIONS = [Portion("sig-api-machinery", (A,)), Portion("sig-auth", (B, C))]
PASSED = Result(Outcome.PASSED, 1.0, "", "abc", "2026-11-28")


def _select(*arguments: str, results: dict[str, Result] | None = None) -> list[tuple[str, tuple[str, ...]]]:
    options = cli._build_parser().parse_args(arguments)
    return [(portion.name, portion.tests) for portion in cli.select(PORTIONS, results or {}, options)]


def test_everything_runs_by_default_also_what_passed_before() -> None:
    assert _select(results={A: PASSED}) == [("sig-api-machinery", (A,)), ("sig-auth", (B, C))]


def test_options_choose_portions_and_tests() -> None:
    assert _select("--portion", "sig-auth") == [("sig-auth", (B, C))]
    assert _select("--test", "] a", "--test", "] c") == [("sig-api-machinery", (A,)), ("sig-auth", (C,))]
    assert _select("--resume", results={A: PASSED, B: PASSED}) == [("sig-auth", (C,))]


def test_large_portions_run_in_parts() -> None:
    tests = tuple(f"[sig-a] {number:03}" for number in range(61))
    parts = cli.split([Portion("sig-a", tests), Portion("sig-b", tests[:30])])
    assert [(part.name, len(part.tests)) for part in parts] == [
        ("sig-a-1", 30),
        ("sig-a-2", 30),
        ("sig-a-3", 1),
        ("sig-b", 30),
    ]
    assert tuple(test for part in parts[:3] for test in part.tests) == tests


@pytest.mark.parametrize(
    ("arguments", "message"), [(("--portion", "sig-x"), "no portion sig-x"), (("--test", "zz"), "no test")]
)
def test_a_choice_of_nothing_is_an_error(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        _select(*arguments)


class _World:
    """The parts that need a machine: programs, images, job, tests."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.outcomes: dict[str, str] = {}
        self.error: BaseException | None = None
        source = folder / "source" / "test/conformance/testdata"
        source.mkdir(parents=True)
        (source / "conformance.yaml").write_text("".join(f"- codename: '{test}'\n" for test in (A, B, C)))
        choice = folder / "choice.yaml"
        choice.write_text(
            "order: [sig-api-machinery, sig-auth]\nexcluded: []\nfailing:\n- reason: why\n  tests:\n  - '" + C + "'\n"
        )
        self.page = folder / "page.md"
        self.page.write_text(f"{page.BEGIN}\n{page.END}\n")
        real_read, real_write = read_choice, page.write
        monkeypatch.setattr(cli, "read_choice", lambda: real_read(choice))
        monkeypatch.setattr(page, "write", lambda text: real_write(text, self.page))
        monkeypatch.setattr(programs, "HOME", folder / "home")
        monkeypatch.setattr(programs, "kubernetes_source", lambda _: folder / "source")
        monkeypatch.setattr(programs, "ensure", lambda _: {"ginkgo": folder, programs.TESTS: folder})
        monkeypatch.setattr(programs, "forget_old", lambda: None)
        monkeypatch.setattr(images, "ensure", lambda *_: self.events.append("images"))
        monkeypatch.setattr(cli, "run_job", self._run_job)
        monkeypatch.setattr("conformance.cli.signal.signal", lambda *_: None)  # pytest's own stay
        monkeypatch.setattr(Suite, "run", self._run_suite)

    @contextlib.contextmanager
    def _run_job(self, *_: object, **__: object) -> Iterator[Path]:
        self.events.append("job")
        try:
            yield Path("kubeconfig")
        finally:
            self.events.append("removed")

    def _run_suite(self, names: Sequence[str], *, folder: Path, **_: Any) -> None:
        self.events.append(f"{len(names)} tests")
        folder.mkdir(parents=True)
        cases = (
            f'<testcase name="[It] {name}" status="{self.outcomes[name]}" time="1"/>'
            for name in names
            if name in self.outcomes
        )
        (folder / REPORT).write_text(f"<testsuite>{''.join(cases)}</testsuite>")
        if self.error is not None:
            raise self.error


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _World:
    return _World(tmp_path, monkeypatch)


def test_a_run_as_declared_succeeds_and_writes_the_page(world: _World) -> None:
    world.outcomes = {A: "passed", B: "passed", C: "failed"}
    assert cli.main([], {}) == cli.OK
    assert world.events == ["images", "job", "1 tests", "2 tests", "removed"]
    assert "3 are declared, 2 of them pass (66.7 %)" in world.page.read_text()


def test_an_unexpected_failure_fails_the_run(world: _World) -> None:
    world.outcomes = {A: "passed", B: "failed", C: "failed"}
    assert cli.main([], {}) == cli.NOT_AS_DECLARED
    assert f"* `{B}`" in world.page.read_text()


def test_an_interruption_removes_the_job_and_keeps_what_ended(world: _World) -> None:
    world.outcomes, world.error = {A: "passed"}, KeyboardInterrupt()
    assert cli.main([], {}) == cli.INTERRUPTED
    assert world.events[-1] == "removed"
    world.outcomes, world.error = {B: "passed", C: "failed"}, None
    assert cli.main(["--resume"], {}) == cli.OK
    assert world.events[-3:] == ["job", "2 tests", "removed"]


def test_a_new_run_forgets_the_results_of_the_tests_that_it_runs(world: _World) -> None:
    world.outcomes = {A: "passed", B: "passed", C: "failed"}
    assert cli.main([], {}) == cli.OK
    world.outcomes = {}
    assert cli.main(["--portion", "sig-auth"], {}) == cli.NOT_AS_DECLARED
    assert "| sig-auth | 2 | 0 | 0 | 0 | 2 |" in world.page.read_text()
    assert "| sig-api-machinery | 1 | 1 | 0 | 0 | 0 |" in world.page.read_text()


def test_portions_after_the_time_limit_do_not_run(world: _World) -> None:
    world.outcomes = {A: "passed"}
    assert cli.main(["--minutes", "0"], {}) == cli.NOT_AS_DECLARED
    assert world.events == ["images", "job", "removed"]


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1", "soon"])
def test_a_time_limit_is_a_number_of_minutes(world: _World, minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([f"--minutes={minutes}"], {})
    assert f"'{minutes}' is not a number from 0 to 1440" in capsys.readouterr().err
    assert world.events == []


def test_building_starts_no_job(world: _World) -> None:
    assert cli.main(["--build"], {}) == cli.OK
    assert world.events == ["images"]


def test_another_cluster_is_refused(
    world: _World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"KUBECONFIG": "/elsewhere", "KNS_REGISTRY": "r", "JARVICE_JOBS_DOMAIN": "d", "PATH": "/usr/bin:/bin"}
    monkeypatch.setattr(cli, "choose_target", lambda _: type("Other", (), {"is_testbed": False})())
    assert cli.main([], environ) == cli.NOT_RUN
    assert "needs the testbed" in capsys.readouterr().err
    assert world.events == []
