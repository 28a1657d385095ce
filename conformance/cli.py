"""The command line: `python -m conformance`."""

import argparse
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench.command import between
from conformance import images, page, programs
from conformance.choice import Choice, Portion, declare, parse_list, read_choice
from conformance.errors import ConformanceError
from conformance.job import run_job
from conformance.results import Outcome, Result, Store, read_report
from conformance.suite import REPORT, Suite
from demo.errors import FAILURES
from demo.screen import Screen
from demo.target import ROOT, Target, choose_target
from testbed import layout, paths
from testbed.commands import run
from testbed.errors import TestbedError

OK, NOT_AS_DECLARED, NOT_RUN, INTERRUPTED = 0, 1, 2, 130
_LIST = "test/conformance/testdata/conformance.yaml"
_INSTALLED = ("kns", "init-image", "manifests")
MAX_MINUTES = 1440
_PART = 30  # tests; each start of ginkgo takes some seconds
_LEAST_S = 60.0  # with less time left, no further portion starts
_TICK_S = 10.0  # between two lines about one long step


@dataclass(frozen=True, slots=True)
class Plan:
    """The tests that Kubernetes lists, and the declared ones."""

    listed: Sequence[str]
    choice: Choice
    portions: Sequence[Portion]


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """
    Run the command. Returns the exit status: 0 all tests ran and ended as declared, 1 not so, 2 not run,
    130 interrupted.
    """
    options = _build_parser().parse_args(arguments)
    # Also for SIGINT, because a shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    screen = Screen()
    try:
        return _run(options, environ, screen)
    except (ConformanceError, TestbedError, *FAILURES) as error:
        sys.stderr.write(f"conformance: {error}\n")
        return NOT_RUN
    except KeyboardInterrupt:
        sys.stderr.write("conformance: interrupted; what has a result keeps it: go on with --resume\n")
        return INTERRUPTED


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Run Kubernetes' own conformance tests in a job, and write docs/conformance.md.",
        epilog='Address and account come from the environment: eval "$(make -s env)". Only on the testbed.',
    )
    parser.add_argument("--portion", action="append", help="only this portion, e.g. sig-auth; may be repeated")
    parser.add_argument("--test", action="append", help="only tests whose name has this text; may be repeated")
    parser.add_argument("--resume", action="store_true", help="leave out the tests that passed in an earlier run")
    parser.add_argument(
        "--minutes", type=between(float, 0, MAX_MINUTES), default=150.0, help="time limit of all tests together (150)"
    )
    parser.add_argument("--processes", type=int, default=2, choices=range(1, 9), help="tests at the same time (2)")
    parser.add_argument(
        "--machine", default="kns-huge", help="machine of the job (kns-huge, whose quota decides nothing)"
    )
    parser.add_argument("--build", action="store_true", help="only build the programs and the images")
    parser.add_argument("--page", action="store_true", help="only write the page, from the results there are")
    return parser


def _run(options: argparse.Namespace, environ: Mapping[str, str], screen: Screen) -> int:
    target = choose_target(environ)
    if not target.is_testbed:
        raise ConformanceError("this needs the testbed, whose registry gets the images; unset KUBECONFIG")
    tick = _ticker(screen)
    source = programs.kubernetes_source(tick)
    choice = read_choice()
    listed = parse_list((source / _LIST).read_text("utf-8"))
    plan = Plan(listed, choice, declare(listed, choice))
    store = Store(programs.HOME / "results.json")
    if not options.page:
        screen.heading("Programs and images")
        built = programs.ensure(tick)
        programs.forget_old()
        images.ensure(built, source, screen.step, tick)
        if options.build:
            return OK
        wanted = select(plan.portions, store.read(), options)
        if not options.resume:
            store.clear(test for portion in wanted for test in portion.tests)
        suite = Suite(built["ginkgo"], built[programs.TESTS], paths.binary("kubectl"), options.processes)
        _run_tests(wanted, suite, store, target, environ, options, screen)
    return _report(plan, store.read(), screen)


def select(portions: Sequence[Portion], results: Mapping[str, Result], options: argparse.Namespace) -> list[Portion]:
    """
    The portions that the options choose, with the tests that they choose.

    Raises:
        ConformanceError: there is no such portion, or no test is left.
    """
    names = {portion.name for portion in portions}
    if unknown := sorted(set(options.portion or ()) - names):
        raise ConformanceError(f"there is no portion {', '.join(unknown)}; choose of {', '.join(sorted(names))}")

    def is_wanted(test: str) -> bool:
        has_passed = test in results and results[test].outcome is Outcome.PASSED
        return (not options.test or any(text in test for text in options.test)) and not (options.resume and has_passed)

    chosen = [portion for portion in portions if not options.portion or portion.name in options.portion]
    found = [Portion(portion.name, tuple(filter(is_wanted, portion.tests))) for portion in chosen]
    if not any(portion.tests for portion in found):
        raise ConformanceError("no test is left to run with these options")
    return [portion for portion in found if portion.tests]


