"""
Measure what a job costs kns and the host's API server, and how that grows with the number of jobs:
`python -m bench.scale`.

etcd, kube-apiserver, kube-controller-manager and kns are real and run on loopback; nodes and virtual clusters are
simulated (`bench.scale_nodes`, `bench.scale_kns`). At each level of live jobs the same is measured: requests of idle
jobs, lives that arrive at random, memory, and a restart. Beside it, in the same run, batch/v1 Jobs live on the same
nodes. docs/performance.md has the figures of the last run; `--write` replaces them.
"""

import argparse
import asyncio
import logging
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from bench.client import BenchClient
from bench.command import NOT_RUN, add_json, between, report, run_measurement
from bench.errors import BenchError
from bench.scale_audit import AuditLog
from bench.scale_engine import measure_engine
from bench.scale_host import Host, Scheduler, read_usage, running_host
from bench.scale_jobs import Jobs, Life, RecordWatch
from bench.scale_nodes import Nodes, Times
from bench.scale_records import make_ended_records
from bench.scale_report import SPANS, build_tables, write_section
from bench.scale_result import Level, Load, Phase, Result
from bench.scale_yardstick import measure_yardstick
from demo.target import ROOT
from kns.client import ApiKey
from kns.model.errors import KnsError

LEVELS = (100, 1000)
_ENDED_FROM = 1000  # the goals for memory and restart are for this many live jobs and the ended records
MAX_JOBS = 15_000
_SETTLE_S = 65.0  # each stage's interval of a serving job has passed once
_CAUGHT_UP_S = 300.0
_USERS = 50
_DRAIN_STEP = 500  # lives from one line of progress to the next


