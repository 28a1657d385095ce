"""
Measure the plugin of the Posit Job Launcher: its real process over stdio, against a real kube-apiserver and etcd.

No node runs: the measurement makes the pods and says what a node would say. Requests of one kind are sent at once, and
each is timed from its sending to the arrival of its whole answer. Name the two programs in KNS_KUBE_APISERVER and
KNS_ETCD: `python -m bench.posit --jobs 200 --at-once 50`.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.command import add_json, between, report
from bench.errors import BenchError
from bench.figures import Figures
from bench.posit_finished import measure_finished
from bench.posit_report import Goals, Result, show, write_section
from bench.posit_rig import Burst, Rig, build_bursts
from demo.target import ROOT
from tests.policies.api_server import find_programs, running


@dataclass(frozen=True, slots=True)
class _Plan:
    jobs: int
    variables: int
    at_once: int
    rounds: int
    changes: int


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.posit", description=__doc__)
    parser.add_argument("--jobs", type=between(int, 1, 1000), default=200, help="running jobs (200)")
    parser.add_argument("--variables", type=between(int, 0, 500), default=40, help="variables of each (40)")
    parser.add_argument("--at-once", type=between(int, 1, 190), default=50, help="concurrent requests (50)")
    parser.add_argument("--rounds", type=between(int, 1, 100), default=4, help="bursts of each kind of request (4)")
    parser.add_argument("--changes", type=between(int, 1, 1000), default=100, help="measured changes of state (100)")
    parser.add_argument(
        "--finished",
        type=between(int, 0, 50_000),
        default=10_000,
        help="finished jobs whose memory is measured (10000)",
    )
    parser.add_argument("--write", action="store_true", help="replace the figures in docs/performance.md")
    add_json(parser)
    given = parser.parse_args(arguments)
    programs = find_programs()
    if programs is None:
        sys.stderr.write("posit: set KNS_KUBE_APISERVER and KNS_ETCD to the two programs; `make up` fetches them\n")
        return 2
    try:
        result = _measure(
            programs, _Plan(given.jobs, given.variables, given.at_once, given.rounds, given.changes), given.finished
        )
    except BenchError as error:
        sys.stderr.write(f"posit: {error}\n")
        return 2
    if given.write:
        write_section(ROOT / "docs", result)
    return report(result, show=show, to_json=asdict, file=given.json, is_whole=Goals.of(result).are_met)


def _measure(programs: tuple[str, str], plan: _Plan, finished: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="kns-bench-posit-") as name:
        folder = Path(name)
        with running(folder, programs) as api, Rig(api, folder) as rig:
            _say(f"{plan.jobs} jobs are submitted")
            rig.start_jobs(plan.jobs, variables=plan.variables)
            idle = rig.memory_mib()
            times: dict[str, list[float]] = {}
            sizes: dict[str, int] = {}
            for burst in build_bursts(rig):
                _say(f"{plan.rounds} times {plan.at_once} requests at once: {burst.name}")
                times[burst.name], sizes[burst.name] = _run_bursts(rig, burst, plan)
            _say(f"{plan.changes} changes of state, without requests and beside them")
            calm = rig.measure_changes(plan.changes)
            with rig.load(plan.at_once):
                busy = rig.measure_changes(plan.changes)
            watches, connections = rig.count_watches(), rig.count_connections()
            memory, version = rig.memory_mib(peak=True), rig.server_version()
    _say(f"memory of {finished} finished jobs")
    return Result(
        jobs=plan.jobs,
        variables=plan.variables,
        at_once=plan.at_once,
        requests={kind: Figures.of(values) for kind, values in times.items()},
        answer_bytes=sizes,
        change_calm=Figures.of(calm),
        change_busy=Figures.of(busy),
        memory_mib=memory,
        memory_idle_mib=idle,
        watches=watches,
        connections=connections,
        server=version,
        finished=measure_finished(finished, variables=plan.variables) if finished else None,
    )


def _run_bursts(rig: Rig, burst: Burst, plan: _Plan) -> tuple[list[float], int]:
    """Times in ms, and the size of one answer in bytes."""
    times: list[float] = []
    size = 0
    for _ in range(plan.rounds):
        fresh, size = rig.burst(burst, plan.at_once)
        times += fresh
    return times, size


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