def _run_tests(
    portions: Sequence[Portion],
    suite: Suite,
    store: Store,
    target: Target,
    environ: Mapping[str, str],
    options: argparse.Namespace,
    screen: Screen,
) -> None:
    """Run the portions one after the other in one job, and store the results of each."""
    label = f"conformance-{secrets.token_hex(4)}"
    commit = _describe_commit()
    screen.heading("The job")
    with run_job(target, environ, machine=options.machine, label=label, say=screen.step) as kubeconfig:
        deadline = time.monotonic() + options.minutes * 60
        for part in split(portions):
            left_s = deadline - time.monotonic()
            if left_s < _LEAST_S:
                screen.step(f"{part.name}: not run, the time is over; go on with --resume")
                continue
            screen.heading(part.name)
            folder = programs.HOME / "reports" / part.name
            shutil.rmtree(folder, ignore_errors=True)
            try:
                suite.run(
                    part.tests,
                    kubeconfig=kubeconfig,
                    folder=folder,
                    limit_s=left_s,
                    environ=environ,
                    say=screen.step,
                )
            finally:
                _keep_results(folder, store, commit, part, screen)


def split(portions: Sequence[Portion]) -> list[Portion]:
    """
    The portions in parts of at most 30 tests. ginkgo writes its report at the end, so a run that breaks off loses the
    results of one part.
    """
    parts = []
    for portion in portions:
        starts = range(0, len(portion.tests), _PART)
        for number, start in enumerate(starts, 1):
            name = portion.name if len(starts) == 1 else f"{portion.name}-{number}"
            parts.append(Portion(name, portion.tests[start : start + _PART]))
    return parts


def _describe_commit() -> str:
    """The last commit of this checkout that changed what `make up` installs; "-dirty" if it was changed since."""
    git: list[str | Path] = ["git", "-C", ROOT]
    commit = run([*git, "log", "-1", "--abbrev=8", "--format=%h", "--", *_INSTALLED]).stdout.strip()
    return f"{commit}-dirty" if run([*git, "status", "--porcelain", "--", *_INSTALLED]).stdout.strip() else commit


def _keep_results(folder: Path, store: Store, commit: str, portion: Portion, screen: Screen) -> None:
    file = folder / REPORT
    if not file.exists():
        screen.step(f"{portion.name}: no report; the log says why", style="red")
        return
    found = read_report(file.read_text("utf-8"), commit=commit, day=datetime.now(UTC).date().isoformat())
    mine = {test: result for test, result in found.items() if test in set(portion.tests)}
    store.add(mine)
    passed = sum(result.outcome is Outcome.PASSED for result in mine.values())
    screen.step(f"{portion.name}: {passed} of {len(portion.tests)} passed")


def _report(plan: Plan, results: Mapping[str, Result], screen: Screen) -> int:
    summary = page.summarize(plan.listed, plan.portions, plan.choice, results, layout.KUBERNETES_VERSION)
    declared = {test for portion in plan.portions for test in portion.tests}
    page.write(page.render(summary, plan.choice, {test: results[test] for test in declared if test in results}))
    screen.heading("Results, also in docs/conformance.md")
    for name, count in (*summary.counts.items(), ("all", summary.total)):
        screen.step(
            f"{name}: {count.passed} of {count.declared} passed, {count.known} known to fail, "
            f"{count.unknown} failed otherwise, {count.not_run} not run"
        )
    for test, message in summary.unknown.items():
        screen.step(f"failed: {test}: {message[:200]}", style="red")
    for test in summary.surprising:
        screen.step(f"passed, but choice.yaml says that it fails: {test}", style="yellow")
    for goal in page.find_missed_goals(summary):
        screen.step(f"goal not reached: {goal}", style="yellow")
    return OK if summary.is_as_declared else NOT_AS_DECLARED


def _ticker(screen: Screen) -> Callable[[str], None]:
    """Say what a long step does, from time to time."""
    spoke = [time.monotonic()]

    def tick(detail: str) -> None:
        if time.monotonic() - spoke[0] >= _TICK_S:
            spoke[0] = time.monotonic()
            screen.step(f"... {detail}")

    return tick


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