class Run:
    """One run over a cluster that is up."""

    def __init__(self, host: Host, kns: Scheduler, jobs: Jobs, result: Result, console: Console) -> None:
        self._host = host
        self._kns = kns
        self._jobs = jobs
        self._result = result
        self._load = result.load
        self._console = console
        self._audit = AuditLog(host.audit_log)
        self._rng = random.Random(result.load.seed)

    async def measure(self) -> None:
        """
        Raises:
            BenchError: kns refused a job, a job failed, or it took too long.
        """
        load, phases = self._load, self._result.phases
        await self._jobs.live_once()  # the first job starts helm
        self._result.empty_mib = self._memory()
        ended = 0
        for index, live in enumerate(load.levels):
            if load.ended and not ended and (live >= _ENDED_FROM or live == load.levels[-1]):
                self._say(f"{load.ended} ended records are made")
                self._kns.stop()  # it would start the job of a record that does not say yet that it ended
                await asyncio.to_thread(make_ended_records, self._host.client, load.ended, users=self._kns.users)
                self._kns.start()
                ended = load.ended
            with self._phase(f"rise to {live}") as phase:
                self._note(phase, await self._jobs.raise_to(live, window=load.window))
            phases[phase.name] = phase
            await self._measure_level(live, ended=ended)
            if index == 0 and load.burst:
                with self._phase(f"{load.burst} at once") as phase:
                    self._note(phase, await self._jobs.release(load.burst))
                phases["burst"] = phase
        with self._phase(f"end of {len(self._jobs.live)} at once") as phase:
            self._note(phase, await self._jobs.end_all(), spans=("gone",))
        phases["end"] = phase
        if load.drain:
            with self._phase(f"drain of {load.drain}") as phase:
                phases["drain"] = phase
                await self._drain(phase)

    async def _drain(self, phase: Phase) -> None:
        """The lives that ended are noted even if it is interrupted: it may take hours."""
        lives: list[Life] = []
        begun, spent = time.monotonic(), self._cpu()["kns"]
        try:
            async for life in self._jobs.churn(self._load.drain, window=self._load.window):
                lives.append(life)
                if len(lives) % _DRAIN_STEP == 0:
                    cost_ms = (self._cpu()["kns"] - spent) * 1000 / len(lives)
                    self._say(
                        f"{len(lives)} lives in {time.monotonic() - begun:.0f} s:"
                        f" kns has {self._memory():.0f} MiB, and spent {cost_ms:.0f} ms of processor time on each"
                    )
        finally:
            self._note(phase, lives)

    async def _measure_level(self, live: int, *, ended: int) -> None:
        load = self._load
        await asyncio.sleep(_SETTLE_S if load.idle_s else 0.0)
        with self._phase("idle") as idle:
            await asyncio.sleep(load.idle_s)
        with self._phase("poisson") as poisson:
            self._note(poisson, await self._arrive(load.rate, load.poisson_s))
        memory = self._memory()
        self._kns.stop()
        restart_s = self._kns.start()
        caught_up_s = self._kns.await_caught_up(live + ended, within_s=_CAUGHT_UP_S)
        level = Level(live, ended, idle, poisson, memory, restart_s, caught_up_s, self._memory())
        self._audit.read_new()  # that of the restart
        self._result.levels.append(level)
        self._say(f"level {live}: {memory:.0f} MiB, {caught_up_s:.1f} s after its start it had caught up")

    async def _arrive(self, rate: float, seconds: float) -> list[Life]:
        """Whole lives that begin at random moments, whether or not the earlier ones are ready."""
        begun, due = time.monotonic(), 0.0
        tasks: list[asyncio.Task[Life]] = []
        while (due := due + self._rng.expovariate(rate)) < seconds:
            await asyncio.sleep(max(0.0, begun + due - time.monotonic()))
            tasks.append(asyncio.create_task(self._jobs.live_once()))
        return list(await asyncio.gather(*tasks))

    @contextmanager
    def _phase(self, name: str) -> Iterator[Phase]:
        """Count what happens while the block runs."""
        phase = Phase(name, len(self._jobs.live))
        self._audit.read_new()
        begun, before, reconciles = time.monotonic(), self._cpu(), self._kns.count_reconciles()
        try:
            yield phase
        finally:  # what was done until an interruption counts as well
            self._finish(phase, begun, before, reconciles)

    def _finish(self, phase: Phase, begun: float, before: dict[str, float], reconciles: int) -> None:
        phase.seconds = time.monotonic() - begun
        after = self._cpu()
        phase.cpu_s = {program: after[program] - before[program] for program in after}
        phase.requests = self._audit.read_new().kns
        phase.reconciles = self._kns.count_reconciles() - reconciles
        asked = f"{phase.requests.reads} reads, {phase.requests.writes} writes of kns"
        self._say(f"{phase.name}: {phase.seconds:.1f} s, {asked}")

    @staticmethod
    def _note(phase: Phase, lives: Sequence[Life], *, spans: Sequence[str] = SPANS) -> None:
        """`spans` are those that passed in this phase."""
        phase.lives = len(lives)
        for life in lives:
            for name, span_ms in life.spans_ms().items():
                if name in spans:
                    phase.spans_ms.setdefault(name, []).append(span_ms)

    def _cpu(self) -> dict[str, float]:
        spent = {program: read_usage(pid).cpu_s for program, pid in self._host.processes.items()}
        own = time.process_time()
        return {**spent, "kns": read_usage(self._kns.pid).cpu_s, "nodes and load": own}

    def _memory(self) -> float:
        return read_usage(self._kns.pid).memory_mib

    def _say(self, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, soft_wrap=True)


async def measure(host: Host, result: Result, console: Console) -> None:
    """
    Start kns and the nodes on the cluster, and run all measurements.

    Raises:
        BenchError: see `Run.measure`.
    """
    load = result.load
    settings = {
        "KNS_WORKERS": str(load.workers),
        "KNS_WRITES_PER_SECOND": "10000",  # the API server is the limit here
        "KNS_LIVE_JOBS_PER_USER": "0",
        "KNS_SUBMITS_PER_MINUTE": "1000000",
        "KNS_RETAINED_JOBS_PER_USER": "0",
        # A prepared state comes from a pod that runs the real control plane once.
        "KNS_PREPARED_STATE": "false",
        "JARVICE_K8S_SCHED_LOGLEVEL": "30",
    }
    kns = Scheduler(host, users=_USERS, settings=settings)
    nodes = Nodes(host.client, host.folder, kns.marks, times=Times(), seed=load.seed)
    watch = RecordWatch(host.client)
    with ExitStack() as stack:
        nodes.start()
        stack.callback(nodes.close)
        kns.start()
        stack.callback(kns.stop)
        watch.start()
        stack.callback(watch.close)
        accounts = [ApiKey(user, f"key-{user}") for user in kns.users]
        async with BenchClient(kns.url, accounts, f"scale-{secrets.token_hex(4)}", timeout_s=60.0) as client:
            jobs = Jobs(client, watch, patience_s=load.patience_s)
            await Run(host, kns, jobs, result, console).measure()
        if load.yardstick:
            result.yardstick = await asyncio.to_thread(measure_yardstick, host, load.yardstick)
        result.node_failures = nodes.failures


