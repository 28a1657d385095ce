"""
Measure how fast a cluster and its page are there, and how fast they are gone: `python -m bench.start`.

Every figure is measured beside its peer in the same run: one start of kns, one by hand, and so on, so that a busy
minute hits both. docs/performance.md has the figures of the last run; `--write` replaces them.
"""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from bench.chains import Chain, HandChain, KnsChain, PooledChain, build_kns_chain
from bench.command import EPILOG, NOT_RUN, add_json, between, run_measurement
from bench.idle import Idle, measure_idle
from bench.start_report import COLD, WARM, Measured, build_tables, report_tables
from demo.dev import find_chart
from demo.kubectl import Kubectl
from demo.target import Target, choose_target
from testbed import paths

MAX_AT_ONCE = 20
_IDLE_SETTLE_S = 60.0  # after the page answers, a control plane still starts its controllers
_IDLE_S = 60.0
_CALM_S = 5.0  # between two starts: the host still removes the last one's objects


@dataclass(frozen=True, slots=True)
class Load:
    """`rounds` of one start each; then `at_once` starts at the same time, if that is not 0."""

    rounds: int
    at_once: int
    idle: bool
    label: str


@dataclass(slots=True)
class Result:
    """Everything that was measured, by the name of the chain."""

    load: Load
    chains: dict[str, Measured] = field(default_factory=dict)
    is_whole: bool = False


def measure(
    chains: Sequence[Chain], idle: Callable[[str], Idle], result: Result, *, say: Callable[[str], None]
) -> None:
    """
    Run all measurements. Whatever a failed start left is removed.

    Raises:
        BenchError: a start or a removal failed.
    """
    load = result.load
    for chain in chains:
        result.chains[chain.name] = Measured()
    try:
        for number in range(load.rounds):
            for chain in chains:
                _measure_one(chain, result.chains[chain.name], f"round {number + 1}: ", say)
        if load.at_once:
            for chain in chains:
                _measure_many(chain, load.at_once, result.chains[chain.name], say)
        if load.idle:
            for chain in chains:
                _measure_idle(chain, idle, result.chains[chain.name], say)
        result.is_whole = True
    finally:
        for chain in chains:
            chain.clean_up()


def _measure_one(chain: Chain, measured: Measured, prefix: str, say: Callable[[str], None]) -> None:
    start = chain.start()
    measured.starts.append(start)
    ended_s = chain.end(start)
    measured.ends_s.append(ended_s)
    say(f"{prefix}{chain.name}: page after {start.total_s:.1f} s, gone after {ended_s:.1f} s")
    time.sleep(_CALM_S)


def _measure_many(chain: Chain, count: int, measured: Measured, say: Callable[[str], None]) -> None:
    begun = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        starts = list(pool.map(lambda _: chain.start(crowded=True), range(count)))
        measured.makespans_s.append(time.perf_counter() - begun)
        say(f"{chain.name}: {count} pages after {measured.makespans_s[-1]:.1f} s")
        list(pool.map(chain.end, starts))
    time.sleep(_CALM_S)


def _measure_idle(chain: Chain, idle: Callable[[str], Idle], measured: Measured, say: Callable[[str], None]) -> None:
    start = chain.start()
    time.sleep(_IDLE_SETTLE_S)
    measured.idle = idle(start.namespace)
    say(f"{chain.name}: {measured.idle.memory_mib:.0f} MiB, {measured.idle.millicores:.0f} millicores when idle")
    chain.end(start)


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command. Returns the exit status: 0 complete, 1 a part is missing, 2 not run."""
    options = _build_parser().parse_args(arguments)
    load = Load(options.rounds, options.at_once, options.idle, f"bench-{secrets.token_hex(4)}")
    result, console, target = Result(load), Console(), choose_target(environ)
    kubectl = Kubectl.of(target)

    def run() -> None:
        chain = PooledChain if options.pooled else KnsChain
        chains = _build_chains(target, kubectl, environ, load, options.machine, chain)
        measure(chains, lambda namespace: measure_idle(kubectl, namespace, _IDLE_S), result, say=console.print)

    run_measurement("bench", run, on_interrupt=f"jobs with label {load.label} were terminated")
    if not any(measured.starts or measured.idle for measured in result.chains.values()):
        return NOT_RUN
    section = WARM if options.pooled else COLD
    tables = build_tables(result.chains, section)
    return report_tables(result, tables, section, options=options, kubectl=kubectl, console=console)


def _build_chains(
    target: Target, kubectl: Kubectl, environ: Mapping[str, str], load: Load, machine: str, chain: type[KnsChain]
) -> tuple[Chain, ...]:
    by_kns = build_kns_chain(chain, target, kubectl, environ, label=load.label, machine=machine)
    helm = environ.get("KNS_HELM") or str(paths.binary("helm"))
    chart = Path(environ.get("KNS_VCLUSTER_CHART") or find_chart())
    by_hand = HandChain(helm, chart, kubectl, target, ingress_url=target.ingress_url, prefix=load.label)
    return by_hand, by_kns


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.start",
        description="Measure starts and removals of clusters, each beside its peer by hand.",
        epilog=EPILOG,
    )
    parser.add_argument("--rounds", type=between(int, 1, 100), default=5, help="starts of each kind (5)")
    parser.add_argument(
        "--at-once", type=between(int, 0, MAX_AT_ONCE), default=8, help="simultaneous starts (8; 0: none)"
    )
    parser.add_argument(
        "--pooled", action="store_true", help="measure starts from a warm pool; kns must have one (KNS_POOL)"
    )
    parser.add_argument("--no-idle", dest="idle", action="store_false", help="leave out memory and CPU of an idle job")
    parser.add_argument("--machine", default="kns-small", help="machine of the catalogue (kns-small)")
    parser.add_argument("--write", action="store_true", help="replace the figures and plots in docs/")
    add_json(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
