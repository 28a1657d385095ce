"""
Measure how soon the cluster of a claimed member of the warm pool is usable: `python -m bench.claims`.

One job after another takes a ready member and is terminated as soon as its API answers. So a claim meets the removal of
the last jobs and perhaps the making of a member. `bench.start --pooled` waits for a calm node. kns must have a pool
(KNS_POOL).
"""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from bench.chains import PooledChain, build_kns_chain
from bench.command import EPILOG, NOT_RUN, add_json, between, run_measurement
from bench.figures import Figures
from bench.page import Section
from bench.start_report import Row, Table, report_tables
from demo.kubectl import Kubectl
from demo.target import choose_target

MAX_CLAIMS = 1000
CLAIMS = Section("claims")
_SHOWN_EVERY = 10


@dataclass(slots=True)
class Result:
    """Seconds from each submission until the API of the job's virtual cluster answers."""

    wanted: int
    usable_s: list[float] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return len(self.usable_s) == self.wanted


def measure(chain: PooledChain, result: Result, *, say: Callable[[str], None]) -> None:
    """
    Claim `result.wanted` members. No job stays.

    Raises:
        BenchError, ClientError: a claim failed.
    """
    try:
        while not result.is_whole:
            result.usable_s.append(chain.claim())
            done = len(result.usable_s)
            if done % _SHOWN_EVERY == 0 or result.is_whole:
                say(f"{done} of {result.wanted} claims, the last usable after {result.usable_s[-1]:.2f} s")
    finally:
        chain.clean_up()


def build_table(result: Result) -> Table:
    figures = Figures.of([1000 * each for each in result.usable_s])
    rows = (("p50", figures.median_ms), ("p90", figures.p90_ms), ("p99", figures.p99_ms), ("longest", figures.max_ms))
    title, chain = f"virtual cluster usable, {len(result.usable_s)} claims", PooledChain.name
    return Table("usable", title, "ms", (chain,), tuple(Row(name, {chain: [value]}) for name, value in rows))


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command. Returns the exit status: 0 complete, 1 a part is missing, 2 not run."""
    options = _build_parser().parse_args(arguments)
    result, console, target = Result(options.claims), Console(), choose_target(environ)
    kubectl, label = Kubectl.of(target), f"bench-{secrets.token_hex(4)}"

    def run() -> None:
        chain = build_kns_chain(PooledChain, target, kubectl, environ, label=label, machine=options.machine)
        measure(chain, result, say=console.print)

    run_measurement("bench-claims", run, on_interrupt=f"jobs with label {label} were terminated")
    if not result.usable_s:
        return NOT_RUN
    return report_tables(result, [build_table(result)], CLAIMS, options=options, kubectl=kubectl, console=console)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.claims",
        description="Measure how soon the cluster of a claimed member of the warm pool is usable.",
        epilog=EPILOG,
    )
    parser.add_argument("--claims", type=between(int, 1, MAX_CLAIMS), default=100, help="one after another (100)")
    parser.add_argument("--machine", default="kns-small", help="machine of the catalogue (kns-small)")
    parser.add_argument("--write", action="store_true", help="replace the figures and the plot in docs/")
    add_json(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