def to_json(result: Result) -> dict[str, Any]:
    """The figures for programs. Requests have keys like `patch services`."""

    def encode(value: Any) -> Any:
        if is_dataclass(value):
            return {each.name: encode(getattr(value, each.name)) for each in fields(value)}
        if isinstance(value, dict):
            return {
                " ".join(map(str, key)) if isinstance(key, tuple) else str(key): encode(each)
                for key, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [encode(each) for each in value]
        return value

    return dict(encode(result))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 complete, 1 a part is missing, 2 not run."""
    options = _build_parser().parse_args(arguments)
    load = Load(
        levels=options.levels,
        burst=options.burst,
        rate=options.rate,
        poisson_s=options.poisson,
        idle_s=options.idle,
        ended=options.ended,
        drain=options.drain,
        window=options.window,
        yardstick=options.yardstick,
        engine=options.engine,
        workers=options.workers,
        seed=options.seed,
        patience_s=options.patience,
    )
    result, console = Result(load), Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    def run() -> None:
        if load.engine:
            result.engine = measure_engine(load.engine)
        try:
            with _make_folder(options.keep) as folder, running_host(folder) as host:
                asyncio.run(measure(host, result, console))
                result.is_whole = True
        except (KnsError, OSError) as error:
            raise BenchError(f"the cluster of the measurement failed: {error}") from error

    run_measurement("bench-scale", run, on_interrupt="all processes have ended")
    if not result.phases and result.engine is None:
        return NOT_RUN
    tables = build_tables(result)
    if options.write:
        write_section(ROOT / "docs", tables, result)
    return report(
        result,
        show=lambda _: console.print("\n\n".join(tables), markup=False, soft_wrap=True),
        to_json=to_json,
        file=options.json,
        is_whole=result.is_whole,
    )


@contextmanager
def _make_folder(keep: str | None) -> Iterator[Path]:
    """The folder of all logs and of etcd, which is removed at the end unless it is given."""
    if keep is not None:
        folder = Path(keep).resolve()
        folder.mkdir(parents=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="kns-scale-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def _levels(text: str) -> tuple[int, ...]:
    count = between(int, 1, MAX_JOBS)
    found = tuple(count(each) for each in text.split(","))
    if list(found) != sorted(set(found)):
        raise argparse.ArgumentTypeError(f"{text!r}: each level must be higher than the one before")
    return found


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale",
        description="Measure the cost of a job and how it grows, on a real API server with simulated nodes.",
        epilog="The programs come from KNS_KUBE_APISERVER, KNS_ETCD, KNS_HELM and KNS_VCLUSTER_CHART.",
    )
    add = parser.add_argument
    add("--levels", type=_levels, default=LEVELS, metavar="N,N", help="live jobs at which all is measured (100,1000)")
    add("--burst", type=between(int, 0, 2000), default=300, help="jobs released together on the first level (300)")
    add("--rate", type=between(float, 0.01, 50), default=1.0, help="arrivals a second at each level (1)")
    add("--poisson", type=between(float, 1, 3600), default=45.0, help="seconds of arrivals at each level (45)")
    add(
        "--idle", type=between(float, 0, 3600), default=60.0, help="seconds in which nothing happens at each level (60)"
    )
    add("--ended", type=between(int, 0, 100_000), default=10_000, help="ended records from 1000 live on (10000)")
    add("--drain", type=between(int, 0, MAX_JOBS), default=300, help="whole lives at the end (300)")
    add("--window", type=between(int, 1, 2000), default=150, help="jobs at a time that are not ready (150)")
    add("--yardstick", type=between(int, 0, 5000), default=300, help="batch/v1 Jobs beside it (300; 0: none)")
    add("--engine", type=between(int, 0, 20_000), default=300, help="lives of the engine alone (300; 0: none)")
    add("--workers", type=between(int, 1, 64), default=8, help="KNS_WORKERS (8)")
    add("--seed", type=between(int, 0, 2**31), default=1, help="seed of all drawn times (1)")
    add("--patience", type=between(float, 10, 7200), default=900.0, help="seconds until a job must have gone on (900)")
    add("--keep", metavar="FOLDER", help="keep all logs in this new folder")
    add("--write", action="store_true", help="replace the figures and plots in docs/")
    add_json(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
