"""The parts that the command lines of all measurements share."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError
from demo.errors import FAILURES

ResultT = TypeVar("ResultT")

EPILOG = 'Address and accounts come from the environment: eval "$(make -s env)".'
OK, INCOMPLETE, NOT_RUN = 0, 1, 2


def between(kind: type[int] | type[float], low: float, high: float) -> Any:
    """A type for argparse: a number within bounds, so that a typing error does not overload the site."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")

    return parse


def add_common(parser: argparse.ArgumentParser, *, machine: str, removal_s: float) -> None:
    """Add the options of every load: app, machine, time for the removal, and the file for the figures."""
    parser.add_argument("--app", default="hello", help="app of the catalogue (hello)")
    parser.add_argument("--machine", default=machine, help=f"machine of the catalogue ({machine})")
    parser.add_argument(
        "--removal",
        type=between(float, 1, 7200),
        default=removal_s,
        help=f"seconds until all jobs are removed ({removal_s:g})",
    )
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option for the file with the figures."""
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file too; - for stdout")


def run_measurement(name: str, run: Callable[[], None], *, on_interrupt: str) -> None:
    """Run a measurement. A failure or an interruption becomes a line on stderr; what was measured so far stays."""
    try:
        run()
    except (BenchError, *FAILURES) as error:
        sys.stderr.write(f"{name}: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted; {on_interrupt}\n")


def report(
    result: ResultT,
    *,
    show: Callable[[ResultT], None],
    to_json: Callable[[ResultT], Any],
    file: str | None,
    is_whole: bool,
) -> int:
    """Show the figures, and write them to `file` if one is given. Returns the exit status."""
    show(result)
    if file == "-":
        sys.stdout.write(_encode(to_json(result)))
    elif file:
        Path(file).write_text(_encode(to_json(result)), "utf-8")
    return OK if is_whole else INCOMPLETE


def _encode(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"
