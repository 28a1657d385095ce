"""
Wire the runner: arguments and environment in, exit code and termination message out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from runner.api import NestedApi
from runner.attempt import Workplace
from runner.cluster import NestedCluster
from runner.folder import TemplatesFolder
from runner.outcome import ExitCode, Failure, PlanRefused, failed, succeeded, write_termination_message
from runner.output import Output
from runner.plan import read_plan
from runner.shutdown import Shutdown
from runner.steps import Run

DEFAULT_PLAN = Path("/etc/kns/plan/plan.json")
DEFAULT_KUBECONFIG = "/etc/kns/secret/kubeconfig"
DEFAULT_WORK_DIR = "/work"
DEFAULT_TERMINATION_LOG = "/dev/termination-log"


class _Parser(argparse.ArgumentParser):
    """argparse with an exit code that has no other meaning here."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.PLAN_REFUSED, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plan. Returns the exit code."""
    parser = _Parser(prog="runner", description="Run the items of a plan against the nested cluster.")
    parser.add_argument("--plan", type=Path, default=DEFAULT_PLAN, help="the plan file (default: %(default)s)")
    plan_path: Path = parser.parse_args(argv).plan
    shutdown = Shutdown()
    shutdown.install()
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as stdout:
        return conclude(
            lambda output: run_plan(
                plan_path, environ=os.environ, output=output, shutdown=shutdown, pause=shutdown.pause
            ),
            output=Output(stdout),
            termination_log=Path(os.environ.get("KNS_TERMINATION_LOG", DEFAULT_TERMINATION_LOG)),
        )


def run_plan(
    plan_path: Path,
    *,
    environ: Mapping[str, str],
    output: Output,
    shutdown: Shutdown,
    pause: Callable[[float], None],
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """
    Read the plan and run it. Returns the number of its steps.

    Raises:
        Failure: a step failed, or the run was ended.
    """
    plan = read_plan(plan_path)
    if not plan.templates_dir.is_dir():
        raise PlanRefused(f"the plan's templatesDir {plan.templates_dir} is not a folder in this container; mount it")
    work_dir = Path(environ.get("KNS_WORK_DIR", DEFAULT_WORK_DIR))
    folder = TemplatesFolder(plan.templates_dir, spare_dir=work_dir)
    place = Workplace(
        templates_dir=plan.templates_dir,
        work_dir=work_dir,
        output=output,
        shutdown=shutdown,
        folder=folder,
    )
    with contextlib.closing(NestedApi(Path(environ.get("KUBECONFIG", DEFAULT_KUBECONFIG)))) as api:
        Run(
            plan=plan,
            cluster=NestedCluster(api, clock=clock, pause=pause, say=output.line),
            attempt=place.attempt,
            output=output,
            shutdown=shutdown,
            pause=pause,
        ).run()
    return len(plan.steps)


def conclude(run: Callable[[Output], int], *, output: Output, termination_log: Path) -> int:
    """
    Run the plan and report the result: a last line, the termination message, the exit code.

    No exception leaves this function, because Python's exit code for an exception, 1, has another meaning (`ExitCode`).
    """
    last: list[str] = []
    try:
        outcome = succeeded(run(output))
    except Failure as failure:
        outcome = failed(failure)
        if failure.code is not ExitCode.ITEM_OUT_OF_RETRIES:  # its last attempt has already been reported
            last.append(str(failure))
    except Exception as err:  # noqa: BLE001  # the outermost frame, see the docstring
        last += traceback.format_exc().splitlines()
        outcome = failed(Failure(f"the init runner itself failed: {type(err).__name__}: {err}"))
    try:
        write_termination_message(outcome, termination_log)
    except OSError as err:
        last.append(f"warning: no termination message: cannot write {termination_log}: {err.strerror}")
    with contextlib.suppress(OSError):  # nobody reads the output any more; message and exit code still tell
        for line in last:
            output.last(line)
    return outcome.code
